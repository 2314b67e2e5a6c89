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
