"""A sweep that is carried on with, or begun. Arguments: COUNT FOLDER."""

import sys

from multirun_core import multirun

count, folder = sys.argv[1:]
multirun(
    runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(int(count))),
    cmd=["true"],
    output_path=folder,
    resume=True,
    check=True,
)
