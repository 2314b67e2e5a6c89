"""Short runs on a Slurm cluster by submitit: one job array. Arguments: COUNT FOLDER PROGRAM …."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def one(index: int, directory: str, cmd: list[str]) -> int:
    """Do what a run of a sweep does."""
    folder = Path(directory)
    folder.mkdir()
    params = {"i": index, "x": index * 0.5, "name": f"run {index}"}
    (folder / "params.json").write_text(json.dumps(params))
    with (folder / "stdout.txt").open("wb") as out, (folder / "stderr.txt").open("wb") as errors:
        return subprocess.run(cmd, cwd=folder, stdout=out, stderr=errors, check=True).returncode


if __name__ == "__main__":
    count, place, *cmd = sys.argv[1:]
    runs = Path(place)
    runs.mkdir()
    submitit: Any = importlib.import_module("submitit")  # only the peers' environment has it
    executor = submitit.AutoExecutor(runs / "submitit", cluster="slurm")
    executor.update_parameters(timeout_min=30, slurm_array_parallelism=1000)
    indexes = range(int(count))
    directories = [str(runs / f"{index:06d}") for index in indexes]
    jobs = executor.map_array(one, indexes, directories, [cmd] * int(count))
    for job in jobs:
        job.result()
