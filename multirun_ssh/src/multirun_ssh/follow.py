"""`Following`: hears of the ends of jobs as they come, from a log on the host that only grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from multirun_core._runners.warmth import COLD
from multirun_core._transport.wrapper import Event, parse_line
from multirun_core.errors import TransportError

if TYPE_CHECKING:
    from multirun_core._transport.base import Transport

    from multirun_ssh.station import Station

BEAT_SECONDS = 5.0


class Following:
    """Follows the log of a host, from where it was left when the connection was lost.

    Attributes:
        offset: how many bytes of the log have been taken note of, whole lines only.
    """

    def __init__(self, station: Station, transport: Transport) -> None:
        self._station = station
        self._transport = transport
        self._rest = b""
        self.offset = 0

    async def work(self) -> None:
        """Take note of each line as it comes, until the connection is lost.

        Raises:
            TransportError: that is so, or the log can be followed no more.
        """
        station, self._rest = self._station, b""
        done = await self._transport.run(
            ["sh", f"{station.luggage}/far.sh", "follow", station.folder, str(self.offset + 1)],
            stdin=_beats(),
            stdout=self._hear,
            timeout=None,
        )
        raise TransportError(f"{station.name}: its log cannot be followed any more: {done.said}")

    async def _hear(self, block: bytes) -> None:
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            self.offset += len(line) + 1
            if line.startswith(COLD):
                self._station.warming.told(line.removeprefix(COLD).decode(errors="replace"))
            event = parse_line(line.decode(errors="replace") + "\n")
            if event is not None:
                self._take(event)

    def _take(self, event: Event) -> None:
        station = self._station
        job = station.jobs.get(event.token)
        if event.word == "start":
            if job is not None:
                job.seen.set()
        elif job is not None:
            station.ended(job, event)
        elif (late := station.lost.pop(event.token, None)) is not None:
            station.note_superseded(late)


async def _beats() -> AsyncIterator[bytes]:
    """Yield signs of life of this driver."""
    while True:
        yield b"\n"
        await asyncio.sleep(BEAT_SECONDS)
