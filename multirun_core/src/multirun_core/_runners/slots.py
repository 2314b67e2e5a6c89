"""`Slots`: a semaphore in whose queue one keeps one's place while one does something else."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal


class Slots(asyncio.Semaphore):
    """Semaphore that is strictly first come, first served.

    Attributes:
        outsiders: how many wait in `acquire`, and not with a place of their own.
    """

    def __init__(self, value: int) -> None:
        """Begin with so many free slots."""
        super().__init__(value)
        self.outsiders = 0
        self._owner: asyncio.AbstractEventLoop | None = None
        self._queue: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        """Whether one would have to wait."""
        return not self._value

    def enter(self) -> asyncio.Future[None]:
        """Take a place in the queue; the slot is taken when that is done. See `leave`."""
        loop = asyncio.get_running_loop()
        if loop is not (self._owner or loop):
            raise RuntimeError(f"{self!r} is bound to a different event loop")
        self._owner = loop
        place = loop.create_future()
        if self._value:
            self._value -= 1
            place.set_result(None)
        else:
            self._queue.append(place)
        return place

    def leave(self, place: asyncio.Future[None]) -> None:
        """Give up a place, or the slot that has come of it."""
        if place in self._queue:
            self._queue.remove(place)
        else:
            self.release()

    async def acquire(self) -> Literal[True]:
        """Wait for a slot; cancelled, none is taken."""
        if self._value:
            self._value -= 1
            return True
        place = self.enter()
        self.outsiders += 1
        try:
            await asyncio.shield(place)
        except asyncio.CancelledError:
            self.leave(place)
            raise
        finally:
            self.outsiders -= 1
        return True

    def release(self) -> None:
        """Give a slot back; who has waited longest gets it."""
        if self._queue:
            self._queue.popleft().set_result(None)
        else:
            self._value += 1
