"""`Client`: calls the commands of a queue system, with a time limit and a count."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from multirun_core.errors import BackendError, TransportError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.command import CommandScheduler, JobState
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.scheduler.submission import Submission
    from multirun_core._transport.base import Completed

_log = logging.getLogger("multirun.runner")

PAUSE_SECONDS, MOST_PAUSE_SECONDS = 2.0, 60.0
"""Between two tries with a queue system that does not answer: at first, and at most."""

PATIENCE_SECONDS = 3600.0
"""How long a queue system may be away while something must be known from it."""

_LOOKS = 2  # that find nothing, before that is believed


class Found(NamedTuple):
    """What looking for jobs by their name has found.

    Attributes:
        ids: of each job or array.
        states: of jobs and tasks, as far as that was printed, too.
    """

    ids: list[str]
    states: Mapping[str, JobState]


class Client:
    """Calls a queue system's commands.

    Attributes:
        calls: how often which kind of command was called.
    """

    def __init__(self, scheduler: CommandScheduler, site: Site) -> None:
        self.calls: Counter[str] = Counter()
        self._scheduler = scheduler
        self._site = site

    async def call(
        self, kind: str, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Completed:
        """Call a command, with further variables.

        Raises:
            TransportError: it could not be called, or did not end in time.
        """
        self.calls[kind] += 1
        return await self._site.transport.run(
            argv, env={**self._site.variables, **(env or {})}, timeout=self._site.call_seconds
        )

    async def submit(
        self, submission: Submission, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Call a submit command, with further variables; see `Site.submit`."""
        self.calls["submit"] += 1
        site, variables = self._site, {**self._site.variables, **(env or {})}
        return await site.submit(submission, argv, variables, site.call_seconds)

    async def find(self, name: str) -> list[str] | None:
        """Return the ids of jobs of a name; None where nobody could tell."""
        found = await self.seek(name)
        return None if found is None else found.ids

    async def seek(self, name: str) -> Found | None:
        """Look for jobs of a name; None where nobody could tell."""
        try:
            done = await self.call("find", self._scheduler.find(name))
            if done.code:
                return None
            printed = done.stdout.decode(errors="replace")
            ids = list(self._scheduler.found(printed, name))
        except (TransportError, ValueError):  # not reached, or what it printed was cut off
            return None
        try:
            return Found(ids, self._scheduler.states(printed))
        except Exception:  # it need not print what the status command does
            return Found(ids, {})

    async def look_for(self, name: str) -> list[str]:
        """Look for jobs that may have been submitted; none only when that is sure.

        Raises:
            BackendError: nobody could tell, for an hour.
        """
        pause, misses, began = PAUSE_SECONDS, 0, time.monotonic()
        while misses < _LOOKS:
            found = await self.find(name)
            if found:
                return found
            misses += found is not None
            if found is None:
                _log.warning("%s does not say whether it has job %s", self._scheduler.title, name)
                pause = min(MOST_PAUSE_SECONDS, pause * 2)
                if time.monotonic() - began > PATIENCE_SECONDS:
                    raise BackendError(
                        f"{self._scheduler.title} has not answered for "
                        f"{PATIENCE_SECONDS / 60:.0f} minutes; resume the sweep later"
                    )
            if misses < _LOOKS:
                await asyncio.sleep(pause)
        return []
