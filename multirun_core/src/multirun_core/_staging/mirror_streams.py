"""Streams that stand still are given up, and what is under way in a thread is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from itertools import count
from typing import TypeVar

from multirun_core._threads import heard
from multirun_core.errors import TransportTimeoutError

_T = TypeVar("_T")

STALL_SECONDS = 300.0
"""So long a stream may stand still."""
PIECE_BYTES = 1 << 20
"""What is read of a large file at once: each reading is handed from a thread to the event loop."""
_LOOK_SECONDS = 10.0
_READ_SECONDS = 2.0  # whose next block takes longer to read lets others go on


async def pieces(stream: Iterator[bytes], moved: Callable[[], None]) -> AsyncIterator[bytes]:
    """Yield a stream in blocks of a good size; what is made from files is read in a thread.

    The next block is read while one is on its way.
    """

    def block() -> bytes:
        parts: list[bytes] = []
        size = 0
        for piece in stream:
            parts.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                break
        return b"".join(parts)

    def begin() -> asyncio.Future[bytes]:
        reading = asyncio.ensure_future(asyncio.to_thread(block))
        reading.add_done_callback(heard)  # nobody may be left to hear of a failure
        return reading

    ahead = begin()
    while data := await ahead:
        ahead = begin()
        moved()
        yield data


class Turns:
    """Which of several streams goes on: the one that began first, as fast as it is taken.

    So the first machine can begin while others still wait for their inputs. What it does not take,
    since its link is slow, others get.
    """

    def __init__(self) -> None:
        self._ranks = count()
        self._ready: dict[int, asyncio.Event] = {}
        self._given = 0

    async def ordered(
        self, blocks: AsyncIterator[bytes], moved: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """Yield what another stream yields, each block in its turn.

        Args:
            blocks: the stream.
            moved: called from time to time while it waits for others, as long as these go on.
        """
        rank, loop = next(self._ranks), asyncio.get_running_loop()
        try:
            while True:
                await self._turn(rank, moved)  # nothing is read, and held, before that
                patience = loop.call_later(_READ_SECONDS, self._pass_on, rank)
                try:
                    block = await anext(blocks, b"")
                finally:
                    patience.cancel()
                if not block:
                    return
                self._given += 1
                self._pass_on(rank)
                yield block
        finally:
            self._pass_on(rank)

    async def _turn(self, rank: int, moved: Callable[[], None]) -> None:
        called = self._ready[rank] = asyncio.Event()
        given = self._given
        while min(self._ready) != rank:
            called.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await called.wait()
            if self._given != given:
                given = self._given
                moved()

    def _pass_on(self, rank: int) -> None:
        self._ready.pop(rank, None)
        if self._ready:
            self._ready[min(self._ready)].set()


@contextlib.asynccontextmanager
async def stalling() -> AsyncGenerator[Callable[[], None]]:
    """Give up when nothing has moved for long; yields what is to be called when something has."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STALL_SECONDS) as timer:

            def moved() -> None:
                if not timer.expired():  # else it is too late, and the timer would complain
                    timer.reschedule(loop.time() + STALL_SECONDS)

            yield moved
    except TimeoutError:
        raise TransportTimeoutError(f"nothing has moved for {STALL_SECONDS:g} s") from None


async def ended(future: asyncio.Future[_T]) -> None:
    """Wait until something is over, however it ends; a cancellation waits for that."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if not future.cancelled():
        future.exception()
    if cancelled is not None:
        raise cancelled


async def to_the_end(work: Callable[[], None]) -> None:
    """Do something in a thread; a cancellation waits until it is over."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    await ended(future)
    future.result()
