"""`Submitter`: calls the submit command until it is known what became of it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler.client import (
    MOST_PAUSE_SECONDS,
    PATIENCE_SECONDS,
    PAUSE_SECONDS,
)
from multirun_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, Refusal
    from multirun_core._runners.scheduler.desk import Desk
    from multirun_core._runners.scheduler.submission import Submission

_log = logging.getLogger("multirun.runner")


class Submitter:
    """Submits, and gives what was accepted to the desk.

    Attributes:
        taken: when a submission was last accepted, by the monotonic clock.
    """

    def __init__(self, scheduler: CommandScheduler, client: Client, desk: Desk) -> None:
        self.taken = -math.inf
        self._scheduler = scheduler
        self._client = client
        self._desk = desk

    async def submit(
        self, submission: Submission, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Refusal | None:
        """Submit until it is accepted, or surely not to be; None where it was.

        Args:
            submission: what has been written down.
            argv: the submit command.
            env: further variables for it.

        Raises:
            BackendError: no job has been taken for an hour.
        """
        began, pause = time.monotonic(), PAUSE_SECONDS
        while True:
            code, printed, complained = await self._client.submit(submission, argv, env)
            job = self._scheduler.job_id(printed) if code == 0 else None
            if job is not None:
                self._accepted(submission, [job])
                return None
            refused = self._scheduler.refusal(code, printed, complained)
            if refused.unknown or code < 0:
                found = await self._client.look_for(submission.name)
                if found:
                    self._accepted(submission, found)
                    return None
            if refused.crowded or not (refused.transient or refused.unknown or code < 0):
                return refused
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise BackendError(
                    f"{self._scheduler.title} has taken no job for "
                    f"{PATIENCE_SECONDS / 60:.0f} minutes: {refused.message}"
                )
            _log.warning(
                "%s takes no jobs at the moment: %s", self._scheduler.title, refused.message
            )
            await asyncio.sleep(pause)
            pause = min(MOST_PAUSE_SECONDS, pause * 2)

    def _accepted(self, submission: Submission, ids: list[str]) -> None:
        self.taken = time.monotonic()
        submission.ids = ids
        if submission.works:
            self._desk.watch(submission)
