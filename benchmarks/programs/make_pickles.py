"""Write each row of a sweep's table as a pickle in a folder of its own. Arguments: SWEEP FOLDER."""

import pickle
import sys
from pathlib import Path
from typing import Any

from multirun_core import Sweep

sweep, folder = sys.argv[1:]
table: Any = Sweep.open(sweep).to_dataframe()
for number, row in enumerate(table.reset_index().to_dict("records")):
    directory = Path(folder) / f"{number:06d}"
    directory.mkdir(parents=True)
    (directory / "results.pkl").write_bytes(pickle.dumps(row, protocol=5))
