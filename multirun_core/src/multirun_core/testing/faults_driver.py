"""Checks in which the driver dies, is told to end, or is suspended; the sweep is then resumed."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from multirun_core.plugins import hookimpl
from multirun_core.testing.base import KitBase, expect, promise, requires
from multirun_core.testing.fault_tools import (
    BEGIN,
    POST,
    check_whole,
    executions,
    gone,
    journal,
    sh,
    statuses,
    successes,
    wait_for_files,
)

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._model.status import RunStatus
    from multirun_core._sweep.sweep import Sweep

_MORE = 40  # than reach the journal in one flush
_QUICK = sh(BEGIN, POST)
_FIRST_TWO = 'test "$MULTIRUN_ATTEMPT" = 1 && test "$MULTIRUN_PARAM_N" -lt 2'
# Ends when it is told to, and leaves a file that says so.
_TIDY = f"if {_FIRST_TWO}; then trap ': > tidied; exit 7' TERM; : > ready; " + (
    "while :; do sleep 0.1; done; fi; "
)
_FAIL_ONCE = 'test "$MULTIRUN_ATTEMPT$MULTIRUN_PARAM_N" != 10 || exit 3; '
# Kills the driver whose pid is in the file that is the last argument.
_KILL_DRIVER = (
    'if test "$MULTIRUN_ATTEMPT$MULTIRUN_PARAM_N" = 10; then '
    'until test -s "$0"; do sleep 0.02; done; kill -9 "$(cat "$0")"; fi; '
)


class Fatal:
    """An observer that kills its driver by SIGKILL.

    Args:
        change: "started" for the start of the sweep, or the old and the new status of a run.
        count: at which such change.
    """

    def __init__(self, change: str, count: int = 1) -> None:
        self.change = change
        self.count = count

    @hookimpl
    def multirun_sweep_started(self, sweep: Sweep) -> None:
        """Die before the first run is started."""
        self._seen("started")

    @hookimpl
    def multirun_run_changed(self, sweep: Sweep, run: Run, previous: RunStatus) -> None:
        """Die at a change of a run."""
        self._seen(f"{previous} {run.status}")

    def _seen(self, change: str) -> None:
        self.count -= change == self.change
        if not self.count:
            os.kill(os.getpid(), signal.SIGKILL)


class DriverFaults(KitBase):
    """What a runner promises when its driver is killed, terminated or suspended."""

    # Killed.

    def test_a_driver_killed_before_the_first_run_is_resumed(self, hostile_path: Path) -> None:
        """One that died when its runner was made, but nothing started."""
        path = hostile_path / "sweep"
        self._die(path, _QUICK, Fatal("started"))
        expect(executions(path), {}, "nothing has been executed")
        check_whole(self._resume(path, _QUICK))

    def test_a_driver_killed_while_it_starts_a_run_is_resumed(self, hostile_path: Path) -> None:
        """One that died between writing a start down and executing."""
        path = hostile_path / "sweep"
        self._die(path, _QUICK, Fatal("pending running"))
        check_whole(self._resume(path, _QUICK), kills=1)

    def test_a_driver_killed_while_runs_wait_is_resumed(self, hostile_path: Path) -> None:
        """One that died while runs were staged and waiting for a slot."""
        path = hostile_path / "sweep"
        cmd = sh(BEGIN, self._stay(), POST)
        driver = self.driver(path, 5, cmd, options=self.slots(2), resume=True)
        self._await_running(driver, path)
        wait_for_files(self, path, "runs/000004/params.json", 1)
        driver.kill()
        driver.wait()
        check_whole(self._resume(path, cmd, runs=5), kills=1)

    def test_a_driver_killed_while_runs_run_is_resumed(self, hostile_path: Path) -> None:
        """One that died while all slots were taken and no run was waiting."""
        path = hostile_path / "sweep"
        cmd = sh(BEGIN, self._stay(), POST)
        driver = self.driver(path, 2, cmd, options=self.slots(2), resume=True)
        self._await_running(driver, path)
        driver.kill()
        driver.wait()
        check_whole(self._resume(path, cmd, runs=2), kills=1)

    @requires("runs_on_this_machine")
    def test_a_driver_killed_as_a_run_ends_is_resumed(
        self, hostile_path: Path, tmp_path: Path
    ) -> None:
        """One that died when a run had posted and ended, but nobody had written that down."""
        path, pid = hostile_path / "sweep", tmp_path / "pid"
        cmd = [*sh(BEGIN, POST, _KILL_DRIVER), str(pid)]
        driver = self.driver(path, 3, cmd, options=self.slots(1), resume=True)
        pid.write_text(str(driver.pid))
        self._await_end(driver, -signal.SIGKILL)
        expect(successes(path)[0], 0, "a run whose end nobody saw has not ended")
        check_whole(self._resume(path, cmd, runs=3), kills=1)

    def test_a_recorded_success_is_never_executed_again(self, hostile_path: Path) -> None:
        """However often drivers die, after the second success of each."""
        path = hostile_path / "sweep"
        for ends in ((-signal.SIGKILL,), (-signal.SIGKILL, 0)):
            before, flushed = executions(path), successes(path)
            # The second driver may have but one run left, and so come to its end.
            self._die(path, _QUICK, Fatal("running success", 2), *ends, runs=_MORE)
            self._check_left_alone(path, before, flushed)
            promise(len(successes(path)) >= 2, "what succeeded is in the journal", before)
        before, flushed = executions(path), successes(path)
        sweep = self._resume(path, _QUICK, runs=_MORE)
        self._check_left_alone(path, before, flushed)
        check_whole(sweep, kills=2)

    def test_a_driver_killed_between_attempts_is_resumed(self, hostile_path: Path) -> None:
        """The attempt that failed counts, and the next one is the second."""
        path = hostile_path / "sweep"
        cmd = sh(BEGIN, _FAIL_ONCE, POST)
        self._die(path, cmd, Fatal("running pending"), retries=1)
        sweep = self._resume(path, cmd)
        check_whole(sweep, kills=1)
        expect(sweep.runs[0].attempts, 2, "the second attempt comes after the first")
        expect(executions(path)[0], 2, "each attempt is executed once")

    # What becomes of its runs.

    @requires("runs_on_this_machine", "ends_with_driver")
    def test_runs_end_with_their_driver(self, hostile_path: Path) -> None:
        """All their processes do, within 5 seconds, whether anybody resumes or not."""
        if self.why_not("can_reattach") is None:
            pytest.skip("its runs are meant to outlive their driver")
        path = hostile_path / "sweep"
        cmd = sh("sleep 300 & : > ready; wait")
        driver = self.driver(path, 3, cmd, options=self.slots(2), resume=True)
        wait_for_files(self, path, "runs/*/ready", 2)
        driver.kill()
        driver.wait()
        gone(self, path, "the runs end within 5 seconds of their driver's death")

    @requires("can_reattach")
    def test_a_run_that_outlives_its_driver_is_adopted(self, hostile_path: Path) -> None:
        """It is not started again, and its attempt goes on."""
        path = hostile_path / "sweep"
        cmd = sh(BEGIN, self._stay(), POST)
        driver = self.driver(path, 3, cmd, options=self.slots(2), resume=True)
        self._await_handles(driver, path)
        driver.kill()
        driver.wait()
        sweep = self._resume(path, cmd, runs=3)
        check_whole(sweep)
        expect([run.attempts for run in sweep.runs], [1, 1, 1], "an adopted run has one attempt")

    @requires("can_reattach", "shares_files")
    def test_a_run_that_ended_without_a_driver_is_adopted(self, hostile_path: Path) -> None:
        """Its end is found, and it is not started again."""
        path = hostile_path / "sweep"
        cmd = sh(BEGIN, self._stay(), POST, ": > finished")
        driver = self.driver(path, 2, cmd, options=self.slots(2), resume=True)
        self._await_handles(driver, path)
        driver.kill()
        driver.wait()
        wait_for_files(self, path, "runs/*/finished", 2)
        if self.runs_on_this_machine:
            gone(self, path, "a run that has finished ends")
        check_whole(self._resume(path, cmd, runs=2))

    # Terminated.

    def test_a_driver_told_to_terminate_ends_its_runs_in_good_order(
        self, hostile_path: Path
    ) -> None:
        """SIGTERM: runs may tidy up, the rest is skipped, and the sweep can be resumed."""
        self._check_told_to_end(hostile_path / "sweep", signal.SIGTERM)

    def test_an_interrupted_driver_ends_its_runs_in_good_order(self, hostile_path: Path) -> None:
        """SIGINT, Ctrl-C: runs may tidy up, the rest is skipped, and the sweep can be resumed."""
        self._check_told_to_end(hostile_path / "sweep", signal.SIGINT)

    # Suspended.

    def test_a_suspended_driver_that_was_superseded_writes_nothing_more(
        self, hostile_path: Path
    ) -> None:
        """When it wakes up it ends, and with it what it had running."""
        path = hostile_path / "sweep"
        cmd = sh(BEGIN, self._stay(), POST)
        driver = self.driver(path, 4, cmd, options=self.slots(2), resume=True)
        self._await_running(driver, path)
        driver.send_signal(signal.SIGSTOP)
        sweep = self._resume(path, cmd, take_over=True)
        check_whole(sweep, kills=1)
        before = (path / "journal" / "0001.jsonl").read_bytes()
        driver.send_signal(signal.SIGCONT)
        self._await_end(driver, 1, -signal.SIGTERM)
        after = (path / "journal" / "0001.jsonl").read_bytes()
        expect(after, before, "a superseded driver writes nothing more")
        check_whole(sweep, kills=1)
        if self.runs_on_this_machine:
            gone(self, path, "what a superseded driver had running ends with it")

    # Helpers.

    def _stay(self) -> str:
        """Return what makes the first two runs last: for good, or until they are adopted."""
        able = self.why_not("can_reattach") is None
        seconds = math.ceil(self.patience(2)) if able else 300
        return f"if {_FIRST_TWO}; then sleep {seconds}; fi; "

    def _die(
        self, path: Path, cmd: list[str], fatal: Fatal, *ends: int, runs: int = 4, **keywords: Any
    ) -> None:
        """Let a driver carry out a sweep until it kills itself, or ends as it may."""
        driver = self.driver(
            path, runs, cmd, options=self.slots(2), resume=True, observers=[fatal], **keywords
        )
        self._await_end(driver, *(ends or (-signal.SIGKILL,)))

    def _resume(self, path: Path, cmd: list[str], runs: int = 4, **keywords: Any) -> Sweep:
        return self.run_sweep(runs, cmd, path, options=self.slots(2), resume=True, **keywords)

    def _await_end(self, driver: subprocess.Popen[bytes], *codes: int) -> None:
        self.wait_until(lambda: driver.poll() is not None, "the driver ends")
        promise(driver.returncode in codes, "it ends as it is made to", driver.returncode)

    def _await_running(self, driver: subprocess.Popen[bytes], path: Path) -> None:
        """Wait until the first two runs are under way."""
        self.wait_until(
            lambda: statuses(path)[:2] == ["running"] * 2 or driver.poll() is not None,
            "the first two runs start",
        )
        expect(driver.poll(), None, "the driver works as long as runs run")
        if self.why_not("shares_files") is None:
            wait_for_files(self, path, "runs/*/began", 2)

    def _await_handles(self, driver: subprocess.Popen[bytes], path: Path) -> None:
        """Wait until it is written down what the first two runs are found again by."""
        self._await_running(driver, path)
        self.wait_until(
            lambda: {0, 1} <= {e["run"] for e in journal(path) if e["event"] == "handle"},
            "the handle of a run is written down",
        )

    def _check_left_alone(
        self, path: Path, before: dict[int, int], flushed: dict[int, int]
    ) -> None:
        after = executions(path)
        again = {index: after[index] for index in flushed if after[index] != before[index]}
        expect(again, {}, "a run whose success is in the journal is not executed again")

    def _check_told_to_end(self, path: Path, number: signal.Signals) -> None:
        cmd = sh(BEGIN, _TIDY, POST)
        driver = self.driver(path, 4, cmd, options=self.slots(2), resume=True)
        self._await_running(driver, path)
        if self.why_not("shares_files") is None:
            wait_for_files(self, path, "runs/*/ready", 2)
        driver.send_signal(number)
        self._await_end(driver, -number)
        seen = statuses(path)
        expect(seen[:2], ["failure", "failure"], "what ran has been ended")
        promise(set(seen[2:]) <= {"success", "skipped"}, "the rest is skipped", seen)
        tidied = sorted(mark.parent.name for mark in path.glob("runs/*/tidied"))
        expect(tidied, ["000000", "000001"], "a run is told by TERM, and given time to tidy up")
        if self.runs_on_this_machine:
            gone(self, path, "no process of a terminated sweep is left")
        check_whole(self._resume(path, cmd), kills=1)
