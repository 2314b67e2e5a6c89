"""`Ending`: ends runs on a host before their time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from multirun_core._model.run import ExitStatus
from multirun_core._threads import heard
from multirun_core._transport.wrapper import Event, parse_look

from multirun_ssh.job import Job, is_over, read_told
from multirun_ssh.lane import Lane

if TYPE_CHECKING:
    from multirun_ssh.station import Station

_log = logging.getLogger("multirun.ssh")

_AT_ONCE = 64
_COMMANDS = 2  # at once: sessions are few
_END_SECONDS = 30.0
_MOST_REFUSALS = 3  # of a job that nobody else asks about


def _alike(job: Job) -> object:
    return job.ending, job.grace


class Ending:
    """Ends jobs with their whole process trees.

    Attributes:
        lane: the jobs to end.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self.lane = Lane(_AT_ONCE)

    async def work(self) -> None:
        """End jobs, until the connection is lost; one that takes its time holds up no other."""
        ending: set[asyncio.Task[None]] = set()
        taking: asyncio.Task[list[Job]] | None = None
        try:
            while True:
                if taking is None and len(ending) < _COMMANDS:
                    taking = asyncio.create_task(self.lane.take(_alike))
                waited: list[asyncio.Future[Any]] = [*ending, *([taking] if taking else [])]
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                for one in [one for one in ending if one.done()]:
                    ending.discard(one)
                    one.result()
                if taking is not None and taking.done():
                    task = asyncio.create_task(self._end(taking.result()))
                    task.add_done_callback(heard)
                    ending.add(task)
                    taking = None
        finally:
            for one in ending:
                one.cancel()
            if taking is not None and not taking.cancel() and not taking.cancelled():
                self._put_back(taking.result())

    async def _end(self, jobs: list[Job]) -> None:
        try:
            await self._end_all([job for job in jobs if job.state == "sent"])
        except BaseException:
            self._put_back(jobs)
            raise

    def _put_back(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.lane.put(job)

    async def _end_all(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        station, grace = self._station, jobs[0].grace
        words = ["end", f"{grace:.2f}", str(jobs[0].ending)]
        for job in jobs:
            words += [job.dir, str(job.attempt)]
        done = await station.far(*words, timeout=grace + _END_SECONDS + station.settings.grace)
        for job, said in read_told(done.stdout, jobs):
            self._take(job, said)

    def _take(self, job: Job, said: str) -> None:
        station = self._station
        state = parse_look(said)
        if job.state != "sent":
            return
        if isinstance(state, Event):
            station.ended(job, state)
            return
        if not is_over(said):
            self._refused(job, " ".join(said.split()))
            return
        if state == "prevented":
            station.forget(job)
            job.finish(None)
            return
        if state == "gone":  # its processes are known, so there were some
            job.seen.set()
        job.end = ExitStatus(code=None, reason=job.ending, started=job.run.started)
        job.state = "ended"
        station.release(job)
        station.fetching.lane.put(job)

    def _refused(self, job: Job, said: str) -> None:
        """Take note that a job may go on: it has no end, and whoever wants one asks again."""
        station = self._station
        if said != job.refused:
            _log.warning("%s, run %s could not be ended: %s", station.name, job.run.index, said)
        job.refused = said
        job.refusals += 1
        if job.ending == "lost" and job.refusals >= _MOST_REFUSALS:
            station.lose(job, f"has lost it and could not end it: {said}")
