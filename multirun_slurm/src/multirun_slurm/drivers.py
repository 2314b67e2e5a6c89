"""`Drivers`: drivers of a sweep that were sent to the cluster as jobs, until they begin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from multirun_core._runners.scheduler import JOBS
from multirun_core._runners.scheduler.client import PAUSE_SECONDS
from multirun_core.errors import BackendError, TransportError

from multirun_slurm.sending import NAME, ONLY

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.client import Client
    from multirun_core.backends import Job, JobState

    from multirun_slurm.scheduler import SlurmScheduler

_SCRIPT, _MARK = "script", "driver"
_PATIENCE_SECONDS = 120.0  # for Slurm to say what is in its queue, and for a job to be gone
_LOOKS = 2  # that find nothing, where nobody has seen that the job was accepted
_LEAST_PAUSE_SECONDS, _PAUSE_SECONDS = 0.2, 2.0


class Sent(NamedTuple):
    """A driver that was sent and may not have begun.

    Attributes:
        mark: the file that says so, in the directory of its submission; it holds the job's id.
        id: that id; empty where nobody has seen it.
        only: the runs that it is to execute; None for all that have not succeeded.
    """

    mark: Path
    id: str
    only: str | None

    @property
    def name(self) -> str:
        """The job's name, by which it is found."""
        return f"{NAME}{self.mark.parent.name}"

    @property
    def title(self) -> str:
        """What to call the job before people."""
        return f"Slurm job {self.id}" if self.id else f"a Slurm job named {self.name}"

    def forget(self) -> None:
        """Note that it has begun, or will not."""
        self.mark.unlink(missing_ok=True)


def sent(root: Path) -> list[Sent]:
    """Return the drivers of a sweep that were sent and may not have begun."""
    found: list[Sent] = []
    for mark in sorted((root / JOBS).glob(f"*/{_MARK}")):
        with suppress(FileNotFoundError):
            chosen = mark.with_name(ONLY)
            only = chosen.read_text() if chosen.exists() else None
            found.append(Sent(mark, mark.read_text().strip(), only))
    return found


class Drivers:
    """Sends drivers, looks for them, and ends them; while the present process holds the sweep.

    So a job that is found has not begun to drive: it waits in the queue, or for this process.
    """

    def __init__(self, root: Path, scheduler: SlurmScheduler, client: Client) -> None:
        self._root = root
        self._scheduler = scheduler
        self._client = client

    def write(self, job: Job, only: str | None) -> None:
        """Write down that a driver is being sent, before it can be in the queue; in a thread."""
        place = Path(job.directory)
        place.mkdir(parents=True)
        (place / _SCRIPT).write_text(self._scheduler.script(job), "utf-8", "surrogateescape")
        if only is not None:
            (place / ONLY).write_text(only)
        (place / _MARK).touch()

    async def send(self, job: Job, env: Mapping[str, str]) -> str:
        """Submit a driver that has been written down; return the job's id.

        Raises:
            BackendError: the job was not accepted.
            TransportError: nobody knows whether it was.
        """
        script, mark = (Path(job.directory) / name for name in (_SCRIPT, _MARK))
        done = await self._client.call("submit", self._scheduler.submit(job, str(script)), env)
        printed = done.stdout.decode(errors="replace")
        found = None if done.code else self._scheduler.job_id(printed)
        if found is None:
            said = self._scheduler.refusal(done.code, printed, done.stderr.decode(errors="replace"))
            if not said.unknown:
                mark.unlink()
            raise BackendError(f"the driver was not accepted as a job: {said.message}")
        mark.write_text(f"{found}\n")
        return found

    async def waiting(self, only: str | None) -> str | None:
        """Return what the driver is called that waits in the queue; None where there is none.

        One that has started already may have been refused, since this process holds the sweep: it
        is ended, and so is one that was to execute other runs than are wanted now.

        Raises:
            BackendError: Slurm does not say, or the job does not end.
        """
        for one in sent(self._root):
            found = await self._look(one)
            waits = any(state.phase == "waiting" for state in found.values())
            if waits and one.only == only:
                return one.title
            await self._end(one, found)
        return None

    async def end(self) -> None:
        """End drivers that have not begun; return when the queue has none.

        Raises:
            BackendError: Slurm does not say, or a job does not end.
        """
        for one in sent(self._root):
            await self._end(one, await self._look(one))

    async def _end(self, one: Sent, found: Mapping[str, JobState]) -> None:
        deadline, pause = time.monotonic() + _PATIENCE_SECONDS, _LEAST_PAUSE_SECONDS
        while found:
            with suppress(TransportError):
                await self._client.call("cancel", self._scheduler.cancel(list(found)))
            await asyncio.sleep(pause)
            pause = min(_PAUSE_SECONDS, pause * 2)
            found = await self._look(one)
            if found and time.monotonic() > deadline:
                raise BackendError(f"Slurm still has {one.title}, which was to drive the sweep")
        one.forget()

    async def _look(self, one: Sent) -> Mapping[str, JobState]:
        """Return what of a driver has not ended; nothing only when that is sure."""
        deadline, misses = time.monotonic() + _PATIENCE_SECONDS, 0
        while True:
            found = await self._client.seek(one.name)
            if found is not None:
                states = {id_: found.states[id_] for id_ in found.ids if id_ in found.states}
                live = {id_: state for id_, state in states.items() if state.phase != "ended"}
                misses += 1
                if live or one.id or misses == _LOOKS:
                    return live
            if time.monotonic() > deadline:
                raise BackendError(
                    f"Slurm does not say whether it has {one.title}, which is to drive the sweep; "
                    "try again later"
                )
            await asyncio.sleep(PAUSE_SECONDS)
