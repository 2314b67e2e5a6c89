"""`Lane`: jobs that wait for the same thing to be done with them, several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multirun_ssh.job import Job


_LINGER_SECONDS = 0.01


class Lane:
    """A queue whose jobs are taken together: the more there are, the fewer commands each costs."""

    def __init__(self, most: int) -> None:
        """Make an empty one.

        Args:
            most: how many are taken at once.
        """
        self._jobs: dict[Job, None] = {}
        self._most = most
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    def __contains__(self, job: Job) -> bool:
        return job in self._jobs

    def put(self, job: Job) -> None:
        """Add a job unless it waits already."""
        self._jobs[job] = None
        self._filled.set()

    def drop(self, job: Job) -> bool:
        """Take a job out; False where it does not wait here."""
        if job not in self._jobs:
            return False
        del self._jobs[job]
        if not self._jobs:
            self._emptied.set()
        return True

    def waiting(self) -> list[Job]:
        """Return the jobs; they stay here."""
        return list(self._jobs)

    async def emptied(self) -> None:
        """Wait until all jobs have been dropped."""
        while self._jobs:
            self._emptied.clear()
            await self._emptied.wait()

    async def look(self) -> list[Job]:
        """Wait for jobs and return them; they stay here."""
        while not self._jobs:
            self._filled.clear()
            await self._filled.wait()
        return list(self._jobs)

    async def take(self, alike: Callable[[Job], object] = bool) -> list[Job]:
        """Wait for jobs and take them: the first one, and those that are like it."""
        while True:
            await self.look()
            await asyncio.sleep(_LINGER_SECONDS)  # what comes at the same time goes along
            if taken := self.pick(alike):
                return taken

    def pick(self, alike: Callable[[Job], object] = bool) -> list[Job]:
        """Take jobs that are here now: the first one, and those that are like it.

        Args:
            alike: returns what makes jobs alike; None for one that is to wait.
        """
        kinds = {job: kind for job in self._jobs if (kind := alike(job)) is not None}
        first = next(iter(kinds.values()), None)
        taken = [job for job, kind in kinds.items() if kind == first][: self._most]
        for job in taken:
            del self._jobs[job]
        return taken
