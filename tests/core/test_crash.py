"""The driver is killed by SIGKILL at every boundary in turn; then the sweep is resumed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sweeps import PROGRAM, executions, processes_with, successes, wait_until

from multirun_core import ParallelLocalRunner, Sweep, SweepNotFoundError, multirun

HERE = Path(__file__).parent
DRIVER = HERE / "crash_driver.py"
RUNS = 6


def drive(root: Path, marks: Path, where: str, how: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(DRIVER), str(root), str(marks), str(RUNS), where, how]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def moments(folder: Path, how: str) -> int:
    (folder / "counted").mkdir()
    done = drive(folder / "counted sweep", folder / "counted", "count", how)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def kill_and_resume(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wheres: list[int], how: str
) -> int:
    """Kill a driver at each of these moments, one driver after another, then let one end it.

    Returns how many were killed: one that has less left to do comes to its end before.
    """
    root, marks = folder / "a sweep; $HOME 'ü'", folder / "marks"
    marks.mkdir()
    told = f"killed at {how} {wheres}"
    killed = 0
    flushed: Counter[int] = Counter()
    for where in wheres:
        before = executions(marks)
        done = drive(root, marks, str(where), how)
        assert done.returncode in (0, -signal.SIGKILL), (told, done.stderr)
        killed += done.returncode == -signal.SIGKILL
        # A run whose success had been flushed was not executed again.
        after = executions(marks)
        assert all(after[run] == before[run] for run in flushed), told
        try:
            flushed = successes(root)
        except SweepNotFoundError:
            assert not flushed
        # What the killed driver had started is gone within 5 seconds.
        wait_until(lambda: not processes_with(str(marks)), seconds=5)
        before = after
    monkeypatch.setenv("MARKS", str(marks))
    before = executions(marks)
    sweep = multirun(
        runs=[{"n": n} for n in range(RUNS)],
        cmd=PROGRAM,
        output_path=root,
        input_files=[DRIVER],
        runner=ParallelLocalRunner(max_parallel=2),
        resume=True,
        progress=False,
    )
    after = executions(marks)
    assert [run.status for run in sweep.runs] == ["success"] * RUNS, told
    assert sweep.results == [{"twice": 2 * n} for n in range(RUNS)], told
    assert Sweep.open(root).results == sweep.results, told
    assert successes(root) == Counter(range(RUNS)), told
    assert all(after[run] == before[run] for run in flushed), told
    assert all(1 <= after[run] <= 1 + len(wheres) for run in range(RUNS)), told
    kept = "attempts"  # a killed program may have left its own results.tmp there
    assert not [path for path in root.rglob("*.tmp") if kept not in path.parts], told
    shutil.rmtree(folder)
    return killed


@pytest.mark.timeout(240)
@pytest.mark.long
def test_killed_at_boundaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = moments(tmp_path, "calls")
    assert total > 100
    chosen = range(1, total + 1, 7)
    killed = 0
    for where in chosen:
        (tmp_path / str(where)).mkdir()
        killed += kill_and_resume(tmp_path / str(where), monkeypatch, [where], "calls")
    assert killed >= 0.9 * len(chosen)


@pytest.mark.timeout(240)
def test_killed_several_times_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("CRASH_SEED", "20"))
    chance = random.Random(seed)
    total = moments(tmp_path, "calls")
    killed = 0
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        # Each driver has less left to do than the one before, and would end in peace further on.
        wheres = [chance.randint(1, total // 2) for _ in range(4)]
        killed += kill_and_resume(tmp_path / str(number), monkeypatch, wheres, "calls")
    assert killed >= 8  # the last ones may have too little left to do
    for number in range(4, 8):  # anywhere, the end included
        (tmp_path / str(number)).mkdir()
        wheres = sorted(chance.randint(1, total) for _ in range(4))
        kill_and_resume(tmp_path / str(number), monkeypatch, wheres, "calls")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killed_at_every_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = moments(tmp_path, "calls")
    killed = 0
    for where in range(1, total + 1):
        (tmp_path / str(where)).mkdir()
        killed += kill_and_resume(tmp_path / str(where), monkeypatch, [where], "calls")
    assert killed >= 0.9 * total


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killed_at_200_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is a line of our own code in any thread; the seed is told when it fails."""
    seed = int(os.environ.get("CRASH_SEED", "") or random.randrange(10**6))
    chance = random.Random(seed)
    total = moments(tmp_path, "lines")
    killed = 0
    for number in range(200):
        (tmp_path / str(number)).mkdir()
        try:
            where = chance.randint(1, total)
            killed += kill_and_resume(tmp_path / str(number), monkeypatch, [where], "lines")
        except BaseException as error:
            error.add_note(f"CRASH_SEED={seed}, number {number}")
            raise
    assert killed >= 0.9 * 200
