"""How a job is seen through on its host, or ended there."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from multirun_core._waiting import finish
from multirun_core.errors import StagingError

from multirun_ssh.job import Job, NotStartedError
from multirun_ssh.station import HURRIED_SECONDS, Station

if TYPE_CHECKING:
    from multirun_core import ExitStatus, Run, TaskRunner

_log = logging.getLogger("multirun.ssh")

_PATIENCE = 25.0  # seconds on top of the grace, for ending a run and fetching what it left
_AGAIN = 2.0


def note_begun(runner: TaskRunner, run: Run) -> None:
    """Note that an attempt has begun, once."""
    if run.status == "pending":
        runner.begin(run)


async def see_through(runner: TaskRunner, station: Station, job: Job) -> ExitStatus | None:
    """Carry a job out; cancelled, end it, or let go of it where the driver must.

    The run begins when there is proof that the job has.
    """
    carrying = asyncio.ensure_future(station.carry_out(job))
    seeing = asyncio.ensure_future(job.seen.wait())
    try:
        await asyncio.wait([carrying, seeing], return_when=asyncio.FIRST_COMPLETED)
        if job.seen.is_set():
            note_begun(runner, job.run)
        return await carrying
    except asyncio.CancelledError:
        if runner.letting_go:
            station.forget(job)
        else:
            try:
                await finish(end_job(runner, station, job))
            finally:  # it may be cancelled once more
                if job.seen.is_set():
                    note_begun(runner, job.run)
        raise
    finally:
        seeing.cancel()
        carrying.cancel()


async def end_job(runner: TaskRunner, station: Station, job: Job) -> None:
    """End a job, and bring its files back; bounded."""
    if not job.may_come and station.starting.lane.drop(job):
        station.forget(job)
        return
    job.ending = "cancelled"
    begun = time.monotonic()
    while not job.done.done() and time.monotonic() < _give_up_at(station, job, begun):
        if job.state == "sent":
            station.ending.lane.put(job)
        await asyncio.wait([job.done], timeout=_AGAIN)
    if _is_over(station, job):
        return
    station.forget(job)
    runner.not_ended.add(job.run)
    _log.warning(
        "run %s could not be ended on %s and may go on there: %s. multirun cancel DIR tries it "
        "again",
        job.run.index,
        station.name,
        job.refused or station.health.why or "it did not answer in time",
    )


def _give_up_at(station: Station, job: Job, begun: float) -> float:
    """Return until when it is tried to end a job, given since when that is."""
    if station.hurried is not None:
        return max(begun, station.hurried) + HURRIED_SECONDS
    return begun + job.grace + _PATIENCE


def _is_over(station: Station, job: Job) -> bool:
    """Whether a job goes on no more, for sure; that its host was given up, or all, is no proof."""
    if not job.done.done():
        return False
    error = job.done.exception()
    if error is not None:
        return isinstance(error, (NotStartedError, StagingError))
    return job.token not in station.lost
