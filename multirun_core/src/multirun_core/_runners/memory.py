"""How much memory there is for further processes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from multirun_core._runners.cpus import control_groups

# Above this, a limit of a control group of version 1 means that there is none.
_NO_LIMIT = 1 << 60


def available_memory(
    cgroup_root: Path = Path("/sys/fs/cgroup"),
    proc: Path = Path("/proc/self"),
    meminfo: Path = Path("/proc/meminfo"),
) -> int | None:
    """Return the bytes of memory that new processes can have now; None where that is unknown.

    That is `MemAvailable` of proc_meminfo(5), and no more than what each control group of this
    process leaves, see the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory; file cache that
    can be dropped counts as free. Without /proc it is all the memory of the machine.
    """
    found = [_of_machine(meminfo)]
    found += [_left(folder) for folder in control_groups(cgroup_root, proc, "memory")]
    known = [size for size in found if size is not None]
    return max(0, min(known)) if known else None


def _of_machine(meminfo: Path) -> int | None:
    try:
        match = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE)
        if match is not None:
            return int(match[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _left(folder: Path) -> int | None:
    """Return what a control group leaves; None where it sets no limit."""
    limits = [
        limit
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
        if (limit := _number(folder / name)) is not None and limit < _NO_LIMIT
    ]
    used = _number(folder / "memory.current")
    if used is None:
        used = _number(folder / "memory.usage_in_bytes")
    if not limits or used is None:
        return None
    try:
        stat = (folder / "memory.stat").read_text()
    except OSError:
        stat = ""
    # In version 1 the totals include the groups below, as the usage does.
    cache = re.search(r"^total_inactive_file (\d+)", stat, re.MULTILINE) or re.search(
        r"^inactive_file (\d+)", stat, re.MULTILINE
    )
    return min(limits) - used + (int(cache[1]) if cache else 0)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" is no number
        return None
