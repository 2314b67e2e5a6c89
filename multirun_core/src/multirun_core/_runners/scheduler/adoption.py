"""`Adoption`: finds again what an earlier driver has submitted, or meant to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.scheduler.submission import Submission


class Adoption:
    """Finds submissions again, each once."""

    def __init__(self, scheduler: CommandScheduler, client: Client, site: Site) -> None:
        self._scheduler = scheduler
        self._client = client
        self._site = site
        self._found: dict[str, asyncio.Task[Submission | None]] = {}

    async def find(self, token: str, place: tuple[Path, Path]) -> Submission | None:
        """Return a submission; None where it is sure that nothing was submitted.

        Args:
            token: what tells it from others.
            place: its directory where jobs run, and the one here.

        Raises:
            BackendError: the queue system does not answer.
        """
        if token not in self._found:
            self._found[token] = asyncio.create_task(self._find(token, *place))
        return await asyncio.shield(self._found[token])

    async def close(self) -> None:
        """Give up what is being looked for."""
        for task in self._found.values():
            task.cancel()
        if self._found:
            await asyncio.wait(self._found.values())

    async def _find(self, token: str, directory: Path, local: Path) -> Submission | None:
        submission = await self._site.find(token, directory, local)
        if submission is None:
            return None
        left = await self._site.left(submission)
        job = self._scheduler.job_id(left.answer)
        await self._site.see_off(submission, answered=job is not None)
        if job is None:
            left = await self._site.left(submission)
            job = self._scheduler.job_id(left.answer)
        if job is not None:
            submission.ids = [job]
        elif left.begun:  # somebody began to submit it
            submission.ids = await self._client.look_for(submission.name)
        return submission
