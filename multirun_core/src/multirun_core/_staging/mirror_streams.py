"""Streams that stand still are given up, and what is under way in a thread is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import TypeVar

from multirun_core._threads import heard
from multirun_core._transport.base import BLOCK_BYTES
from multirun_core.errors import TransportTimeoutError

_T = TypeVar("_T")

STALL_SECONDS = 300.0
"""So long a stream may stand still."""


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
            if size >= BLOCK_BYTES:
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
