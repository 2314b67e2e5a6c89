"""Checks with processes that are hard to end: when a run is over, nothing of it may be left."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from multirun_core._model.status import TERMINAL
from multirun_core.testing.base import KitBase, expect, promise, requires
from multirun_core.testing.fault_tools import gone, sh, wait_for_files

# What a child does: it says that it is there, and stays. `$0` is the run directory, so that it is
# known by its command, whatever becomes of its environment and its directory.
_CHILD = ': > "$0/there"; cd /; while :; do sleep 1; done'
_START = f"child='{_CHILD}'; deaf='trap \"\" TERM; {_CHILD}'; "
_DEAF = _START + 'sh -c "$deaf" "$PWD" & '
_SESSION = _START + '(setsid sh -c "$child" "$PWD" &) ; '
_UNMARKED = _START + ('(env -i PATH="$PATH" setsid sh -c "$child" "$PWD" > /dev/null 2>&1 &) ; ')
_THERE = "until test -e there; do sleep 0.02; done; : > ready; "
_STAY = "sleep 300"
_FLOOD = (
    "count=0; while test $count -lt 50; do sleep 300 & count=$((count + 1)); done; : > ready; wait"
)
_DELAYS = (0.0, 0.0, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05)


class TreeFaults(KitBase):
    """What a runner promises about the descendants of a run."""

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_cancelled_with_a_child_that_ignores_term(self, hostile_path: Path) -> None:
        """It is killed after the grace."""
        self._check_cancelled(hostile_path, _DEAF)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_cancelled_with_a_child_in_a_session_of_its_own(self, hostile_path: Path) -> None:
        """It is found though it left the process group, and its parent has died."""
        self._check_cancelled(hostile_path, _SESSION)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_cancelled_with_a_child_without_environment(self, hostile_path: Path) -> None:
        """It is found though nothing in its environment tells whose it is."""
        self._check_cancelled(hostile_path, _UNMARKED)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_timed_out_with_a_child_that_ignores_term(self, hostile_path: Path) -> None:
        """It is killed after the grace."""
        self._check_timed_out(hostile_path, _DEAF)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_timed_out_with_a_child_in_a_session_of_its_own(self, hostile_path: Path) -> None:
        """It is found though it left the process group, and its parent has died."""
        self._check_timed_out(hostile_path, _SESSION)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_timed_out_with_a_child_without_environment(self, hostile_path: Path) -> None:
        """It is found though nothing in its environment tells whose it is."""
        self._check_timed_out(hostile_path, _UNMARKED)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_ended_with_a_child_that_ignores_term(self, hostile_path: Path) -> None:
        """A run that ends by itself takes it along."""
        self._check_ended(hostile_path, _DEAF)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_ended_with_a_child_in_a_session_of_its_own(self, hostile_path: Path) -> None:
        """A run that ends by itself takes it along."""
        self._check_ended(hostile_path, _SESSION)

    @requires("runs_on_this_machine", "ends_whole_trees")
    def test_ended_with_a_child_without_environment(self, hostile_path: Path) -> None:
        """A run that ends by itself takes it along."""
        self._check_ended(hostile_path, _UNMARKED)

    @requires("runs_on_this_machine", "ends_whole_trees", "ends_with_driver")
    def test_children_in_sessions_end_with_the_driver(self, hostile_path: Path) -> None:
        """When the driver is killed, what left its run's session ends, too, within 5 seconds."""
        self._check_driver_killed(hostile_path, _UNMARKED)

    @requires("runs_on_this_machine", "ends_whole_trees", "ends_with_driver")
    def test_children_that_ignore_term_end_with_the_driver(self, hostile_path: Path) -> None:
        """When the driver is killed, they end within 5 seconds, too."""
        self._check_driver_killed(hostile_path, _DEAF)

    @requires("runs_on_this_machine")
    def test_a_run_with_fifty_children_is_ended_wholly(self, hostile_path: Path) -> None:
        """Not only its main process is ended."""
        self._check_cancelled(hostile_path, _FLOOD)

    @requires("runs_on_this_machine")
    def test_cancelled_while_it_starts_a_run_leaks_nothing(self, hostile_path: Path) -> None:
        """At whatever moment of its start a run is cancelled, no process is left behind."""
        runner = self.make_runner(**self.slots(len(_DELAYS)), **self.grace(0.5))

        async def work() -> None:
            for number, delay in enumerate(_DELAYS):
                cwd = hostile_path / str(number)
                cwd.mkdir()
                run = runner.add(["sleep", "300"], cwd)
                await asyncio.sleep(delay)
                promise(run.task, "in a running event loop `add` assigns `task`", run.task)
                if run.task is not None:
                    run.task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await run.task
                promise(run.status in TERMINAL, "a cancelled run has come to its end", run.status)
            await runner.gather()

        self.bounded(work())
        gone(self, hostile_path, "a run that is cancelled while it starts leaves no process")

    # Helpers.

    def _check_cancelled(self, folder: Path, program: str) -> None:
        """Cancel a sweep whose run has its children; they are gone when it ends."""
        path = folder / "sweep"
        cmd = sh(program) if program is _FLOOD else sh(program, _THERE, _STAY)

        async def work() -> None:
            sweep = asyncio.ensure_future(self.sweep(1, cmd, path, options=self.grace(0.5)))
            await self.until(
                lambda: sweep.done() or (path / "runs/000000/ready").exists(), "the run starts"
            )
            promise(not sweep.done(), "a run goes on until it ends or is ended", sweep)
            sweep.cancel()
            await asyncio.wait([sweep])
            promise(sweep.cancelled(), "a cancelled sweep raises CancelledError", sweep)

        self.bounded(work())
        gone(self, path, "when a run has been cancelled, no process of it is left", 1.0)

    def _check_timed_out(self, folder: Path, program: str) -> None:
        cmd = sh(program, _THERE, _STAY)
        for seconds in (1, 4, 16):  # on a busy machine its children may not be there at first
            path, limit = folder / f"sweep {seconds}", self.patience(seconds)
            sweep = self.run_sweep(1, cmd, path, options=self.grace(0.5), timeout=limit)
            expect(sweep.runs[0].reason, "timeout", "a run that takes too long is ended")
            gone(self, path, "when a run has been timed out, no process of it is left", 1.0)
            if (path / "runs/000000/ready").exists():
                return
        promise(False, f"a run starts its child within {limit:g} s", "it does not")

    def _check_driver_killed(self, folder: Path, program: str) -> None:
        if self.why_not("can_reattach") is None:
            pytest.skip("its runs are meant to outlive their driver")
        path = folder / "sweep"
        driver = self.driver(path, 1, sh(program, _THERE, _STAY))
        wait_for_files(self, path, "runs/*/ready", 1)
        driver.kill()
        driver.wait()
        gone(self, path, "all processes of a run end within 5 seconds of their driver's death")

    def _check_ended(self, folder: Path, program: str) -> None:
        path = folder / "sweep"
        sweep = self.run_sweep(1, sh(program, _THERE, "exit 0"), path, options=self.grace(0.5))
        expect(sweep.runs[0].status, "success", "the program's exit status counts")
        gone(self, path, "when a run has ended, no process of it is left", 1.0)
