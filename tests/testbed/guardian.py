"""Ends all processes of a test bed when who started it ends, however it ends.

Usage: python guardian.py ROOT. It waits for the end of its standard input, then kills whatever
has ROOT in its environment, command line or working directory, removes the control groups named in
ROOT/run/cgroups, and ROOT itself, which MULTIRUN_KEEP_TESTBED=1 leaves for a look; says `done`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 20.0  # seconds until it gives up on a process that does not go


def belonging(root: Path) -> set[int]:
    """Return the processes of the test bed at `root`, but for the calling one and its ancestors."""
    mark = f"{root}/".encode()
    spared = ancestors()
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid not in spared and belongs(entry, mark):
            found.add(pid)
    return found


def belongs(entry: Path, mark: bytes) -> bool:
    with suppress(OSError):
        fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return False
    for name in ("environ", "cmdline"):
        with suppress(OSError):
            if mark in (entry / name).read_bytes():
                return True
    with suppress(OSError):
        return mark in os.fsencode((entry / "cwd").readlink()) + b"/"
    return False


def began(pid: int) -> tuple[int, int]:
    """Return what puts a process before its children; (0, pid) for one that is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]), pid
    return 0, pid


def ancestors() -> set[int]:
    found, pid = {0}, os.getpid()
    while pid not in found:
        found.add(pid)
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            pid = int(stat.rpartition(b")")[2].split()[1])
    return found


def end(root: Path) -> set[int]:
    """Kill the processes of a test bed; return those that are left."""
    deadline = time.monotonic() + PATIENCE
    while left := belonging(root):
        if time.monotonic() > deadline:
            break
        thaw(root)
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return left


def thaw(root: Path) -> None:
    """Let suspended jobs go on: what is frozen cannot even die."""
    for folder in cgroups(root):
        with suppress(OSError):
            (folder / "freezer.state").write_text("THAWED")


def remove_cgroups(root: Path) -> None:
    for folder in cgroups(root):
        with suppress(OSError):
            folder.rmdir()


def cgroups(root: Path) -> list[Path]:
    """Return the control groups of a test bed, the innermost first."""
    found: list[Path] = []
    with suppress(OSError):
        for name in (root / "run" / "cgroups").read_text().split():
            for top in Path("/sys/fs/cgroup").glob(f"*/{name}"):
                found += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return found


def main() -> int:
    root = Path(sys.argv[1])
    while os.read(0, 4096):
        pass
    left = end(root)
    remove_cgroups(root)
    if os.environ.get("MULTIRUN_KEEP_TESTBED", "") in ("", "0"):
        shutil.rmtree(root, ignore_errors=True)
    os.write(1, f"left: {sorted(left)}\n".encode() if left else b"done\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
