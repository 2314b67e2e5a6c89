"""What every `TaskRunner` does, shown with one that runs nothing."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from multirun_core._runners.foreign import ForeignRunner
from sweeps import ThreeMethods

from multirun_core import (
    BackendError,
    ExitStatus,
    Run,
    RunStatistics,
    SubmitError,
    TaskRunner,
    UsageError,
)


class Scripted(TaskRunner):
    """Does what the first word of the command says, and remembers what it saw."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.now = 0
        self.most = 0
        self.ended: list[str] = []
        self.calls: list[str] = []
        self.opened = 0
        self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def execute(self, run: Run) -> ExitStatus:
        self.now += 1
        self.most = max(self.most, self.now)
        word = run.cmd[0]
        self.calls.append(word)
        try:
            return await self._do(word, run)
        finally:
            self.now -= 1
            self.ended.append(word)

    async def _do(self, word: str, run: Run) -> ExitStatus:
        match word:
            case "ok":
                await asyncio.sleep(0)
                return ExitStatus(code=0)
            case "fail":
                return ExitStatus(code=3)
            case "killed":
                return ExitStatus(code=-9)
            case "nothing":
                return ExitStatus(code=None)
            case "third":
                return ExitStatus(code=0 if run.attempts == 3 else 1)
            case "hang":
                await asyncio.Event().wait()
            case "refuse":
                raise SubmitError("no room")
            case "crash":
                raise ZeroDivisionError("a bug")
            case "backend":
                raise BackendError("it is gone")
            case "disk":
                raise OSError(errno.ENOSPC, "No space left on device")
        raise AssertionError(word)


async def outcome(word: str, **options: object) -> Run:
    runner = Scripted(**options)
    run = runner.add([word])
    await runner.gather()
    return run


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "status", "code", "reason"),
    [
        ("ok", "success", 0, None),
        ("fail", "failure", 3, "exit"),
        ("killed", "failure", -9, "signal"),
        ("nothing", "failure", None, "lost"),
        ("refuse", "failure", None, "submit"),
    ],
)
async def test_status_follows_the_exit_status(
    word: str, status: str, code: int | None, reason: str | None
) -> None:
    run = await outcome(word)
    assert (run.status, run.exit_code, run.reason, run.attempts) == (status, code, reason, 1)


@pytest.mark.asyncio
async def test_an_error_in_execute_fails_that_run_alone(caplog: pytest.LogCaptureFixture) -> None:
    runner = Scripted()
    runs = [runner.add([word]) for word in ("ok", "crash", "ok")]
    await runner.gather()
    assert [run.status for run in runs] == ["success", "failure", "success"]
    assert runs[1].message == "ZeroDivisionError: a bug"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize(("word", "error"), [("backend", BackendError), ("disk", OSError)])
async def test_an_error_of_the_backend_is_raised_and_the_run_stays_pending(
    word: str, error: type[Exception]
) -> None:
    runner = Scripted()
    lost, fine = runner.add([word]), runner.add(["ok"])
    with pytest.raises(error):
        await runner.gather()
    assert (lost.status, fine.status) == ("pending", "success")


@pytest.mark.asyncio
async def test_add_returns_a_pending_run_with_a_task_at_once() -> None:
    runner = Scripted()
    run = runner.add(["ok"])
    assert run.status == "pending"
    assert run.task is not None
    await run.task
    assert run.status == "success"
    await runner.gather()


def test_runs_added_outside_a_loop_wait_for_gather() -> None:
    runner = Scripted(max_parallel=2)
    runs = [runner.add(["ok"]) for _ in range(5)]
    assert [run.task for run in runs] == [None] * 5
    asyncio.run(runner.gather())
    assert {run.status for run in runs} == {"success"}


def test_one_runner_serves_several_loops_one_after_another() -> None:
    runner = Scripted(max_parallel=1)
    for _ in range(3):
        for _ in range(4):
            runner.add(["ok"])
        asyncio.run(runner.gather())
    assert runner.computeStatistics().success_count == 12
    assert (runner.opened, runner.closed) == (3, 3)


@pytest.mark.asyncio
async def test_no_more_runs_at_once_than_slots() -> None:
    runner = Scripted(max_parallel=3)
    for _ in range(40):
        runner.add(["ok"])
    await runner.gather()
    assert runner.most == 3
    assert len(runner.runs) == 40


@pytest.mark.asyncio
async def test_statistics_sum_to_the_runs_added() -> None:
    runner = Scripted()
    for word in ("ok", "fail", "ok"):
        runner.add([word])
    assert runner.computeStatistics() == RunStatistics(pending_count=3, total_count=3)
    await runner.gather()
    await runner.gather()
    assert runner.computeStatistics() == RunStatistics(
        success_count=2, failure_count=1, complete_count=3, total_count=3
    )


@pytest.mark.asyncio
async def test_retries_until_it_succeeds() -> None:
    moves: list[str] = []
    runner = Scripted(retries=5, retry_delay=0.0)
    run = runner.add(["third"])
    run.observer = lambda one, previous: moves.append(f"{previous}>{one.status}")
    await runner.gather()
    assert (run.status, run.attempts) == ("success", 3)
    assert moves == ["pending>running", "running>pending"] * 2 + [
        "pending>running",
        "running>success",
    ]


@pytest.mark.asyncio
async def test_retries_are_bounded_and_what_is_final_is_not_retried() -> None:
    assert (await outcome("fail", retries=2, retry_delay=0.0)).attempts == 3
    assert (await outcome("refuse", retries=2, retry_delay=0.0)).attempts == 1


class Losing(TaskRunner):
    """Ends attempts for the reasons that the command lists, and then well."""

    async def execute(self, run: Run) -> ExitStatus:
        reasons = [*run.cmd, "ok"]
        word = reasons[min(run.attempts, len(reasons)) - 1]
        return ExitStatus(code=0) if word == "ok" else ExitStatus(code=None, reason=word)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reasons", "status", "attempts"),
    [
        ("lost node_fail", "success", 3),
        ("lost node_fail preempted", "failure", 3),
        ("lost out_of_memory node_fail", "success", 4),
        ("out_of_memory timeout", "failure", 2),
        ("lost exit lost exit", "failure", 4),
    ],
)
async def test_what_infrastructure_lost_does_not_count_as_a_retry(
    reasons: str, status: str, attempts: int
) -> None:
    runner = Losing(retries=1, infrastructure_retries=2, retry_delay=0.0)
    run = runner.add(reasons.split())
    await runner.gather()
    assert (run.status, run.attempts) == (status, attempts)


@pytest.mark.asyncio
async def test_without_infrastructure_retries_all_count_alike() -> None:
    runner = Losing(retries=1, retry_delay=0.0)
    one, two = runner.add(["lost"]), runner.add(["lost", "lost"])
    await runner.gather()
    assert (one.status, two.status) == ("success", "failure")


@pytest.mark.asyncio
async def test_a_time_limit_ends_the_attempt() -> None:
    run = await outcome("hang", timeout=0.01)
    assert (run.status, run.reason) == ("failure", "timeout")


@pytest.mark.asyncio
async def test_cancelling_gather_ends_all_and_raises() -> None:
    runner = Scripted(max_parallel=2)
    runs = [runner.add(["hang"]) for _ in range(5)]
    gathering = asyncio.create_task(runner.gather())
    while runner.now < 2:
        await asyncio.sleep(0)
    gathering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathering
    assert [run.status for run in runs] == ["failure"] * 2 + ["skipped"] * 3
    assert {run.reason for run in runs} == {"cancelled"}
    assert runner.closed == 1


@pytest.mark.asyncio
async def test_cancelling_one_run_leaves_its_siblings_alone() -> None:
    runner = Scripted()
    hang, fine = runner.add(["hang"]), runner.add(["ok"])
    while runner.now < 1:
        await asyncio.sleep(0)
    assert hang.task is not None
    hang.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hang.task
    await runner.gather()
    assert (hang.status, hang.reason, fine.status) == ("failure", "cancelled", "success")


@pytest.mark.asyncio
async def test_cancelled_between_attempts_a_run_fails_as_its_last_attempt_did() -> None:
    runner = Scripted(retries=3, retry_delay=60.0)
    run = runner.add(["fail"])
    while run.attempts < 1 or run.status != "pending":
        await asyncio.sleep(0)
    assert run.task is not None
    run.task.cancel()
    await runner.gather()
    assert (run.status, run.reason, run.exit_code) == ("failure", "exit", 3)


@pytest.mark.asyncio
async def test_two_runners_in_one_loop() -> None:
    runners = [Scripted(max_parallel=1), Scripted(max_parallel=2)]
    for runner in runners:
        for _ in range(6):
            runner.add(["ok"])
    await asyncio.gather(*(runner.gather() for runner in runners))
    assert [runner.most for runner in runners] == [1, 2]
    assert all(runner.computeStatistics().success_count == 6 for runner in runners)


@pytest.mark.parametrize(
    "options",
    [{"max_parallel": 0}, {"timeout": 0}, {"retries": -1}, {"grace": -1}, {"env": {"A=B": "x"}}],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Scripted(**options)


@pytest.mark.asyncio
@pytest.mark.parametrize("lazily", [False, True])
async def test_a_runner_of_three_methods_is_carried_by_an_adapter(
    tmp_path: Path, lazily: bool
) -> None:
    runner = ForeignRunner(ThreeMethods(lazily=lazily))
    fine = runner.add(["sh", "-c", "exit 0"], tmp_path)
    bad = runner.add(["sh", "-c", "exit 4"], tmp_path)
    await runner.gather()
    assert (fine.status, bad.status) == ("success", "failure")
    assert (fine.attempts, bad.attempts, bad.reason) == (1, 1, "exit")


class Refused(Scripted):
    async def open(self) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


@pytest.mark.asyncio
async def test_a_backend_that_refuses_is_an_error_of_the_backend() -> None:
    runner = Refused()
    run = runner.add(["ok"])
    with pytest.raises(BackendError, match=r"Refused cannot be opened.*Connection refused"):
        await runner.gather()
    assert run.status == "pending"
