"""Collect a sweep's results in a DataFrame. Argument: SWEEP. Prints {"seconds": …, "rows": …}.

The time is that from the import of multirun_core on; the one of pandas is left out on both sides.
"""

import json
import sys
import time

import pandas as pd

begun = time.perf_counter()

from multirun_core import Sweep  # noqa: E402 - its import counts

table: pd.DataFrame = Sweep.open(sys.argv[1]).to_dataframe()
told = {"seconds": time.perf_counter() - begun, "rows": len(table)}
print(json.dumps(told))  # noqa: T201 - its answer
