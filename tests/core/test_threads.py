"""Blocking work in threads: as many as may be, stopped when nobody wants it, left when it hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from multirun_core._threads import Stopped, Threads, Work, checkpoint
from sweeps import wait_until


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_all_work_is_done_by_a_bounded_number_of_threads_that_end() -> None:
    threads = Threads(3, "multirun-test")
    seen: list[int] = []
    gate = threading.Event()

    def work(number: int) -> int:
        gate.wait(30)
        seen.append(len(named("multirun-test")))
        return number

    futures = [threads.submit(work, number) for number in range(50)]
    gate.set()
    assert [future.result(30) for future in futures] == list(range(50))
    assert max(seen) <= 3
    wait_until(lambda: not named("multirun-test"))
    assert threads.submit(work, 7).result(30) == 7  # and begin again


def test_a_thread_that_lingers_does_what_comes_and_ends_at_the_shutdown() -> None:
    threads = Threads(2, "multirun-test", linger=60)
    first = threads.submit(threading.get_ident).result(30)
    wait_until(lambda: threads._idle == 1)
    assert threads.submit(threading.get_ident).result(30) == first
    wait_until(lambda: threads._idle == 1)
    both = threading.Barrier(2)
    pair = [threads.submit(both.wait, 30), threads.submit(both.wait, 30)]
    assert sorted(future.result(30) for future in pair) == [0, 1]  # one was not enough
    began = time.monotonic()
    threads.shutdown()
    assert time.monotonic() - began < 30
    assert not named("multirun-test")


def test_a_thread_that_lingers_ends_when_nothing_comes() -> None:
    threads = Threads(1, "multirun-test", linger=0.05)
    assert threads.submit(lambda: 1).result(30) == 1
    wait_until(lambda: not named("multirun-test"))
    assert threads.submit(lambda: 2).result(30) == 2


def test_work_that_fails_says_so_and_the_next_is_done() -> None:
    threads = Threads(1, "multirun-test")
    failed = threads.submit(lambda: 1 / 0)
    fine = threads.submit(lambda: 1)
    assert isinstance(failed.exception(30), ZeroDivisionError)
    assert fine.result(30) == 1


def test_after_the_shutdown_nothing_is_taken_and_what_was_taken_is_done() -> None:
    threads = Threads(1, "multirun-test")
    gate = threading.Event()
    first, second = threads.submit(gate.wait, 30), threads.submit(lambda: "done")
    threads.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(lambda: None)
    gate.set()
    threads.shutdown()
    assert first.result(0)
    assert second.result(0) == "done"


def test_a_system_without_a_further_thread_is_an_error_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads(2, "multirun-test")
    gate = threading.Event()
    first = threads.submit(gate.wait, 30)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        second = threads.submit(lambda: "done")
        gate.set()
        assert first.result(30)
        assert second.result(30) == "done"
        wait_until(lambda: not named("multirun-test"))
        with pytest.raises(RuntimeError, match="can't start"):
            threads.submit(lambda: None)
    assert threads.submit(lambda: 5).result(30) == 5


def test_a_checkpoint_outside_of_any_work_is_nothing() -> None:
    checkpoint(5)


async def begun(work: Work, job: Callable[[], object]) -> asyncio.Task[object]:
    started = threading.Event()

    def carry_out() -> object:
        started.set()
        return job()

    task = asyncio.ensure_future(work.do(carry_out))
    while not started.is_set():
        await asyncio.sleep(0.005)
    return task


@pytest.mark.asyncio
async def test_cancelled_work_stops_at_its_next_checkpoint_and_is_waited_for() -> None:
    cleared: list[bool] = []

    def job() -> None:
        try:
            while True:
                checkpoint()
                time.sleep(0.001)
        except Stopped:
            time.sleep(0.1)
            cleared.append(True)
            raise

    task = await begun(Work(), job)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleared


@pytest.mark.asyncio
async def test_the_bytes_that_are_done_are_told() -> None:
    told: list[int] = []
    await Work().do(lambda: [checkpoint(size) for size in (3, 0, 4)], told.append)
    assert told == [3, 4]


@pytest.mark.asyncio
async def test_work_that_hangs_is_left_behind_only_in_a_hurry() -> None:
    work, gate = Work(), threading.Event()
    task = await begun(work, lambda: gate.wait(30))
    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()  # again
    done, _ = await asyncio.wait([task], timeout=1.5)
    assert not done
    work.hurry()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert not gate.is_set()
    gate.set()


@pytest.mark.asyncio
async def test_an_error_of_work_that_is_not_wanted_any_more_disturbs_nobody() -> None:
    gate = threading.Event()

    def job() -> None:
        gate.wait(30)
        raise ValueError

    task = await begun(Work(), job)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
