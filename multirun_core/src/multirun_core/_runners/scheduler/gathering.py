"""`Gathering`: what is asked at nearly the same time is answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

_Q = TypeVar("_Q")
_A = TypeVar("_A")

_GATHER_SECONDS = 0.05


class Gathering(Generic[_Q, _A]):
    """Collects questions for a moment, and asks them at once."""

    def __init__(
        self, answer: Callable[[Sequence[_Q]], Awaitable[Sequence[_A]]], *, most: int
    ) -> None:
        """Prepare.

        Args:
            answer: answers questions, in order.
            most: how many at once.
        """
        self._answer = answer
        self._most = most
        self._waiting: list[tuple[_Q, asyncio.Future[_A]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, question: _Q) -> _A:
        """Return the answer to a question; what goes wrong for all of them is raised."""
        future: asyncio.Future[_A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._serve())
        return await future

    async def close(self) -> None:
        """Give up what is being asked, and what was to be asked after it."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    async def _serve(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        while self._waiting:
            some = [one for one in self._waiting[: self._most] if not one[1].done()]
            del self._waiting[: self._most]
            if not some:
                continue
            try:
                answers = await self._answer([question for question, _ in some])
            except asyncio.CancelledError:
                for _, future in some:
                    future.cancel()
                raise
            except Exception as error:
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(some, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
