"""Jobs that wait for the same thing, and those who come for them at the same moment."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from multirun_core._staging.mirror import Fetched
from multirun_ssh.fetching import Fetching, Removing
from multirun_ssh.job import Job
from multirun_ssh.lane import Lane
from multirun_ssh.pool import Pool
from multirun_ssh.starting import Starting
from multirun_ssh.station import Station

from multirun_core import ExitStatus, Run

pytestmark = pytest.mark.asyncio


@dataclass(eq=False)
class _Job:
    name: str
    folder: str
    shared: bool = False
    source: Path = Path("s")
    end: ExitStatus | None = None
    run: Run | None = None
    attempt: int = 1
    refuse: Callable[[OSError], None] = print


def job(name: str, folder: str = "f") -> Job:
    return cast("Job", _Job(name, folder))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


class Slow:
    """What removes run directories, and takes its time."""

    def __init__(self) -> None:
        self.removed: list[list[str]] = []

    async def remove(self, folder: str, names: Sequence[str]) -> None:
        await asyncio.sleep(0.05)
        self.removed.append([f"{folder}/{name}" for name in names])


async def test_two_who_remove_at_once_both_end_when_all_is_removed() -> None:
    slow = Slow()
    removing = Removing(cast("Station", SimpleNamespace(mirror=slow, name="h")))
    for name in ("1", "2"):
        removing.lane.put(job(name))
    removing.lane.put(job("3", "g"))

    async def one() -> int:
        await removing.all()
        return len(slow.removed)

    async with asyncio.timeout(10):
        assert await asyncio.gather(one(), one()) == [2, 2]
    assert slow.removed == [["f/1", "f/2"], ["g/3"]]


async def test_what_tells_of_an_end_stays_until_that_is_written_down() -> None:
    slow = Slow()
    removing = Removing(cast("Station", SimpleNamespace(mirror=slow, name="h")))
    runs = [Run(status="running"), Run(status="running"), Run(status="running")]
    for name, run in zip("123", runs, strict=True):
        run.attempts = 1
        removing.lane.put(cast("Job", _Job(name, "f", end=ExitStatus(code=1), run=run)))
    runs[1].status = "failure"
    runs[2].attempts = 2  # it is tried again
    await removing.all()
    assert slow.removed == [["f/2", "f/3"]]
    runs[0].status = "success"
    await removing.all()
    assert slow.removed[1:] == [["f/1"]]


async def test_what_is_dropped_while_it_is_waited_for_is_not_taken() -> None:
    lane = Lane(2)
    jobs = [job(str(number)) for number in range(3)]
    taking = asyncio.create_task(lane.take())
    await asyncio.sleep(0)
    lane.put(jobs[0])
    await asyncio.sleep(0)
    assert lane.drop(jobs[0])
    assert not lane.drop(jobs[0])
    await asyncio.sleep(0.05)
    assert not taking.done()
    for one in jobs:
        lane.put(one)
    assert await taking == [jobs[0], jobs[1]]
    assert lane.pick() == [jobs[2]]
    assert lane.pick() == []


class Full:
    """A mirror whose disk here turns out to be full while it is told to stop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def fetch(self, *_: object) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_fetching_stops_though_the_disk_is_full() -> None:
    full = Full()
    refused: list[OSError] = []
    station = SimpleNamespace(
        mirror=full, settings=SimpleNamespace(fetch=None), forget=lambda job: None
    )
    fetching = Fetching(cast("Station", station))
    one = _Job("1", "f", refuse=refused.append)
    fetching.lane.put(cast("Job", one))
    working = asyncio.create_task(fetching.work())
    await full.begun.wait()
    working.cancel()
    await asyncio.wait([working], timeout=10)
    stopped = working.cancelled()
    working.cancel()
    assert stopped
    assert [error.errno for error in refused] == [errno.ENOSPC]


class Odd:
    """A mirror that cannot put the files of one run in place."""

    async def fetch(self, folder: str, wanted: Mapping[str, Path], *_: object) -> Fetched:
        await asyncio.sleep(0)
        if "2" in wanted:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return Fetched()


async def test_what_cannot_be_put_in_place_for_one_run_concerns_that_one_alone() -> None:
    station = SimpleNamespace(
        name="h",
        mirror=Odd(),
        settings=SimpleNamespace(fetch=None, keep=True),
        forget=lambda job: None,
    )
    fetching = Fetching(cast("Station", station))
    jobs = [
        Job(Run(), "h", f"/f/{name}", 1, name, Path(), 1.0, state="ended", end=ExitStatus(code=0))
        for name in "123"
    ]
    for one in jobs:
        fetching.lane.put(one)
    working = asyncio.create_task(fetching.work())
    await asyncio.wait([one.done for one in jobs], timeout=10)
    working.cancel()
    ends = [one.done.result() for one in jobs]
    assert [end and end.cause for end in ends] == [None, "lost", None]
    assert "File name too long" in str(ends[1])


class Host:
    """As a pool sees a host whose inputs are lacking since a time, or there."""

    def __init__(self, pool: Pool, lacking: float | None, free: int = 0) -> None:
        self.starting = SimpleNamespace(lacking=lacking)
        self.slots, self.busy, self.ended_at = 4, 4 - free, 0.0
        self.waiting: list[Job] = []
        self._pool = pool
        pool.stations.append(cast("Station", self))

    @property
    def free(self) -> int:
        return self.slots - self.busy

    def spare(self) -> list[Job]:
        return list(self.waiting)

    def pass_on(self, job: Job) -> None:
        self.waiting.remove(job)
        self.busy -= 1
        self._pool.serve()  # as its slot is free then


async def test_runs_come_back_from_where_inputs_come_last_and_as_many_as_can_begin() -> None:
    pool = Pool(300.0)
    ready, late, later = Host(pool, None, free=3), Host(pool, 10.0), Host(pool, 11.0)
    late.waiting, later.waiting = [job("a"), job("b")], [job("c"), job("d")]
    pool.serve()
    assert not pool.returning  # nobody has ended one: all are to have their part
    ready.ended_at = 10.5
    pool.serve()
    assert [len(late.waiting), len(later.waiting)] == [0, 2]  # `later` has not waited for that
    ready.ended_at = 12.0
    pool.serve()
    pool.serve()
    assert [len(late.waiting), len(later.waiting)] == [0, 1]  # three slots, three on their way
    for one in list(pool.returning):
        pool.returning.discard(one)
        assert await pool.take() is cast("Station", ready)
    # Those whose inputs are lacking have slots too, and are next.
    assert await pool.take() in [cast("Station", late), cast("Station", later)]
    assert len(later.waiting) == 1


async def test_the_inputs_that_come_last_are_waited_for_least() -> None:
    pool = Pool(300.0)
    ready, late, later = Host(pool, None, free=1), Host(pool, 10.0), Host(pool, 11.0)
    late.waiting, later.waiting, ready.ended_at = [job("a")], [job("b")], 12.0
    pool.serve()
    assert [len(late.waiting), len(later.waiting)] == [1, 0]


async def test_no_run_comes_back_while_others_wait_for_a_slot() -> None:
    pool = Pool(300.0)
    ready, late = Host(pool, None), Host(pool, 10.0)
    late.waiting, ready.ended_at = [job("a")], 12.0
    next_one = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    ready.busy -= 1
    pool.serve()
    assert await next_one is cast("Station", ready)
    assert len(late.waiting) == 1


async def test_a_run_that_comes_after_others_were_passed_on_waits_for_inputs_as_they_did() -> None:
    """Sent along with it they could not be broken off, nor could it go elsewhere."""
    begun, started = list[list[Path]](), list[list[Job]]()
    there, warm = asyncio.Event(), asyncio.Event()

    class Mirror:
        def furnished(self, sources: Sequence[Path]) -> bool:
            return there.is_set()

        async def furnish(self, sources: list[Path]) -> None:
            begun.append(sources)
            await there.wait()

    async def ready(_: object) -> None:
        warm.set()

    class Recorded(Starting):
        async def _start(self, jobs: list[Job]) -> None:
            started.append(jobs)

    station = SimpleNamespace(
        settings=SimpleNamespace(shared=False),
        mirror=Mirror(),
        warming=SimpleNamespace(ready=ready),
    )
    starting = Recorded(cast("Station", station))
    working = asyncio.create_task(starting.work())
    first, second = job("first"), job("second")
    starting.lane.put(first)
    await until(lambda: len(begun) == 1)
    starting.lane.drop(first)
    await asyncio.sleep(0)
    starting.lane.put(second)
    await until(lambda: len(begun) == 2)
    assert starting.lacking is not None
    assert not warm.is_set()
    assert not started
    there.set()
    await until(lambda: started == [[second]])
    assert starting.lacking is None
    working.cancel()
    await asyncio.wait([working])
