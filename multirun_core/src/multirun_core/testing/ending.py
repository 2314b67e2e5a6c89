"""Checks of runs that are ended before their time: by cancellation, by a time limit."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._model.status import TERMINAL
from multirun_core._sweep.sweep import Sweep
from multirun_core.testing.base import KitBase
from multirun_core.testing.contract import WAIT_FOR, fresh
from multirun_core.testing.promises import expect, promise, requires, sh, told

if TYPE_CHECKING:
    from multirun_core._model.run import Run

BEAT = 'while :; do echo x >> "$1"; sleep 0.02; done'
# A child that ignores TERM and one that has a session and an environment of its own.
TREE = """
trap '' TERM
beat='while :; do echo x >> "$1"; sleep 0.02; done'
sh -c "$beat" sh "$1/child" &
env -i PATH="$PATH" setsid sh -c "trap '' TERM HUP; $beat" sh "$1/far" &
until test -e "$1/child" && test -e "$1/far"; do sleep 0.01; done
"""


class EndingChecks(KitBase):
    """What a runner promises when a run must end."""

    async def _stopped(self, beats: Path, promised: str) -> None:
        """Check that the files in a directory, which processes append to, grow no more."""
        sizes = [{path.name: path.stat().st_size for path in beats.iterdir()}]
        await asyncio.sleep(self.patience(0.25))
        sizes.append({path.name: path.stat().st_size for path in beats.iterdir()})
        grown = sorted(name for name in sizes[1] if sizes[1][name] != sizes[0].get(name))
        promise(not grown, promised, f"these processes went on: {grown}")

    @requires("shares_files")
    def test_cancelling_one_run_ends_it_alone(self, tmp_path: Path) -> None:
        beats, go = fresh(tmp_path / "beats"), tmp_path / "go"

        async def work() -> None:
            runner = self.make_runner(**self.slots(2), **self.grace(0.3))
            one = runner.add(sh(BEAT, beats / "one"), fresh(tmp_path / "one"))
            other = runner.add(sh(WAIT_FOR, go), fresh(tmp_path / "other"))
            gathering = asyncio.ensure_future(runner.gather())
            await self.until((beats / "one").exists, "a run starts", during=gathering)
            cancelled = await _cancel(one.task)
            promise(cancelled, "cancelling run.task raises CancelledError there", told([one]))
            await self._stopped(beats, "cancelling run.task ends the run's process")
            go.touch()
            await gathering
            expect(one.status, "failure", "a run that was cancelled while it ran has failed")
            promise(
                other.status == "success", "cancelling a run leaves others alone", told([other])
            )

        self.bounded(work())

    @requires("slots_option", "shares_files")
    def test_a_run_cancelled_while_it_waits_is_never_started(self, tmp_path: Path) -> None:
        beats, go, mark = fresh(tmp_path / "beats"), tmp_path / "go", tmp_path / "mark"

        async def work() -> None:
            runner = self.make_runner(**self.slots(1))
            first = runner.add(sh(f'touch "$2"; {WAIT_FOR}', go, mark), fresh(tmp_path / "a"))
            second = runner.add(sh('touch "$1"', beats / "second"), fresh(tmp_path / "b"))
            gathering = asyncio.ensure_future(runner.gather())
            # The program, not just the status: by now the second would have begun as well.
            await self.until(mark.exists, "a run starts", during=gathering)
            await _cancel(second.task)
            go.touch()
            await gathering
            promised = "a run that is cancelled while it waits is never started"
            expect(second.status, "skipped", promised)
            promise(not list(beats.iterdir()), promised, "it was started")
            promise(first.status == "success", promised + ", and the others are", told([first]))

        self.bounded(work())

    @requires("shares_files")
    def test_cancelling_gather_ends_all_runs(self, tmp_path: Path) -> None:
        beats = fresh(tmp_path / "beats")

        async def work() -> None:
            runner = self.make_runner(**self.slots(2), **self.grace(0.3))
            runs = [
                runner.add(sh(BEAT, beats / name), fresh(tmp_path / name)) for name in ("a", "b")
            ]
            gathering = asyncio.ensure_future(runner.gather())
            await self.until(
                lambda: len(list(beats.iterdir())) == 2, "two runs start", during=gathering
            )
            promise(
                await _cancel(gathering), "a cancelled gather() raises CancelledError", "nothing"
            )
            promised = "when a cancelled gather() has ended, so have all runs"
            promise(all(run.status in TERMINAL for run in runs), promised, told(runs))
            await self._stopped(beats, promised)

        self.bounded(work())

    @requires("shares_files")
    def test_a_cancelled_sweep_ends_its_runs_and_is_resumed(self, tmp_path: Path) -> None:
        beats, go, root = fresh(tmp_path / "beats"), tmp_path / "go", tmp_path / "s"
        cmd = sh(
            'test -e "$1" || while :; do echo x >> "$2/$MULTIRUN_INDEX"; sleep 0.02; done',
            go,
            beats,
        )

        async def work() -> None:
            options = {**self.slots(2), **self.grace(0.3)}
            task = asyncio.ensure_future(self.sweep(4, cmd, root, options=options))
            await self.until(lambda: len(list(beats.iterdir())) >= 2, "two runs start", during=task)
            promise(await _cancel(task), "a cancelled sweep raises CancelledError", "nothing")
            await self._stopped(beats, "a cancelled sweep has ended its runs")

        self.bounded(work())
        promised = "a cancelled sweep says so of its runs"
        runs = Sweep.open(root).runs
        promise(all(run.status in ("failure", "skipped") for run in runs), promised, told(runs))
        go.touch()
        runs = self.run_sweep(4, cmd, root, resume=True).runs
        promised = "a cancelled sweep can be resumed"
        promise([run.status for run in runs] == ["success"] * 4, promised, told(runs))

    @requires("ends_whole_trees", "shares_files")
    def test_cancelling_a_run_ends_its_whole_tree(self, tmp_path: Path) -> None:
        beats = fresh(tmp_path / "beats")

        async def work() -> None:
            runner = self.make_runner(**self.grace(0.3))
            run = runner.add(sh(f"{TREE}\n{BEAT}", beats), fresh(tmp_path / "run"))
            gathering = asyncio.ensure_future(runner.gather())
            await self.until(
                lambda: len(list(beats.iterdir())) == 2, "a tree starts", during=gathering
            )
            await _cancel(run.task)
            promised = "cancelling a run ends all of its descendants, whatever they do about it"
            await self._stopped(beats, promised)
            await gathering

        self.bounded(work())

    @requires("ends_whole_trees", "shares_files")
    def test_what_a_run_leaves_running_is_ended_with_it(self, tmp_path: Path) -> None:
        beats = fresh(tmp_path / "beats")

        async def work() -> Run:
            runner = self.make_runner(**self.grace(0.3))
            run = runner.add(sh(TREE, beats), fresh(tmp_path / "run"))
            await runner.gather()
            await self._stopped(beats, "descendants that a run leaves are ended when it ends")
            return run

        run = self.bounded(work())
        promised = "a run that leaves descendants is judged by its own exit status"
        promise(run.status == "success", promised, told([run]))

    @requires("shares_files")
    def test_a_time_limit_ends_a_run(self, tmp_path: Path) -> None:
        beats, limit = fresh(tmp_path / "beats"), self.patience(0.6)

        async def work() -> Sweep:
            script = f"test $MULTIRUN_PARAM_N = 1 || {{ {BEAT}; }}"
            began = time.monotonic()
            sweep = await self.sweep(
                2, sh(script, beats / "x"), tmp_path / "s", options=self.grace(0.3), timeout=limit
            )
            took = time.monotonic() - began
            promise(took < limit + self.patience(8), "a time limit is kept", f"{took:.1f} s")
            await self._stopped(beats, "a run whose time is up is ended")
            return sweep

        runs = self.bounded(work()).runs
        expect(
            [(run.status, run.reason) for run in runs],
            [("failure", "timeout"), ("success", None)],
            "a run over its time limit has failed for the reason 'timeout', and no other has",
        )
        promise(
            (runs[0].duration or 0) >= limit * 0.9,
            "a run has all of its time",
            f"{runs[0].duration} s of {limit} s",
        )

    @requires("ends_whole_trees", "shares_files")
    def test_a_time_limit_ends_a_whole_tree(self, tmp_path: Path) -> None:
        beats = fresh(tmp_path / "beats")

        async def work() -> None:
            cmd, limit = sh(f"{TREE}\nsleep 300", beats), self.patience(0.6)
            await self.sweep(1, cmd, tmp_path / "s", options=self.grace(0.3), timeout=limit)
            await self._stopped(beats, "a time limit ends all descendants of a run")

        self.bounded(work())

    @requires("slots_option")
    def test_a_time_limit_does_not_count_the_wait_for_a_slot(self, tmp_path: Path) -> None:
        cmd, limit = ["sleep", f"{self.patience(0.5)}"], self.patience(1.5)
        runs = self.run_sweep(4, cmd, tmp_path / "s", options=self.slots(1), timeout=limit).runs
        promised = "a time limit counts running, not waiting"
        promise([run.status for run in runs] == ["success"] * 4, promised, told(runs))


async def _cancel(
    task: asyncio.Task[None] | asyncio.Future[None] | asyncio.Task[Sweep] | None,
) -> bool:
    """Cancel a task and wait for its end; whether it ended as cancelled."""
    if task is None:
        raise AssertionError("promised: add() in a running loop assigns run.task\n     seen: None")
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()
