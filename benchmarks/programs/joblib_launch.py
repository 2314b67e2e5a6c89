"""The same work by joblib and subprocess.run. Arguments: COUNT SLOTS FOLDER PROGRAM …."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def job(index: int, folder: str, cmd: list[str]) -> int:
    """Carry one run out."""
    directory = Path(folder) / f"{index:06d}"
    directory.mkdir()
    with (directory / "params.json").open("w") as file:
        json.dump({"i": index, "x": index * 0.5, "name": f"run {index}"}, file)
    with (directory / "stdout.txt").open("w") as out, (directory / "stderr.txt").open("w") as err:
        done = subprocess.run(
            cmd, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False
        )
    return done.returncode


if __name__ == "__main__":
    joblib: Any = importlib.import_module("joblib")
    count, slots, folder, *cmd = sys.argv[1:]
    Path(folder).mkdir()
    jobs = (joblib.delayed(job)(index, folder, cmd) for index in range(int(count)))
    sys.exit(any(joblib.Parallel(n_jobs=int(slots))(jobs)))
