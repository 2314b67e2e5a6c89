"""`Meter`: how much memory runs took that left a record, which does not say so, by accounts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler.accounting import accounts

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler
    from multirun_core._runners.scheduler.haste import Haste

_LAG_SECONDS = 2.0  # so long accounts usually take to hear of an end
_PAUSE_SECONDS = 60.0
_PATIENCE_SECONDS = 300.0
_CLOSE_SECONDS = 15.0
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Asked:
    run: Run
    attempt: int
    name: str
    since: float


class Meter:
    """Asks accounts about jobs whose run has its verdict, many at once and now and then.

    A verdict never waits for it, and where accounts say nothing, nothing is known.
    """

    def __init__(self, scheduler: CommandScheduler, client: Client, haste: Haste) -> None:
        """Prepare.

        Args:
            scheduler: the queue system.
            client: calls it.
            haste: whether the user has asked twice.
        """
        self._scheduler = scheduler
        self._client = client
        self._haste = haste
        self._jobs: dict[str, _Asked] = {}

    def note(self, run: Run, key: str, name: str) -> None:
        """Have a run measured that had a job to itself.

        Args:
            run: the run, whose attempt has ended.
            key: the id of the job, or of the task of an array.
            name: the name of the job, since ids may be given again.
        """
        if self._scheduler.account([key]) is not None:
            self._jobs[key] = _Asked(run, run.attempts, name, time.monotonic())

    async def serve(self) -> None:
        """Ask about what has ended, for ever; nothing is asked where nothing has."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._ask()

    async def complete(self) -> None:
        """Ask about the rest, once accounts may know of the last; bounded."""
        with contextlib.suppress(TimeoutError):
            async with self._haste.bound(_CLOSE_SECONDS):
                last = max((one.since for one in self._jobs.values()), default=0.0)
                await asyncio.sleep(last + _LAG_SECONDS - time.monotonic())
                await self._ask()

    async def _ask(self) -> None:
        now = time.monotonic()
        due = [key for key, one in self._jobs.items() if now - one.since >= _LAG_SECONDS]
        for first in range(0, len(due), _AT_ONCE):
            keys = due[first : first + _AT_ONCE]
            told = await accounts(self._scheduler, self._client, keys)
            for key in keys:
                asked, state = self._jobs[key], told.get(key)
                if state is None and now - asked.since < _PATIENCE_SECONDS:
                    continue
                del self._jobs[key]
                ours = state is not None and state.name in (None, asked.name)
                if state is None or not ours or state.max_rss_bytes is None:
                    continue
                if asked.run.done and asked.run.attempts == asked.attempt:
                    asked.run.measure(state.max_rss_bytes)
