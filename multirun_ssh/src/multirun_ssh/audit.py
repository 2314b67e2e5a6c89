"""`Audit`: looks at jobs of which nothing was heard; what the log does not tell comes out here."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from multirun_core._transport.wrapper import Event, parse_look

from multirun_ssh.job import is_over, read_told

if TYPE_CHECKING:
    from multirun_ssh.job import Job
    from multirun_ssh.station import Station

_log = logging.getLogger("multirun.ssh")

AUDIT_SECONDS = 20.0
FOREIGN_SECONDS = 3.0  # for jobs whose log is not followed
_AT_ONCE = 200
_DOUBTS = 2  # so often in a row, a job that nothing is known of counts as lost


class Audit:
    """Asks the host about its jobs: seldom, and whenever a connection has come about."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._soon = asyncio.Event()

    def soon(self) -> None:
        """Ask without waiting for the next turn."""
        self._soon.set()

    async def work(self) -> None:
        """Ask again and again, until the connection is lost."""
        while True:
            foreign = any(job.folder != self._station.folder for job in self._sent())
            doubtful = any(job.doubts for job in self._sent())
            seconds = FOREIGN_SECONDS if foreign or doubtful else AUDIT_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()  # not before: it may have been asked for before this began
            await self.all()

    def _sent(self) -> list[Job]:
        return [job for job in self._station.jobs.values() if job.state == "sent"]

    async def all(self, *, again: bool = False) -> None:
        """Look at all jobs.

        Args:
            again: whether a connection has just come about, so that starts may have been lost.
        """
        jobs = self._sent()
        if again:
            jobs += [job for job in self._station.jobs.values() if job.state == "sending"]
        for first in range(0, len(jobs), _AT_ONCE):
            for job, said in await self.look(jobs[first : first + _AT_ONCE]):
                if job.state in ("sent", "sending"):
                    self._take(job, parse_look(said) or said.strip())

    async def look(self, jobs: list[Job]) -> list[tuple[Job, str]]:
        """Return what the host says of jobs, as far as it does."""
        words = ["look"]
        for job in jobs:
            words += [job.dir, str(job.attempt)]
        return read_told((await self._station.far(*words)).stdout, jobs)

    def _take(self, job: Job, said: Event | str) -> None:
        station = self._station
        if isinstance(said, Event):
            return station.ended(job, said)
        if said == "alive":
            job.doubts, job.state = 0, "sent"
            job.seen.set()
            return None
        if said == "begins":
            job.doubts, job.state = 0, "sent"
            return None
        if said in ("unclaimed", "absent") and job.state == "sending":
            return self._send_anew(job)
        job.state = "sent"
        job.doubts += 1
        if job.doubts < _DOUBTS:
            return None  # it may be between two steps
        job.doubts = 0
        return self._doubtful(job, said)

    def _send_anew(self, job: Job) -> None:
        job.state, job.may_come = "new", True  # what claims it first carries it out
        self._station.starting.lane.put(job)

    def _doubtful(self, job: Job, said: str) -> None:
        station = self._station
        if said == "unclaimed" and not job.adopted and job.ending is None:
            self._send_anew(job)
        elif said in ("unclaimed", "orphan", "claimed"):
            # Nobody will write its end, or begin it: that is made sure of.
            job.ending = job.ending or "lost"
            station.ending.lane.put(job)
        elif said in ("gone", "absent") and job.adopted and job.ending is None:
            station.forget(job)
            job.finish(None)
        elif said in ("gone", "absent"):
            station.gone(job, "it is gone and left no end, killed or by a restart of the host")
        else:
            _log.warning("%s, run %s: %s", station.name, job.run.index, said)

    async def superseded(self) -> None:
        """End what goes on of jobs that were given to other hosts while this one was away."""
        station = self._station
        jobs = list(station.lost.values())
        alive: list[Job] = []
        for job, said in await self.look(jobs):
            if isinstance(parse_look(said), Event):
                if station.lost.pop(job.token, None) is not None:
                    station.note_superseded(job)
            else:
                alive.append(job)
        words = ["end", f"{station.settings.grace:.2f}", "lost"]
        for job in alive:
            words += [job.dir, str(job.attempt)]
        if alive:
            _log.warning("%s is back: it ends %d runs that others have", station.name, len(alive))
            done = await station.far(*words, timeout=60.0 + station.settings.grace)
            for job, said in read_told(done.stdout, alive):
                if not is_over(said):  # its directory stays, and it is asked again another time
                    why = " ".join(said.split())
                    _log.warning(
                        "%s, run %s could not be ended: %s", station.name, job.run.index, why
                    )
                elif station.lost.pop(job.token, None) is not None:
                    station.superseded += 1
                    station.removing.put(job)
