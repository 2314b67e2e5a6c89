"""Collect pickles by name in a DataFrame. Argument: FOLDER. Prints {"seconds": …, "rows": …}."""
# ruff: noqa: PTH123, S301 - as fast as it can be is the purpose, and the pickles are our own

import json
import os
import pickle
import sys
import time
from typing import Any

import pandas as pd

begun = time.perf_counter()
folder = sys.argv[1]
rows: list[dict[str, Any]] = []
for number in range(len(os.listdir(folder))):  # noqa: PTH208 - likewise
    with open(f"{folder}/{number:06d}/results.pkl", "rb") as file:
        rows.append(pickle.load(file))
table = pd.DataFrame(rows).set_index("index")
told = {"seconds": time.perf_counter() - begun, "rows": len(table)}
print(json.dumps(told))  # noqa: T201 - its answer
