"""A sweep of short runs on a Slurm cluster, as a user would write it.

Arguments: PACK COUNT FOLDER PROGRAM …. PACK is a number of runs for a job, or "auto".
"""

import sys

from multirun_core import multirun

pack, count, folder, *cmd = sys.argv[1:]
multirun(
    runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(int(count))),
    cmd=cmd,
    output_path=folder,
    runner="slurm",
    runner_options={"pack": pack if pack == "auto" else int(pack)},
    check=True,
)
