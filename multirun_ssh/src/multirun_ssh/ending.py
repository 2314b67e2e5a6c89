"""`Ending`: ends runs on a host before their time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from multirun_core._model.run import ExitStatus
from multirun_core._transport.wrapper import Event, parse_look

from multirun_ssh.job import Job, is_over, read_told
from multirun_ssh.lane import Lane

if TYPE_CHECKING:
    from multirun_ssh.station import Station

_log = logging.getLogger("multirun.ssh")

_AT_ONCE = 64
_END_SECONDS = 30.0
_MOST_REFUSALS = 3  # of a job that nobody else asks about


class Ending:
    """Ends jobs with their whole process trees.

    Attributes:
        lane: the jobs to end.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self.lane = Lane(_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """End jobs, until the connection is lost; one that takes its time holds up no other."""
        try:
            while True:
                jobs = await self.lane.take(lambda job: (job.ending, job.grace))
                task = asyncio.create_task(self._end(jobs))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                if len(self._under_way) > 1:  # sessions are few
                    done, _ = await asyncio.wait(
                        self._under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                    for one in done:
                        one.result()
        finally:
            for task in self._under_way:
                task.cancel()

    async def _end(self, jobs: list[Job]) -> None:
        try:
            await self._end_all([job for job in jobs if job.state == "sent"])
        except Exception:
            for job in jobs:
                self.lane.put(job)
            self._station.audit.soon()  # it meets the same trouble, if it is of the connection
            raise

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
