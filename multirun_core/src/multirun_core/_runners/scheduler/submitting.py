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

    from multirun_core._runners.scheduler.adoption import Adoption
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, Refusal
    from multirun_core._runners.scheduler.desk import Desk
    from multirun_core._runners.scheduler.haste import Haste
    from multirun_core._runners.scheduler.submission import Submission, Work

_log = logging.getLogger("multirun.runner")

_SETTLE_SECONDS = 60.0  # for what became of a submit command that was broken off


class Submitter:
    """Submits, and gives what was accepted to the desk.

    Attributes:
        taken: when a submission was last accepted, by the monotonic clock.
        unsure: what may be in the queue without anybody knowing; None where nothing may.
    """

    def __init__(self, scheduler: CommandScheduler, client: Client, desk: Desk) -> None:
        self.taken = -math.inf
        self.unsure: Submission | None = None
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
            self.unsure = submission
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
            self.unsure = None
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

    def drop_useless(self, submission: Submission, works: Sequence[Work]) -> None:
        """Have tasks ended all of whose runs were cancelled while they were being submitted."""
        tasks = {submission.task_of(work) for work in works}
        live = {submission.task_of(work) for work in works if not _given_up(work)}
        if not live:
            self._desk.abandon(submission.ids)
            return
        useless = sorted(tasks - live)
        ids = submission.ids
        self._desk.abandon([self._desk.key(submission, n, job) for job in ids for n in useless])

    async def settle(self, works: Sequence[Work], adoption: Adoption, haste: Haste) -> None:
        """Have tasks ended that nobody needs, of a submission that was broken off; bounded.

        Args:
            works: the runs of the submission.
            adoption: sees to it that nobody submits it any more, and looks for it.
            haste: whether the user has asked twice.
        """
        submission = works[0].submission
        if submission is None or not any(map(_given_up, works)):
            return
        place = submission.directory, submission.local
        try:
            async with haste.bound(_SETTLE_SECONDS):
                found = await adoption.find(submission.token, place)
        except (BackendError, OSError, TimeoutError) as error:
            _log.warning(
                "%s may have jobs named %s, which nobody needs; look after them yourself: %s",
                self._scheduler.title,
                submission.name,
                str(error) or "it does not tell",
            )
            return
        submission.ids = [] if found is None else found.ids
        self.drop_useless(submission, works)

    def _accepted(self, submission: Submission, ids: list[str]) -> None:
        self.taken = time.monotonic()
        self.unsure = None
        submission.ids = ids
        if submission.works:
            self._desk.watch(submission)


def _given_up(work: Work) -> bool:
    return work.cancelling and work.is_over
