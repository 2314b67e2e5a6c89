"""Where the work is done: a new folder on a file system in memory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from suite.machine import file_system
from suite.report import say

_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the folder
"""Where Linux has tmpfs; see shm_overview(7)."""


@contextlib.contextmanager
def new_place(parent: Path | None) -> Generator[Path, None, None]:
    """Make a folder for all that is measured, and remove it in the end.

    Args:
        parent: where; by default on tmpfs. Disks make figures that depend on what was deleted
            there before.
    """
    if parent is None and _MEMORY.is_dir():
        parent = _MEMORY
    place = Path(tempfile.mkdtemp(prefix="multirun-bench-", dir=parent))
    try:
        if file_system(place) != "tmpfs":
            say(f"{place} is not on tmpfs: the figures depend on the disk and its history")
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
