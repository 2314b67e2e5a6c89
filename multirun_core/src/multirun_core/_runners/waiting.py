"""Awaiting what must come to its end, whatever cancels the caller meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any


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
