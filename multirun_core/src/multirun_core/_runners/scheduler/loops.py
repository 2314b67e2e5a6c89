"""`Loops`: what goes on for ever beside the runs, and what becomes of them where it breaks down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

_log = logging.getLogger("multirun.runner")


class Loops:
    """Coroutines that go on until they are stopped; where one breaks down, all end."""

    def __init__(
        self, loops: Sequence[Coroutine[Any, Any, None]], give_up: Callable[[str], None]
    ) -> None:
        """Begin.

        Args:
            loops: the coroutines.
            give_up: is told why one has broken down.
        """
        self._give_up = give_up
        self._over = False
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    @property
    def broken(self) -> bool:
        """Whether one of them has broken down."""
        return any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """End them; returns when they have ended."""
        self._over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._over:
            return  # it was told to end, or ends with another
        self._over = True
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("looking after jobs broke down", exc_info=error)
        why = "it was cancelled" if error is None else f"{type(error).__name__}: {error}"
        for other in self._tasks:
            other.cancel()
        self._give_up(f"looking after jobs broke down: {why}")
