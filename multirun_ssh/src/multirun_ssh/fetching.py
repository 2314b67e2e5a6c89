"""`Fetching` and `Removing`: what becomes of run directories on a host when runs have ended."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from multirun_core._model.run import STDERR
from multirun_core._runners.attempts import stops_all
from multirun_core._staging.mirror import Fetched, MirrorError

from multirun_ssh.job import Job
from multirun_ssh.lane import Lane

if TYPE_CHECKING:
    from pathlib import Path

    from multirun_ssh.station import Station

_log = logging.getLogger("multirun.ssh")

_AT_ONCE = 64
_REMOVE_SECONDS = 2.0
_TAIL_BYTES = 4096


class Fetching:
    """Brings back the files of jobs that have ended, and says how they ended.

    Attributes:
        lane: the jobs that have ended.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self.lane = Lane(_AT_ONCE)

    async def work(self) -> None:
        """Fetch files as jobs end, until the connection is lost."""
        while True:
            jobs = await self.lane.take(lambda job: (job.folder, job.shared))
            try:
                await self._fetch(jobs)
            except OSError as error:  # of this machine: nothing of it is settled
                for job in jobs:
                    self._station.forget(job)
                    job.refuse(error)
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # it hit the error while it stopped
                    raise asyncio.CancelledError from error
            except BaseException:
                for job in jobs:
                    if job.state in ("ended", "settling"):
                        job.state = "ended"
                        self.lane.put(job)
                raise

    async def _fetch(self, jobs: list[Job]) -> None:
        station = self._station
        if jobs[0].shared:
            for job in jobs:
                self._conclude(job, None, None)
            return
        mirror = station.mirror
        by_name = {job.name: job for job in jobs}

        def still_wanted(name: str) -> bool:
            job = by_name[name]
            if job.state != "ended":
                return False
            job.state = "settling"  # from here on it can no more be given to another host
            return True

        try:
            fetched = await mirror.fetch(
                jobs[0].folder,
                {job.name: job.source for job in jobs},
                station.settings.fetch,
                still_wanted,
            )
        except OSError as error:
            if stops_all(error):
                raise
            if len(jobs) > 1:
                await self._fetch_singly(jobs)
                return
            fetched = Fetched(failed={jobs[0].name: str(error)})
        for job in jobs:
            self._conclude(job, fetched.failed.get(job.name), fetched.notes.get(job.name))

    async def _fetch_singly(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.state == "settling":
                job.state = "ended"
        for job in jobs:
            if job.state == "ended":
                await self._fetch([job])

    def _conclude(self, job: Job, failed: str | None, notes: list[str] | None) -> None:
        station = self._station
        if job.state == "done":
            return  # it was lost meanwhile
        station.forget(job)
        if not station.settings.keep and failed is None:
            station.removing.put(job)
        for note in notes or ():
            _log.warning("%s, run %s: %s", station.name, job.run.index, note)
        assert job.end is not None  # noqa: S101 - it has ended
        end = replace(job.end, host=station.name)
        if end.reason == "submit" and end.message is None:
            end = replace(end, message=_last_line(job.source / STDERR))
        if failed is not None:
            message = f"its files could not be fetched from {station.name}: {failed}"
            end = replace(end, reason=end.reason or "lost", message=message)
        job.finish(end)


def _last_line(path: Path) -> str | None:
    try:
        lines = path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").split("\n")
    except OSError:
        return None
    return next((line.strip() for line in reversed(lines) if line.strip()), None)


def _is_recorded(job: Job) -> bool:
    """Whether its end, if it has one, has been written down."""
    return job.end is None or job.run.done or job.run.attempts > job.attempt


class Removing:
    """Removes run directories that are needed no more.

    What tells how a run ended stays until that is on disk here: a driver that dies before leaves it
    to the next one.

    Attributes:
        lane: their jobs.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self.lane = Lane(8 * _AT_ONCE)
        self._busy = asyncio.Lock()

    def put(self, job: Job) -> None:
        """Have what came of a job removed there; where all share its directory, it is the run's."""
        if not job.shared:
            self.lane.put(job)

    async def work(self) -> None:
        """Remove them now and then, until the connection is lost."""
        while True:
            await asyncio.sleep(_REMOVE_SECONDS)
            await self.all()

    async def all(self) -> None:
        """Remove all that are ready; what somebody else removes just now is waited for."""
        mirror = self._station.mirror
        async with self._busy:
            while jobs := self.lane.pick(lambda job: job.folder if _is_recorded(job) else None):
                try:
                    await mirror.remove(jobs[0].folder, [job.name for job in jobs])
                except MirrorError as error:
                    _log.warning("%s: %s could not be removed: %s", self._station.name,
                                 jobs[0].folder, error)  # fmt: skip
                except BaseException:
                    for job in jobs:
                        self.lane.put(job)
                    raise
