"""What a machine is given on which nothing of ours is installed: what programs import in a run."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

PYTHON = "python"
"""The folder for PYTHONPATH."""

# What `getRunParams` and `postRunResults` need; all of it works on Python 3.8.
_IN_RUN = ("__init__.py", "errors.py", "_inrun.py", "_model/__init__.py", "_model/typed.py")


@cache
def luggage() -> dict[str, bytes]:
    """Return the files by their names."""
    core = files("multirun_core")
    return {f"{PYTHON}/multirun_core/{name}": (core / name).read_bytes() for name in _IN_RUN}
