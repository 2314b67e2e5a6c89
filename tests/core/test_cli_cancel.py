"""`multirun cancel` returns when what it cancels has ended, however its driver fares meanwhile."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import begin, call
from sweeps import events, processes_with, wait_until

from multirun_core import Sweep

# Told to end, it waits for leave to.
SLOW = (
    "trap 'until test -e ../../may-end; do sleep 0.05; done; touch ended; exit' TERM; "
    "touch started; while :; do sleep 0.05; done"
)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield the driver of a sweep of nine runs, two of which are under way."""
    process = begin(
        "run", "-p", "a=1:9:1", "-o", "st", "-R", "max_parallel=2", "-R", "grace=120",
        "--", "sh", "-c", SLOW, cwd=tmp_path,
    )  # fmt: skip
    with process:
        try:
            wait_until(lambda: len(list(tmp_path.glob("st/runs/*/started"))) == 2)
            yield process
        finally:
            (tmp_path / "st" / "may-end").touch()
            process.kill()
            wait_until(lambda: not processes_with(str(tmp_path / "st" / "runs")))


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def statuses(root: Path) -> list[str]:
    return [run.status for run in Sweep.open(root).runs]


def test_it_returns_when_the_runs_have_ended(driver: subprocess.Popen[str], tmp_path: Path) -> None:
    root = tmp_path / "st"
    skipped = call("cancel", "st", "7", "8", cwd=tmp_path)  # long before it would be their turn
    assert (skipped.returncode, skipped.stderr) == (0, "")
    assert "has cancelled 2 run(s)" in skipped.stdout
    assert statuses(root) == ["running"] * 2 + ["pending"] * 5 + ["skipped"] * 2
    late = call("cancel", "st", "0", "--wait", "0.5", cwd=tmp_path)
    assert late.returncode == 1
    assert "asked to cancel 1 run(s) 0.5 s ago, and not all have ended yet" in late.stderr
    with begin("cancel", "st", cwd=tmp_path) as left:
        assert "is cancelling all runs that had not ended; waiting until" in first_line(left)
        left.send_signal(signal.SIGINT)
        assert "goes on with cancelling all runs that had not ended" in first_line(left)
        assert left.wait(30) == 130
    with begin("cancel", "st", cwd=tmp_path) as waiting:
        assert "waiting until they have ended" in first_line(waiting)
        assert "running" in statuses(root)
        (root / "may-end").touch()
        out, err = waiting.communicate(timeout=30)
        assert (waiting.returncode, err) == (0, "")
        assert f"process {driver.pid} on" in out
        assert "has cancelled all runs that had not ended" in out
    assert (events(root)[-1]["event"], events(root)[-1]["outcome"]) == ("close", "cancelled")
    runs = Sweep.open(root).runs
    assert len(list(root.glob("runs/*/ended"))) == 2  # also for whoever asks more than once
    assert {run.reason for run in runs} == {"cancelled"}
    assert not list((root / "journal").glob("cancel*"))


def test_a_driver_that_is_killed_meanwhile_is_not_waited_for(
    driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    with begin("cancel", "st", cwd=tmp_path) as waiting:
        assert "waiting until they have ended" in first_line(waiting)
        driver.kill()
        _, err = waiting.communicate(timeout=30)
        assert waiting.returncode == 2
        assert "nobody is working on this sweep" in err
        assert "has died" in err
