"""Runners when openings fail, runs are cancelled early, or another runner keeps the slots."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from multirun_core._sweep.driver import Driver
from multirun_core._transport.process import ProcessId
from sweeps import events

from multirun_core import (
    AbstractRunner,
    ExitStatus,
    ParallelLocalRunner,
    Run,
    RunStatistics,
    SubmitError,
    TaskRunner,
    multirun,
    multirunAsync,
)


class Opening(TaskRunner):
    """Notes what it is asked for; `execute` waits until it is cancelled, slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.failing = False

    async def open(self) -> None:
        self.calls.append("open")
        if self.failing:
            raise SubmitError("it does not open")

    async def close(self) -> None:
        self.calls.append("close")

    async def execute(self, run: Run) -> ExitStatus:
        self.calls.append("execute")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            self.calls.append("ended")
        raise AssertionError(run)


@pytest.mark.asyncio
async def test_what_was_opened_by_half_is_closed() -> None:
    runner = Opening()
    runner.failing = True
    run = runner.add(["x"])
    with pytest.raises(SubmitError):
        await runner.gather()
    assert runner.calls == ["open", "close"]
    assert run.status == "pending"


@pytest.mark.asyncio
async def test_a_run_that_is_cancelled_before_its_first_step_is_skipped() -> None:
    runner = Opening()
    run = runner.add(["x"])
    assert run.task is not None
    run.task.cancel()
    await runner.gather()
    assert (run.status, run.reason, runner.calls) == ("skipped", "cancelled", [])


@pytest.mark.asyncio
async def test_gather_cleans_up_though_it_is_cancelled_again() -> None:
    runner = Opening()
    run = runner.add(["x"])
    gathering = asyncio.ensure_future(runner.gather())
    while "execute" not in runner.calls:
        await asyncio.sleep(0)
    for _ in range(3):
        gathering.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await gathering
    assert (run.status, run.reason) == ("failure", "cancelled")
    assert runner.calls == ["open", "execute", "ended", "close"]


@pytest.mark.asyncio
async def test_a_sweep_that_is_cancelled_while_its_runner_opens_leaves_no_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()
    guardians: list[ProcessId] = []
    write = Driver._write_guardian

    async def slow(driver: Driver, guardian: ProcessId) -> None:
        guardians.append(guardian)
        begun.set()
        await asyncio.sleep(0.1)
        await write(driver, guardian)

    monkeypatch.setattr(Driver, "_write_guardian", slow)
    task = asyncio.ensure_future(
        multirunAsync(runs=[{}], cmd=["true"], output_path=tmp_path / "s", progress=False)
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not guardians[0].alive()


def test_one_new_launcher_takes_the_place_of_one_that_died(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=4)
    kill = 'test "$MULTIRUN_INDEX" != 3 || kill -9 "$PPID"; sleep 0.2'
    sweep = multirun(
        runs=[{}] * 12,
        cmd=["sh", "-c", kill],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
    )
    assert {run.reason for run in sweep.failures} == {"lost"}
    assert sweep.statistics.failure_count <= 4
    assert [event["event"] for event in events(tmp_path / "s")].count("guardian") == 2


@pytest.mark.asyncio
async def test_many_that_find_the_runner_broken_open_it_once() -> None:
    class Fragile(Opening):
        is_broken = False

        @property
        def broken(self) -> bool:
            return self.is_broken

        async def open(self) -> None:
            await asyncio.sleep(0.01)
            self.is_broken = False
            self.calls.append("open")

    runner = Fragile()
    await runner.ready()
    runner.is_broken = True
    await asyncio.gather(*(runner.ready() for _ in range(4)))
    assert runner.calls == ["open", "close", "open"]


def test_no_further_attempt_begins_over_the_failure_budget(tmp_path: Path) -> None:
    # Run 0 ends for good while the others are executed, with attempts left.
    cmd = ["sh", "-c", 'test "$MULTIRUN_INDEX" = 0 || sleep 0.4; exit 1']
    sweep = multirun(
        runs=[{}] * 3,
        cmd=cmd,
        output_path=tmp_path / "s",
        max_failures=0,
        retries=1,
        runner=ParallelLocalRunner(retry_delay=0.1),
        progress=False,
    )
    assert [(run.status, run.reason, run.attempts) for run in sweep.runs] == [
        ("failure", "exit", 2),
        ("failure", "exit", 1),
        ("failure", "exit", 1),
    ]


class Queue(AbstractRunner):
    """Two slots of its own, and nothing but the three methods."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(2)

    def computeStatistics(self) -> RunStatistics:
        return RunStatistics()

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        run = Run()
        run.task = asyncio.ensure_future(self.carry_out(run, cmd, cwd))
        return run

    async def carry_out(self, run: Run, cmd: list[str], cwd: Path) -> None:
        async with self.slots:
            run.status = "running"
            process = await asyncio.create_subprocess_exec(*cmd, cwd=cwd)
            try:
                run.status = "failure" if await process.wait() else "success"
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def gather(self) -> None:
        """Have nothing to wait for."""


def test_a_runner_of_three_methods_passes_on_which_attempt_it_is(tmp_path: Path) -> None:
    program = (
        "import os, sys; from multirun_core import postRunResults; "
        "attempt = os.environ['MULTIRUN_ATTEMPT']; postRunResults(attempt); "
        "sys.exit(attempt != '2')"
    )
    sweep = multirun(
        runs=[{}],
        cmd=[sys.executable, "-c", program],
        output_path=tmp_path / "s",
        runner=Queue(),
        retries=1,
        progress=False,
    )
    assert list(sweep.results) == ["2"]


def test_a_time_limit_does_not_count_waiting_in_the_queue_of_a_runner(tmp_path: Path) -> None:
    sweep = multirun(
        runs=[{"n": n} for n in range(8)],
        cmd=["sh", "-c", "test {n} != 7 || sleep 30; sleep 0.3"],
        output_path=tmp_path / "s",
        runner=Queue(),
        timeout=2,
        progress=False,
    )
    assert sweep.statistics.success_count == 7
    assert sweep.runs[7].reason == "timeout"


class Gatherer(AbstractRunner):
    """Starts nothing before `gather`, and not much then."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def computeStatistics(self) -> RunStatistics:
        return RunStatistics()

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        return Run()

    async def gather(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [(RuntimeError("no cluster"), "submit", "no cluster"), (None, "lost", "says no more")],
)
def test_a_gather_that_leaves_runs_behind_is_not_waited_for_for_ever(
    tmp_path: Path, error: Exception | None, reason: str, message: str
) -> None:
    sweep = multirun(
        runs=[{}] * 3,
        cmd=["true"],
        output_path=tmp_path / "s",
        runner=Gatherer(error),
        progress=False,
    )
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", reason)] * 3
    assert message in str(sweep.runs[0].message)
