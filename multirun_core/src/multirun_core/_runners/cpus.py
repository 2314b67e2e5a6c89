"""How many CPUs this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cpus(cgroup_root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self")) -> int:
    """Return the CPUs of this process: its affinity, and the quota of its control groups.

    Reads `cpu.max` (version 2) and `cpu.cfs_quota_us` (version 1) of the group and of all above
    it, see the kernel's admin-guide/cgroup-v2 and scheduler/sched-bwc. A quota of 1.5 CPUs
    counts as 2.
    """
    cpus = len(cpu_numbers())
    for folder in control_groups(cgroup_root, proc, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            cpus = min(cpus, math.ceil(quota))
    return max(1, cpus)


def cpu_numbers() -> list[int]:
    """Return the numbers of the CPUs in the affinity of this process; of all where unknown."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:
        return list(range(os.cpu_count() or 1))


def control_groups(root: Path, proc: Path, controller: str) -> list[Path]:
    """Return the folders of the control group of a process, and of all above it.

    Args:
        root: where control groups are mounted.
        proc: the process's folder in proc(5).
        controller: which hierarchy of version 1 is looked at, besides that of version 2.
    """
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        group = top / path.lstrip("/")
        folders += [group, *(parent for parent in group.parents if parent.is_relative_to(top))]
        if controllers:
            folders.append(root / controller)
    return folders


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
