"""Awaiting what must come to its end, and tasks that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any


class Firm(asyncio.Future[None]):
    """A future that cannot be cancelled, so that many may await it without `asyncio.shield`.

    A task that awaits it and is cancelled learns of that when it is done.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        """Do nothing."""
        return False


async def finish(coroutine: Any) -> None:
    """Await something to its end, whatever cancels the caller meanwhile; then pass that on."""
    task = asyncio.ensure_future(coroutine)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def together(*works: Awaitable[Any]) -> None:
    """Await all; the first error ends the others, and is raised as itself when they have ended.

    One that is cancelled by itself is no error.

    Raises:
        CancelledError: the caller was cancelled, also where one failed at that very moment:
            `asyncio.TaskGroup` would raise that error alone, and its caller would go on.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _end(tasks)
    for task in ended:
        if not task.cancelled():
            task.result()


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while waiting := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not log it
    if cancelled is not None:
        raise cancelled
