"""`Meter`: what accounts tell of runs that have their verdict: memory, which no record says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler.accounting import accounts
from multirun_core._runners.scheduler.verdict import although

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, JobState
    from multirun_core._runners.scheduler.haste import Haste

_log = logging.getLogger("multirun.runner")

_LAG_SECONDS = 2.0  # so long accounts usually take to hear of an end
_PAUSE_SECONDS = 60.0
_PATIENCE_SECONDS = 300.0
_CLOSE_SECONDS = 10.0
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
            run: the run, whose attempt has its verdict.
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
        if not self._jobs or self._haste.asked.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with self._haste.bound(_CLOSE_SECONDS):
                last = max(one.since for one in self._jobs.values())
                await self._unless_hurried(last + _LAG_SECONDS - time.monotonic())
                await self._ask()

    async def _unless_hurried(self, seconds: float) -> None:
        """Wait; the user who asks twice does not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._haste.asked.wait()

    async def _ask(self) -> None:
        """Ask about all that has ended some time ago; where accounts fail, later or never."""
        try:
            now = time.monotonic()
            due = [key for key, one in self._jobs.items() if now - one.since >= _LAG_SECONDS]
            for first in range(0, len(due), _AT_ONCE):
                keys = due[first : first + _AT_ONCE]
                told = await accounts(self._scheduler, self._client, keys)
                for key in keys:
                    self._take(key, told.get(key), now)
                if not told:
                    return
        except Exception:
            _log.exception("accounts of %s cannot be read", self._scheduler.title)

    def _take(self, key: str, state: JobState | None, now: float) -> None:
        asked = self._jobs[key]
        run = asked.run
        due = run.attempts == asked.attempt and now - asked.since < _PATIENCE_SECONDS
        if due and (state is None or not run.done):
            return  # they, or whoever collects its results, are slow
        del self._jobs[key]
        if state is None or not run.done or run.attempts != asked.attempt:
            return
        if state.name not in (None, asked.name):
            return
        facts: dict[str, object] = {}
        if run.max_rss_bytes is None and state.max_rss_bytes is not None:
            facts["max_rss_bytes"] = state.max_rss_bytes
        if run.cpu_seconds is None and state.cpu_seconds is not None:
            facts["cpu_seconds"] = state.cpu_seconds
        if run.status == "success" and run.message is None and state.reason is not None:
            facts["message"] = although(state)
        if facts:
            run.amend(facts)
