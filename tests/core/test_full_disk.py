"""A full disk and a directory that cannot be written: a clear error, and a sweep that resumes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sweeps import PROGRAM, executions, successes

from multirun_core import Sweep, SweepError, multirun

DRIVER = """
import sys
from multirun_core import MultirunError, ParallelLocalRunner, multirun
from sweeps import PROGRAM
try:
    sweep = multirun(
        runs=[{"n": n, "ballast": "x" * 300} for n in range(200)],
        cmd=PROGRAM,
        output_path=sys.argv[1],
        runner=ParallelLocalRunner(max_parallel=2),
        resume=True,
        progress=False,
    )
except MultirunError as error:
    print(type(error).__name__, error)
    sys.exit(3)
print(sweep.statistics.success_count)
"""

# A file system with a few free blocks, in a mount namespace of its own, so that nobody else sees
# it. Whoever has no root may not change its size later, but can remove what takes the room.
SCRIPT = """
set -e
disk=$1 free=$2 driver=$3 python=$4
mount -t tmpfs -o size=64m tmpfs "$disk"
fallocate -l $(((65536 - free) * 1024)) "$disk/ballast"
status=0
"$python" -c "$driver" "$disk/s" || status=$?
echo "status $status"
cp -r "$disk/s" "$disk.after" 2>/dev/null || true
rm "$disk/ballast"
"$python" -c "$driver" "$disk/s"
cp -r "$disk/s" "$disk.end"
"""


def unshare() -> list[str]:
    """Return the command that makes a mount namespace, with root or without."""
    for words in (["unshare", "--mount"], ["unshare", "--mount", "--user", "--map-root-user"]):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    pytest.fail(
        "this system lets nobody but root make a mount namespace, without which no small disk can "
        "be had: run the tests as root, or allow it (sysctl kernel.unprivileged_userns_clone=1, "
        "or kernel.apparmor_restrict_unprivileged_userns=0)"
    )


@pytest.mark.parametrize("free", [4, 40, 200, 600, 1200])  # KiB
def test_a_disk_that_fills_up(tmp_path: Path, free: int) -> None:
    disk, marks = tmp_path / "disk; $HOME 'ü'", tmp_path / "marks"
    disk.mkdir()
    marks.mkdir()
    env = os.environ | {"MARKS": str(marks), "PYTHONPATH": str(Path(__file__).parent)}
    words = [*unshare(), "sh", "-c", SCRIPT, "sh", str(disk), str(free), DRIVER, sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, timeout=55)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    # Where the runs themselves find the disk full, they fail; else the sweep stops and says why.
    status = int(lines[lines.index(next(x for x in lines if x.startswith("status")))].split()[1])
    assert status in (0, 3)
    if free <= 40:  # the definition of the runs alone takes more
        assert status == 3
    if status == 3:
        assert "No space left on device" in lines[0]
        assert "resume" in lines[0]
    assert lines[-1] == "200"
    end = Path(f"{disk}.end")
    sweep = Sweep.open(end)
    assert sweep.results == [{"twice": 2 * n} for n in range(200)]
    assert successes(end) == Counter(range(200))
    after = Path(f"{disk}.after")
    if (after / "multirun.json").exists():
        flushed = successes(after)
        assert all(executions(marks)[run] == 1 for run in flushed)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    script = """
set -e
mount -t tmpfs -o size=1m tmpfs "$1"
mount -o remount,bind,ro "$1"
"$3" -c "$2" "$1/s"
"""
    words = [*unshare(), "sh", "-c", script, "sh", str(tmp_path), DRIVER, sys.executable]
    env = os.environ | {"MARKS": "/nowhere", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, timeout=30)
    assert done.returncode == 3
    assert "Read-only file system" in done.stdout
    assert done.stderr == ""


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="cannot write the sweep in /proc/"):
        multirun(runs=[{"n": 1}], cmd=PROGRAM, output_path="/proc/none", progress=False)
