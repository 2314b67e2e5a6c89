"""Checks of the three methods every runner has: `add`, `gather`, `computeStatistics`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._model.run import Run
from multirun_core._model.status import STATUSES, TERMINAL
from multirun_core.plugins import hookimpl
from multirun_core.testing.base import KitBase
from multirun_core.testing.promises import expect, promise, requires, sh, told

if TYPE_CHECKING:
    from multirun_core._model.status import RunStatus
    from multirun_core._runners.base import AbstractRunner
    from multirun_core._sweep.sweep import Sweep

WAIT_FOR = 'until test -e "$1"; do sleep 0.02; done'
MEET = """
mkdir "$1/$$"
n=0
until test $(ls "$1" | wc -l) -ge "$2"; do
    n=$((n + 1)); test $n -lt "$3" || exit 1; sleep 0.02
done
"""
COUNT = 'mkdir "$1/in/$$"; ls "$1/in" | wc -l > "$1/seen/$$"; sleep 0.05; rmdir "$1/in/$$"'


def fresh(path: Path) -> Path:
    """Return a path as a new directory."""
    path.mkdir(parents=True)
    return path


class Watcher:
    """An observer that keeps the moves of all runs of a sweep."""

    def __init__(self) -> None:
        """Start with none."""
        self.moves: dict[int | None, list[tuple[RunStatus, RunStatus]]] = {}

    @hookimpl
    def multirun_run_changed(self, sweep: Sweep, run: Run, previous: RunStatus) -> None:
        """Keep a move."""
        self.moves.setdefault(run.index, []).append((previous, run.status))


class ContractChecks(KitBase):
    """What `add`, `gather` and `computeStatistics` promise."""

    def test_add_returns_a_pending_run_at_once(self, tmp_path: Path) -> None:
        promised = "add() returns a pending run with a task, and does so at once"

        async def work() -> None:
            runner = self.make_runner()
            began = time.monotonic()
            run = runner.add(["sleep", "1.2"], fresh(tmp_path / "run"))
            took = time.monotonic() - began
            expect(run.status, "pending", promised)
            promise(isinstance(run.task, asyncio.Task), promised, f"its task is {run.task!r}")
            promise(took < self.patience(0.9), promised, f"it took {took:.2f} s")
            await runner.gather()

        self.bounded(work())

    def test_gather_returns_when_all_runs_have_ended(self, tmp_path: Path) -> None:
        promised = "gather() waits for all runs that were added"

        async def work() -> None:
            runner = self.make_runner()
            runs = [
                runner.add(["sleep", text], fresh(tmp_path / text)) for text in ("0", "0.4", "0.1")
            ]
            await runner.gather()
            promise(all(run.status in TERMINAL for run in runs), promised, told(runs))

        self.bounded(work())

    def test_gather_without_runs_returns_at_once(self) -> None:
        promised = "gather() with nothing to wait for returns, at once"
        try:
            self.bounded(self.make_runner().gather(), 10)
        except Exception as error:
            promise(False, promised, repr(error))

    def test_gather_may_be_called_again(self, tmp_path: Path) -> None:
        promised = "gather() again, with nothing new, returns and starts nothing"

        async def work() -> None:
            runner = self.make_runner()
            cwd = fresh(tmp_path / "run")
            run = runner.add(sh("echo x >> count"), cwd)
            await runner.gather()
            await runner.gather()
            expect(((cwd / "count").read_text(), run.status), ("x\n", "success"), promised)

        self.bounded(work())

    def test_runs_may_be_added_after_gather(self, tmp_path: Path) -> None:
        async def work() -> list[Run]:
            runner = self.make_runner()
            runs: list[Run] = []
            for name in ("first", "second"):
                runs.append(runner.add(["true"], fresh(tmp_path / name)))
                await runner.gather()
            return runs

        runs = self.bounded(work())
        promised = "runs that are added after a gather() are executed by the next"
        promise([run.status for run in runs] == ["success"] * 2, promised, told(runs))

    def test_the_task_of_a_run_can_be_awaited(self, tmp_path: Path) -> None:
        promised = "awaiting run.task waits for that run and raises nothing when it fails"

        async def work() -> None:
            runner = self.make_runner()
            for name, cmd, wanted in (("a", ["true"], "success"), ("b", ["false"], "failure")):
                run = runner.add(cmd, fresh(tmp_path / name))
                if run.task is None:
                    promise(False, "add() in a running loop assigns run.task", told([run]))
                else:
                    await asyncio.wait([run.task])
                    promise(run.task.exception() is None, promised, repr(run.task.exception()))
                expect(run.status, wanted, promised)
            await runner.gather()

        self.bounded(work())

    def test_statuses_follow_the_table(self, tmp_path: Path) -> None:
        commands = [["true"], ["false"]]
        wanted = [
            [("pending", "running"), ("running", "success")],
            [("pending", "running"), ("running", "failure")],
        ]
        promised = "a run goes from pending to running and from there to success or failure"

        async def work() -> list[list[tuple[RunStatus, RunStatus]]]:
            runner = self.make_runner()
            moves: list[list[tuple[RunStatus, RunStatus]]] = [[], []]
            for number, cmd in enumerate(commands):
                run = runner.add(cmd, fresh(tmp_path / str(number)))
                run.observer = lambda run, old, seen=moves[number]: seen.append((old, run.status))
            await runner.gather()
            return moves

        expect(self.bounded(work()), wanted, f"{promised}, added to the runner")
        watcher = Watcher()
        self.run_sweep(2, sh("exit $MULTIRUN_PARAM_N"), tmp_path / "s", observers=[watcher])
        expect([watcher.moves.get(n) for n in range(2)], wanted, f"{promised}, in a sweep")

    def test_the_counts_always_sum_to_the_runs_added(self, tmp_path: Path) -> None:
        async def work() -> None:
            runner = self.make_runner(**self.slots(2))
            runs: list[Run] = []
            for number in range(8):
                cmd = sh("sleep 0.1; exit $1", number % 2)
                runs.append(runner.add(cmd, fresh(tmp_path / str(number))))
                _check_counts(runner, runs)
            gathering = asyncio.ensure_future(runner.gather())
            while not gathering.done():
                _check_counts(runner, runs)
                await asyncio.sleep(0.01)
            await gathering
            _check_counts(runner, runs)

        self.bounded(work())

    def test_a_failing_run_leaves_its_siblings_alone(self, tmp_path: Path) -> None:
        commands = [sh(f"sleep 0.{4 * (n % 2)}; exit {1 - n % 2}") for n in range(4)]
        for how, runs in self.both_ways(commands, tmp_path):
            statuses = [run.status for run in runs]
            promised = f"a failing run leaves its siblings alone, {how}"
            promise(statuses == ["failure", "success"] * 2, promised, told(runs))

    @requires("slots_option", "shares_files")
    def test_no_more_runs_at_once_than_the_limit(self, tmp_path: Path) -> None:
        for way in ("in", "seen"):
            fresh(tmp_path / "meet" / way)
        commands = [sh(COUNT, tmp_path / "meet") for _ in range(9)]
        for how, runs in self.both_ways(commands, tmp_path, options=self.slots(3)):
            seen = [int(path.read_text()) for path in (tmp_path / "meet" / "seen").iterdir()]
            promised = f"never more than {self.slots(3)} runs at once, {how}"
            promise(len(seen) == len(runs), promised, f"{len(seen)} of {len(runs)} ran")
            promise(max(seen) <= 3, promised, f"{max(seen)} at once")
            for path in (tmp_path / "meet" / "seen").iterdir():
                path.unlink()

    @requires("slots_option", "shares_files")
    def test_as_many_runs_at_once_as_the_limit_allows(self, tmp_path: Path) -> None:
        meet = fresh(tmp_path / "meet")
        tries = round(self.patience(5.0) / 0.02)
        runs = self.run_bare(
            [sh(MEET, meet, 3, tries) for _ in range(3)], tmp_path, options=self.slots(3)
        )
        promised = f"with {self.slots(3)}, three runs go on at once"
        promise(all(run.status == "success" for run in runs), promised, "they did not meet")

    @requires("slots_option", "shares_files")
    def test_a_run_that_waits_for_a_slot_is_pending(self, tmp_path: Path) -> None:
        promised = "a run that waits for a slot is pending and has not been started"

        async def work() -> None:
            runner = self.make_runner(**self.slots(1))
            go, mark = tmp_path / "go", tmp_path / "mark"
            first = runner.add(sh('touch "$2"; ' + WAIT_FOR, go, mark), fresh(tmp_path / "a"))
            second = runner.add(sh('touch "$1"', tmp_path / "second"), fresh(tmp_path / "b"))
            gathering = asyncio.ensure_future(runner.gather())
            await self.until(mark.exists, "the first run starts", during=gathering)
            await asyncio.sleep(self.patience(0.2))
            seen = (first.status, second.status, (tmp_path / "second").exists())
            go.touch()
            await gathering
            expect(seen, ("running", "pending", False), promised)

        self.bounded(work())

    def test_the_event_loop_stays_free(self, tmp_path: Path) -> None:
        promised = "a runner never blocks the event loop"

        async def work() -> float:
            runner = self.make_runner()
            worst, last = 0.0, time.monotonic()
            for number in range(2):
                runner.add(["sleep", "1.2"], fresh(tmp_path / str(number)))
            gathering = asyncio.ensure_future(runner.gather())
            while not gathering.done():
                await asyncio.sleep(0.01)
                worst, last = max(worst, time.monotonic() - last), time.monotonic()
            await gathering
            return worst

        worst = self.bounded(work())
        promise(worst < 0.9, promised, f"it stood still for {worst:.2f} s")

    @requires("shares_files")
    def test_two_runners_work_in_one_loop(self, tmp_path: Path) -> None:
        meet = fresh(tmp_path / "meet")
        tries = round(self.patience(5.0) / 0.02)

        async def work() -> list[Sweep]:
            cmd = sh(MEET, meet, 2, tries)
            return await asyncio.gather(
                *(self.sweep(1, cmd, tmp_path / name, options=self.slots(1)) for name in "ab")
            )

        runs = [run for sweep in self.bounded(work()) for run in sweep.runs]
        promised = "two runners work at once in one event loop"
        promise(all(run.status == "success" for run in runs), promised, told(runs))

    def test_one_runner_serves_two_calls_one_after_another(self, tmp_path: Path) -> None:
        promised = "one runner serves two calls one after another, each in a loop of its own"
        runner = self.make_runner(**self.slots(2))
        for name in ("first", "second"):
            runs = self.run_sweep(3, ["true"], tmp_path / name, runner=runner).runs
            promise([run.status for run in runs] == ["success"] * 3, promised, told(runs))
        runs = self.run_bare([["true"], ["false"]], tmp_path / "bare", runner=runner)
        promise([run.status for run in runs] == ["success", "failure"], promised, told(runs))


def _check_counts(runner: AbstractRunner, runs: list[Run]) -> None:
    promised = "computeStatistics() counts every run that was added once, by its status"
    counts = runner.computeStatistics()
    statuses = [run.status for run in runs]
    each = {status: getattr(counts, f"{status}_count") for status in STATUSES}
    expect(each, {status: statuses.count(status) for status in each}, promised)
    done = counts.skipped_count + counts.success_count + counts.failure_count
    expect((counts.total_count, counts.complete_count), (len(runs), done), promised)
