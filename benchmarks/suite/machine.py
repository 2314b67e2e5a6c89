"""What machine, and what versions, the figures are of."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from suite.setup import ROOT, Setup


def facts(setup: Setup, place: Path) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "file_system": file_system(place),
        "load": os.getloadavg(),
        "peers": {
            "joblib": _said(str(setup.peers), "-c", "import joblib; print(joblib.__version__)"),
            "parallel": _said("parallel", "--version"),
            "xargs": _said("xargs", "--version"),
            "cc": _said("cc", "--version"),
            "pandas": _said(setup.python, "-c", "import pandas; print(pandas.__version__)"),
        },
    }


def file_system(place: Path) -> str | None:
    """Return the kind of file system that a folder is on, by /proc/self/mountinfo, proc(5)."""
    device = os.stat(place).st_dev  # noqa: PTH116 - one call of many; a path is what it takes
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1]
    return None


def _field(path: Path, name: str) -> str | None:
    try:
        match = re.search(rf"^{name}\s*:\s*(.*)$", path.read_text("utf-8"), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def _said(*command: str) -> str | None:
    """Return the first line that a program prints; None where there is no such program."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return lines[0] if done.returncode == 0 and lines else None
