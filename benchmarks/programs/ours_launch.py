"""A sweep of short runs, as a user would write it. Arguments: COUNT SLOTS FOLDER PROGRAM."""

import sys

from multirun_core import ParallelLocalRunner, multirun

count, slots, folder, *cmd = sys.argv[1:]
multirun(
    runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(int(count))),
    cmd=cmd,
    output_path=folder,
    runner=ParallelLocalRunner(max_parallel=int(slots)),
    check=True,
)
