"""`Starting`: carries run directories to a host and starts runs, several by each command."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from multirun_core._model.run import ExitStatus
from multirun_core._staging.mirror import MirrorError
from multirun_core._staging.mirror_pack import Parcel
from multirun_core._staging.mirror_streams import ended
from multirun_core._transport.wrapper import ORDER, parse_look
from multirun_core.errors import StagingError

from multirun_ssh.job import Job, NotStartedError, read_told
from multirun_ssh.lane import Lane

if TYPE_CHECKING:
    from multirun_ssh.station import Station

_AT_ONCE = 64
_ABSENT = "absent\n"  # as far.sh says of a directory that is not there


class Starting:
    """Carries run directories there and starts their wrappers.

    Attributes:
        lane: the jobs to start.
        lacking: since when inputs of jobs are not there; None where none are known to be lacking.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self.lane = Lane(_AT_ONCE)
        self.lacking: float | None = None
        self._supplying = asyncio.Lock()

    async def work(self) -> None:
        """Start jobs as they come, until the connection is lost."""
        self.lacking = None
        while True:
            # They can be taken out while these are waited for.
            if not await self._furnish(await self.lane.look()):
                continue
            await self._station.warming.ready(await self.lane.look())
            jobs = await self.lane.take()
            for job in jobs:
                job.state = "sending"
            try:
                await self._start(jobs)
            except MirrorError:
                for job in await self._not_begun(jobs):
                    await self._start_one(job)
            except (StagingError, OSError):
                for job in jobs:  # which of them is it?
                    await self._start_one(job)

    async def _furnish(self, jobs: list[Job]) -> bool:
        """Have the inputs of jobs brought there; False where no job waits here for that any more.

        What goes wrong with them goes wrong once more when a job is sent, and is seen to then.
        """
        station, sources = self._station, [job.source for job in jobs]
        if station.settings.shared or station.mirror.furnished(sources):
            self.lacking = None
            return True
        async with self._supplying:
            self.lacking = time.monotonic()
            furnishing = asyncio.create_task(station.mirror.furnish(sources))
            emptied = asyncio.create_task(self.lane.emptied())
            try:
                await asyncio.wait([furnishing, emptied], return_when=asyncio.FIRST_COMPLETED)
                if furnishing.done():
                    with contextlib.suppress(MirrorError, StagingError, OSError):
                        furnishing.result()
                    self.lacking = None
            finally:
                emptied.cancel()
                furnishing.cancel()
                await ended(furnishing)
            return self.lacking is None

    async def quiet(self) -> None:
        """Wait until no inputs are on their way for which no job waits."""
        async with self._supplying:
            pass

    async def _not_begun(self, jobs: list[Job]) -> list[Job]:
        """Return those that a command has not begun which failed, perhaps half-way."""
        told = await self._station.audit.look(jobs)
        fresh = {job for job, said in told if parse_look(said) == "unclaimed" or said == _ABSENT}
        for job in jobs:
            if job not in fresh:
                self._is_sent(job)
        return [job for job in jobs if job in fresh and job.state == "sending"]

    async def _start_one(self, job: Job) -> None:
        station = self._station
        try:
            await self._start([job])
        except MirrorError as error:
            station.pause(str(error))
            await self._give_back(job, NotStartedError(str(error)))
        except (StagingError, OSError) as error:
            if job.may_come:
                await self._give_back(job, error)
            elif job.state == "sending":
                station.forget(job)
                job.refuse(error)

    async def _give_back(self, job: Job, error: Exception) -> None:
        """Refuse a job, once there is proof that it has not begun here and never will."""
        station = self._station
        prevented = await self._prevent(job)
        if job.state != "sending":
            return  # it was heard of meanwhile
        if not prevented:
            self._is_sent(job)
            return
        station.forget(job)
        if job.shared:
            job.finish(None)  # this attempt is claimed wherever it would go
        else:
            job.refuse(error)
            station.removing.put(job)  # what came of it

    async def _prevent(self, job: Job) -> bool:
        station, words = self._station, (job.dir, str(job.attempt))
        done = await station.far("end", "0", "lost", *words)
        said = next((said for _, said in read_told(done.stdout, [job])), "")
        if said.startswith("failed"):  # where the disk is full, nobody else can claim it either
            said = next((said for _, said in await station.audit.look([job])), "")
        if said == _ABSENT:
            return not job.may_come
        return parse_look(said) in ("prevented", "unclaimed")

    def _is_sent(self, job: Job) -> None:
        """Have it found out what has become of a job that may have begun."""
        if job.state == "sending":
            job.state = "sent"
            self._station.audit.soon()

    async def _start(self, jobs: list[Job]) -> None:
        station = self._station
        mirror, warming = station.mirror, station.warming
        words = ["start", station.folder, warming.pipes or "-"]
        for job in jobs:
            words += [job.name, job.dir, str(job.attempt), warming.slot(job)]
        base = len(mirror.base) + 1
        missing: dict[str, list[str]] = {}
        if station.settings.shared:
            await asyncio.to_thread(_write_orders, jobs)
            done = await station.far(*words)
            if done.code != 0:
                raise MirrorError(f"{station.name}: {done.said}")
        else:
            parcels = [Parcel(j.source, j.dir[base:], {ORDER: j.order or b""}) for j in jobs]
            start = ["sh", f"{station.luggage}/far.sh", *words]
            done, missing = await mirror.send(parcels, start)
        station.accepted()
        warming.heed(done.stdout)
        for job in jobs:
            if job.dir[base:] in missing:
                self._lacks(job, missing[job.dir[base:]])
            elif job.state == "sending":
                job.state = "sent"

    def _lacks(self, job: Job, targets: list[str]) -> None:
        """Fail a run whose links lead nowhere over there; it has not been begun."""
        station = self._station
        station.forget(job)
        station.removing.put(job)
        told = ", ".join(map(repr, targets))
        message = f"an input links to {told}, which does not exist on {station.name}"
        job.finish(ExitStatus(code=None, reason="staging", message=message))


def _write_orders(jobs: list[Job]) -> None:
    for job in jobs:
        path = job.source / ORDER
        path.parent.mkdir(exist_ok=True)
        aside = path.with_name(f"order.{job.token}.part")
        aside.touch(mode=0o600)
        aside.write_bytes(job.order or b"")
        aside.replace(path)
