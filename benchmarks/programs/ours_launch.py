"""A sweep of short runs, as a user would write it. Arguments: [--warm] COUNT SLOTS FOLDER PROGRAM.

With --warm, runs of Python scripts are forked from an interpreter that has imported what they need.
"""

import sys

from multirun_core import ParallelLocalRunner, multirun

warm = sys.argv[1] == "--warm"
count, slots, folder, *cmd = sys.argv[1 + warm :]
most = int(slots)
# Earlier commits, with which this one is compared, have no warm Python.
runner = (
    ParallelLocalRunner(max_parallel=most, warm=True)
    if warm
    else ParallelLocalRunner(max_parallel=most)
)
multirun(
    runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(int(count))),
    cmd=cmd,
    output_path=folder,
    runner=runner,
    check=True,
)
