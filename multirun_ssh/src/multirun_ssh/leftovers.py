"""Ending what a driver that has died has left on a host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multirun_core.errors import TransportError

from multirun_ssh.job import is_over, read_told

if TYPE_CHECKING:
    from multirun_ssh.job import Job
    from multirun_ssh.station import Station

_AT_ONCE = 64
_PATIENCE = 25.0
_AGAIN = 1.0
_LOOK_SECONDS = 0.2


async def end_there(station: Station, jobs: Sequence[Job]) -> dict[Job, str]:
    """End jobs of an earlier driver on one host; their ends stay there to be found. Bounded.

    Returns:
        Those that may go on, and why.
    """
    await station.tried.wait()
    while not station.health.up:
        if station.health.permanent or station.health.out_for() > station.settings.host_timeout:
            return dict.fromkeys(jobs, f"it cannot be reached: {station.health.why}")
        await asyncio.sleep(_LOOK_SECONDS)
    left = dict.fromkeys(jobs, "it did not answer")
    until = time.monotonic() + max(job.grace for job in jobs) + _PATIENCE
    await _ask(station, left)
    while left and time.monotonic() < until:
        await asyncio.sleep(_AGAIN)
        await _ask(station, left)
    return left


async def _ask(station: Station, left: dict[Job, str]) -> None:
    """Ask once for the end of jobs; those whose end is sure are taken out."""
    asked = list(left)
    for first in range(0, len(asked), _AT_ONCE):
        some = asked[first : first + _AT_ONCE]
        grace = max(job.grace for job in some)
        words = [word for job in some for word in (job.dir, str(job.attempt))]
        try:
            done = await station.far(
                "end", f"{grace:.2f}", "cancelled", *words, timeout=grace + _PATIENCE
            )
        except TransportError as error:
            left.update(dict.fromkeys(some, str(error)))
            continue
        for job, said in read_told(done.stdout, some):
            if is_over(said):
                del left[job]
            else:
                left[job] = " ".join(said.split())
