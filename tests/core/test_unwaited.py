"""Sweeps begun with `wait=False` by scripts that end without waiting for them."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sweeps
from sweeps import processes_with, wait_until

from multirun_core import RunStatistics, Sweep

SCRIPT = """
import sys, threading, time
from multirun_core import ParallelLocalRunner, Sweep, multirun
sweep = multirun(
    runs=[{"n": n} for n in range(4)],
    cmd=["sh", "-c", sys.argv[2]],
    output_path=sys.argv[1],
    runner=ParallelLocalRunner(max_parallel=2, grace=float(sys.argv[3])),
    wait=False,
)
"""
ENDED = RunStatistics(failure_count=2, skipped_count=2, complete_count=4, total_count=4)


def script(
    root: Path, rest: str, program: str = "sleep 0.4", grace: float = 0.2
) -> AbstractContextManager[subprocess.Popen[str]]:
    return sweeps.script(SCRIPT + rest, str(root), program, str(grace))


def started(root: Path) -> bool:
    return len(list(root.glob("runs/*/started"))) == 2


def test_the_exit_waits_for_it(tmp_path: Path) -> None:
    root = tmp_path / "a sweep; 'ü'"
    with script(root, "") as process:
        _, told = process.communicate(timeout=50)
    assert process.returncode == 0
    assert "the script has ended; waiting for" in told
    assert "4 of 4 runs succeeded" in told
    assert Sweep.open(root).statistics.success_count == 4


def test_a_sweep_that_somebody_has_waited_for_is_not_mentioned(tmp_path: Path) -> None:
    with script(tmp_path / "s", "sweep.wait()") as process:
        _, told = process.communicate(timeout=50)
    assert process.returncode == 0
    assert "the script" not in told


def test_runs_added_by_a_thread_that_outlives_the_script_are_executed(tmp_path: Path) -> None:
    root = tmp_path / "s"
    more = """
def add():
    threading.main_thread().join()
    time.sleep(0.3)
    sweep.add({"n": 10})
threading.Thread(target=add).start()
"""
    with script(root, more) as process:
        process.communicate(timeout=50)
    assert Sweep.open(root).statistics.success_count == 5


@pytest.mark.parametrize("failure", ["1 / 0", "raise KeyboardInterrupt"])
def test_a_script_that_fails_ends_the_runs(tmp_path: Path, failure: str) -> None:
    root = tmp_path / "s"
    wait = f"""
from pathlib import Path
while len(list(Path(sys.argv[1]).glob("runs/*/started"))) < 2:
    time.sleep(0.01)
{failure}
"""
    with script(root, wait, "touch started; exec sleep 300") as process:
        _, told = process.communicate(timeout=50)
    assert process.returncode in (1, -signal.SIGINT)
    assert "the script has failed; ending the runs" in told
    assert f"0 of 4 runs succeeded. Carry on with: multirun resume {root}" in told
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == ENDED


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_while_the_exit_waits(tmp_path: Path, twice: bool) -> None:
    root = tmp_path / "s"
    program = "trap '' TERM; touch started; while :; do sleep 1; done"
    with script(root, "", program, grace=300 if twice else 0.2) as process:
        assert process.stderr is not None
        wait_until(lambda: started(root))
        lines = iter(process.stderr.readline, "")
        assert any("waiting for" in line for line in lines)
        for number in range(1 + twice):
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            if twice and number == 0:
                assert any("once more" in line for line in lines)
        rest = process.stderr.read()
        process.wait(50)
    assert time.monotonic() - began < 30
    assert "Traceback" not in rest
    assert "0 of 4 runs succeeded" in rest
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == ENDED


def test_a_second_ctrl_c_comes_before_the_first_has_taken_effect(tmp_path: Path) -> None:
    root = tmp_path / "s"
    at_once = """
from multirun_core._sweep.live import Live
cancel = Live.cancel
def again(live):
    Live.cancel = cancel
    raise KeyboardInterrupt
Live.cancel = again
"""
    program = "trap '' TERM; touch started; while :; do sleep 1; done"
    with script(root, at_once, program, grace=300) as process:
        wait_until(lambda: started(root))
        assert process.stderr is not None
        assert any("waiting for" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=50)
    assert "0 of 4 runs succeeded" in told
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == ENDED


def test_an_error_of_the_sweep_is_told(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with script(root, "", "rm -rf ../../journal; sleep 0.4") as process:
        _, told = process.communicate(timeout=50)
    assert "cannot write the journal" in told
