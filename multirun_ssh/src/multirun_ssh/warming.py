"""`Warming`: the warm interpreter of a host, which runs are forked from."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from multirun_core._transport.wrapper import Order

    from multirun_ssh.job import Job
    from multirun_ssh.station import Station

_log = logging.getLogger("multirun.ssh")

LEASE_SECONDS = 45  # how long a driver may be silent until it ends, unless runs need it
_MOST_TRIES = 3
_BOUND = 660.0  # the far side waits for ten minutes
_PAUSE = 0.2


class Warming:
    """Starts the interpreter before the first run that fits, and says which runs may ask it.

    Attributes:
        pipes: the directory over there in which it is asked; empty while there is none.
    """

    def __init__(self, station: Station) -> None:
        self.pipes = ""
        self._station = station
        warmth = station.settings.warmth
        self._chosen = None if warmth is None else warmth.choose()
        self._tries = 0
        self._said: set[str] = set()

    def take(self, order: Order, directory: Path) -> Order:
        """Return the order of a run so that it is forked where it can be, or the order itself.

        Args:
            order: the order.
            directory: the directory of the run, here.
        """
        return order if self._chosen is None else self._chosen.take(order, directory)

    def slot(self, job: Job) -> str:
        """Return the slot of a job, as `far.sh start` takes it: it is for that job alone."""
        return job.token if job.warm and self.pipes else "-"

    async def ready(self, jobs: Sequence[Job]) -> None:
        """Wait until there is an interpreter, or none is to be had, if jobs need one; bounded.

        Raises:
            TransportError: the connection was lost.
        """
        if self.pipes or self._tries >= _MOST_TRIES or not any(job.warm for job in jobs):
            return
        assert self._chosen is not None  # noqa: S101 - it has let the jobs be warm
        self._tries += 1
        station = self._station
        elsewhere = not station.settings.shared
        text = await asyncio.to_thread(self._chosen.command, elsewhere=elsewhere)
        words = ["sh", f"{station.luggage}/far.sh", "warm", station.folder]
        words += [str(LEASE_SECONDS), str(len(text))]
        done = await station.run(words, stdin=text)
        told = done.stdout.decode(errors="surrogateescape").removesuffix("\n")
        pipes, _, state = told.rpartition("\n")
        until = time.monotonic() + _BOUND
        while state == "waits" and time.monotonic() < until:
            await asyncio.sleep(_PAUSE)
            state = (await station.far("warmed", pipes)).stdout.decode(errors="replace").strip()
        if state == "warm":
            self.pipes = pipes
            return
        self._tries = _MOST_TRIES
        if done.code != 0 or state == "waits":
            self.told(done.said if done.code else "it is not ready in time")

    def heed(self, said: bytes) -> None:
        """Take note of what `far.sh start` has said: that the interpreter has ended."""
        if self.pipes and b"cold" in said.splitlines():
            self.pipes = ""
            if self._tries >= _MOST_TRIES:
                self.told("it has ended several times")

    def told(self, why: str) -> None:
        """Say why there is no warm Python, once."""
        if why not in self._said:
            self._said.add(why)
            _log.warning(
                "%s: no warm Python, so that runs start as usual: %s", self._station.name, why
            )
