"""Runs that are over while a job is being submitted for them: the queue keeps nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import queue_program
from multirun_core._model.run import Run
from multirun_core._runners.scheduler import client, far, runner, submitting
from multirun_core.backends import Completed, LocalTransport, Login
from queue_tools import Queue, QueueRunner

from multirun_core import Sweep, multirunAsync

pytestmark = pytest.mark.asyncio

COUNT = 3
ACCEPTED, NOT_ACCEPTED = "slow-answer", "slow-submit"


class Link(LocalTransport):
    """A link to this machine, as if it were another: what is broken off goes on over there."""

    def __init__(self) -> None:
        self.left: set[asyncio.Task[Completed]] = set()

    async def run(self, argv: Sequence[str], **more: Any) -> Completed:
        task = asyncio.create_task(super().run(argv, **more))
        self.left.add(task)
        return await asyncio.shield(task)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """Return a queue in which all that is accepted waits."""
    made = Queue(tmp_path / "queue")
    made.fault("hold")
    return made


@pytest_asyncio.fixture
async def link() -> AsyncIterator[Link]:
    """Return a link; what it has left is ended with the test."""
    made = Link()
    yield made
    for task in made.left:
        task.cancel()
    await asyncio.gather(*made.left, return_exceptions=True)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(far, "WAIT_OUT_SECONDS", 0.5)


def waiting(queue: Queue) -> int:
    """Return how many tasks wait in the queue."""
    tasks = queue.home.glob("jobs/*/task-*")
    return sum(path.read_text() == queue_program.WAITING for path in tasks)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def interrupted(root: Path, on: QueueRunner, reached: Callable[[], Any]) -> set[str]:
    """Interrupt a sweep at a point; return what its runs are at its end."""
    sweep = asyncio.ensure_future(
        multirunAsync(
            runs=[{"n": n} for n in range(COUNT)],
            cmd=["true"],
            output_path=root,
            runner=on,
            progress=False,
        )
    )
    await until(reached)
    sweep.cancel()
    await asyncio.wait([sweep], timeout=40)
    assert sweep.cancelled()
    return {run.status for run in Sweep.open(root).runs}


def slow(queue: Queue, point: str) -> Callable[[], bool]:
    """Let a submit command hang at a point; return what tells whether one does."""
    queue.fault(point, 300)
    if point == ACCEPTED:
        return lambda: waiting(queue) == COUNT
    return lambda: queue.calls()["submit"] > 0


@pytest.mark.parametrize("point", [ACCEPTED, NOT_ACCEPTED])
@pytest.mark.parametrize("far_away", [False, True])
async def test_an_interrupt_while_a_job_is_submitted_leaves_neither_it_nor_the_client(
    point: str, queue: Queue, link: Link, tmp_path: Path, *, far_away: bool
) -> None:
    login = Login(name="far", connect=lambda: link, place=str(tmp_path)) if far_away else None
    on = QueueRunner(queue.home, login=login)
    assert await interrupted(tmp_path / "s", on, slow(queue, point)) == {"skipped"}
    assert (waiting(queue), queue.processes()) == (0, {})


async def test_a_job_whose_end_is_refused_for_a_moment_is_told_again(
    queue: Queue, tmp_path: Path
) -> None:
    queue.fail("cancel")
    await interrupted(tmp_path / "s", QueueRunner(queue.home), slow(queue, ACCEPTED))
    assert (waiting(queue), queue.calls()["cancel"]) == (0, 2)


async def test_what_the_queue_does_not_tell_is_said(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(submitting, "_SETTLE_SECONDS", 0.5)
    queue.fail("find", 1000)
    await interrupted(tmp_path / "s", QueueRunner(queue.home), slow(queue, ACCEPTED))
    (name,) = (path.read_text() for path in queue.home.glob("jobs/*/name"))
    assert f"may have jobs named {name}, which nobody needs; look after them" in caplog.text


async def test_an_interrupt_while_a_refusal_is_waited_out_has_nothing_to_look_for(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(submitting, "PAUSE_SECONDS", 300.0)
    queue.fail("submit", 1000)
    on = QueueRunner(queue.home)
    refused = "takes no jobs at the moment"
    assert await interrupted(tmp_path / "s", on, lambda: refused in caplog.text) == {"skipped"}
    assert queue.calls()["find"] == 0


async def test_an_interrupt_that_leaves_jobs_alone_leaves_one_that_is_being_submitted(
    queue: Queue, tmp_path: Path
) -> None:
    on = QueueRunner(queue.home)
    on.leaves_on_interrupt = True
    assert await interrupted(tmp_path / "s", on, slow(queue, ACCEPTED)) == {"pending"}
    assert (waiting(queue), queue.calls()["cancel"]) == (COUNT, 0)


async def submitted_in_vain(on: QueueRunner, queue: Queue, cwd: Path) -> None:
    """Give a run up while it is being submitted; return when its job was accepted."""
    queue.fault("slow-answer", 1)
    await on.ready()
    run = on.add(["true"], cwd)
    await until(lambda: waiting(queue))
    assert isinstance(run, Run)
    assert run.task is not None
    run.task.cancel()
    await until(lambda: queue.calls()["cancel"])


async def test_a_useless_job_is_told_to_end_until_the_queue_takes_that(
    queue: Queue, tmp_path: Path
) -> None:
    queue.fail("cancel", 2)
    on = QueueRunner(queue.home)
    await submitted_in_vain(on, queue, tmp_path / "run")
    await until(lambda: not waiting(queue))
    assert queue.calls()["cancel"] == 3
    await on.release()


async def test_a_useless_job_that_cannot_be_ended_is_said(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "_CLEAR_SECONDS", 0.5)
    queue.fail("cancel", 1000)
    on = QueueRunner(queue.home)
    await submitted_in_vain(on, queue, tmp_path / "run")
    await on.release()
    assert "the queue still has 1; look after it yourself" in caplog.text
