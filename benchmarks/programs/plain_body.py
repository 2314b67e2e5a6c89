"""The same short program without multirun_core."""
# ruff: noqa: PTH123 - pathlib would take longer than all the rest

import json
import pickle

with open("params.json") as file:
    params = json.load(file)
with open("results.pkl", "wb") as file:
    pickle.dump({"y": params["x"] * 2, "steps": [1, 2, 3]}, file)
