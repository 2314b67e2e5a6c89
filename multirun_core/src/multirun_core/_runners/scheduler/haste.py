"""`Haste`: how long is waited while runs are ended; less once the user has asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_HURRIED_SECONDS = 6.0  # a sweep is left behind some time after its user has asked twice
_LEAST_SECONDS = 2.0  # for each step all the same


class Haste:
    """Whether the user has asked twice.

    Attributes:
        asked: set once they have.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._until = 0.0

    def hurry(self) -> None:
        """Take note that they have; in the event loop."""
        if not self.asked.is_set():
            self._until = asyncio.get_running_loop().time() + _HURRIED_SECONDS
            self.asked.set()

    @asynccontextmanager
    async def bound(self, seconds: float) -> AsyncGenerator[None, None]:
        """Give what is done in here so many seconds, and few once the user has asked twice.

        Raises:
            TimeoutError: they are over.
        """
        async with asyncio.timeout(seconds) as limit:
            shortening = asyncio.ensure_future(self._shorten(limit))
            try:
                yield
            finally:
                shortening.cancel()

    async def _shorten(self, limit: asyncio.Timeout) -> None:
        await self.asked.wait()
        soon = max(self._until, asyncio.get_running_loop().time() + _LEAST_SECONDS)
        if not limit.expired():
            limit.reschedule(min(soon, limit.when() or soon))
