"""`Slots`: a semaphore in whose queue one keeps one's place while one does something else."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal


class Place:
    """A place in the queue.

    Attributes:
        turn: is done when the slot is taken; who waits for it may be cancelled.
        taken: whether the slot is taken, whatever became of `turn`.
    """

    __slots__ = ("taken", "turn")

    def __init__(self, turn: asyncio.Future[None]) -> None:
        """Stand in the queue."""
        self.turn = turn
        self.taken = False

    def take(self) -> None:
        """Take the slot."""
        self.taken = True
        if not self.turn.done():
            self.turn.set_result(None)


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
        self._queue: deque[Place] = deque()

    def locked(self) -> bool:
        """Whether one would have to wait."""
        return not self._value

    def enter(self) -> Place:
        """Take a place in the queue; it is kept until `leave`, whoever waits for its turn."""
        loop = asyncio.get_running_loop()
        if loop is not (self._owner or loop):
            raise RuntimeError(f"{self!r} is bound to a different event loop")
        self._owner = loop
        place = Place(loop.create_future())
        if self._value:
            self._value -= 1
            place.take()
        else:
            self._queue.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give up a place, or the slot that has come of it."""
        if place.taken:
            self.release()
        else:
            self._queue.remove(place)

    async def acquire(self) -> Literal[True]:
        """Wait for a slot; cancelled, none is taken."""
        if self._value:
            self._value -= 1
            return True
        place = self.enter()
        self.outsiders += 1
        try:
            await place.turn
        except asyncio.CancelledError:
            self.leave(place)
            raise
        finally:
            self.outsiders -= 1
        return True

    def release(self) -> None:
        """Give a slot back; who has waited longest gets it."""
        if self._queue:
            self._queue.popleft().take()
        else:
            self._value += 1
