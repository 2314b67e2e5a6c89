"""`Drivers`: drivers of a sweep that were sent to the cluster as jobs, until they begin."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from multirun_core._runners.scheduler import JOBS
from multirun_core._runners.scheduler.client import PAUSE_SECONDS
from multirun_core.backends import JobState
from multirun_core.errors import BackendError, TransportError

from multirun_slurm.parse import submitted_id
from multirun_slurm.scheduler import SlurmScheduler
from multirun_slurm.sending import ONLY, submission_of

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.adoption import Adoption
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.submission import Submission
    from multirun_core._runners.scheduler.submitting import Submitter
    from multirun_core.backends import Job

_MARK, _ASKED = "driver", "asked"
_PATIENCE_SECONDS = 120.0  # for Slurm to say what is in its queue, and for a job to be gone
_LOOKS = 2  # that find nothing, before that is believed
_LEAST_PAUSE_SECONDS, _PAUSE_SECONDS = 0.2, 2.0
_STRANGE = JobState(phase="running", word="")  # of one that is listed, in a state that is not known


class Sent(NamedTuple):
    """A driver that was sent and may not have begun.

    Attributes:
        mark: the file that says so, in the directory of its submission.
        id: the job's id; empty where sbatch has not said it.
        only: the runs that it is to execute; None for all that have not succeeded.
        asked: a digest of what it was submitted with.
    """

    mark: Path
    id: str
    only: str | None
    asked: str

    @property
    def submission(self) -> Submission:
        """How it was submitted, or was to be."""
        return submission_of(self.mark.parent)

    @property
    def title(self) -> str:
        """What to call the job before people."""
        return f"Slurm job {self.id}" if self.id else f"a Slurm job named {self.submission.name}"

    def forget(self) -> None:
        """Note that it has begun, or will not."""
        self.mark.unlink(missing_ok=True)


def sent(root: Path) -> list[Sent]:
    """Return the drivers of a sweep that were sent and may not have begun."""
    return [
        Sent(
            mark,
            submitted_id(_text(mark.with_name("answer")) or "") or "",
            _text(mark.with_name(ONLY)),
            _text(mark.with_name(_ASKED)) or "",
        )
        for mark in sorted((root / JOBS).glob(f"*/{_MARK}"))
    ]


def note_begun(place: Path) -> None:
    """Note that the driver with this directory of its submission has begun."""
    (place / _MARK).unlink(missing_ok=True)


class Drivers:
    """Sends drivers, looks for them, and ends them; while the present process holds the sweep.

    So a job that is found has not begun to drive: it waits in the queue, or for this process.
    """

    def __init__(
        self, root: Path, client: Client, adoption: Adoption, submitter: Submitter
    ) -> None:
        self._root = root
        self._scheduler = SlurmScheduler()  # the `signal` of the runs would end a driver
        self._client = client
        self._adoption = adoption
        self._submitter = submitter

    def write(
        self, submission: Submission, job: Job, env: Mapping[str, str], only: str | None
    ) -> None:
        """Write down that a driver is being sent, before it can be in the queue; in a thread."""
        more = {_ASKED: _digest(submission, job, env)}
        if only is not None:
            more[ONLY] = only
        submission.more = {name: text.encode() for name, text in more.items()}
        submission.write_intent(self._scheduler.script(job))
        (submission.directory / _MARK).touch()

    async def send(self, submission: Submission, job: Job, env: Mapping[str, str]) -> str:
        """Submit a driver that has been written down; return the job's id.

        Raises:
            BackendError: the job was not accepted.
        """
        argv = self._scheduler.submit(job, str(submission.directory / "script"))
        refused = await self._submitter.submit(submission, argv, env)
        if refused is not None:
            note_begun(submission.directory)
            raise BackendError(f"the driver was not accepted as a job: {refused.message}")
        return "+".join(submission.ids)

    async def waiting(self, job: Job, env: Mapping[str, str], only: str | None) -> str:
        """Return what to say of the driver that waits in the queue; "" where there is none.

        One that has started already may have been refused, since this process holds the sweep: it
        is ended, and so is one that was to execute other runs than are wanted now, with other
        values of variables, or in another place of the cluster.

        Raises:
            BackendError: Slurm does not say, or a job does not end.
        """
        kept = ""
        for one in sent(self._root):
            found = await self._find(one)
            waits = [state for state in found.values() if state.phase == "waiting"]
            same = one.only == only and one.asked == _digest(one.submission, job, env)
            if waits and same and not kept:
                kept = _told(one._replace(id="+".join(found)), waits[0])
            else:
                await self._end(one, found)
        return kept

    async def end(self) -> None:
        """End drivers that have not begun; return when the queue has none.

        Raises:
            BackendError: Slurm does not say, or a job does not end.
        """
        for one in sent(self._root):
            await self._end(one, await self._find(one))

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

    async def _find(self, one: Sent) -> Mapping[str, JobState]:
        """See to it that nobody submits a driver any more; return what of it has not ended."""
        place = one.mark.parent
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await self._adoption.find(one.submission.token, (place, place))
        except TimeoutError:
            raise _unknown(one) from None
        return {} if found is not None and not found.ids else await self._look(one)

    async def _look(self, one: Sent) -> Mapping[str, JobState]:
        """Return what of a driver has not ended; nothing only when that is sure."""
        deadline, misses = time.monotonic() + _PATIENCE_SECONDS, 0
        while True:
            found = await self._client.seek(one.submission.name)
            if found is not None:
                states = {id_: found.states.get(id_, _STRANGE) for id_ in found.ids}
                misses += 1
                if states or misses == _LOOKS:
                    return {i: state for i, state in states.items() if state.phase != "ended"}
            if time.monotonic() > deadline:
                raise _unknown(one)
            await asyncio.sleep(PAUSE_SECONDS)


def _told(one: Sent, state: JobState) -> str:
    if state.hopeless:
        return (
            f"{one.title} is in the queue to drive this sweep, but cannot start: {state.message}; "
            "multirun cancel DIR ends it"
        )
    why = f": {state.message}" if state.message else ""
    return f"{one.title} waits in the queue to drive this sweep, and no other is submitted{why}"


def _unknown(one: Sent) -> BackendError:
    return BackendError(
        f"Slurm does not say whether it has {one.title}, which is to drive the sweep; "
        "try again later"
    )


def _digest(submission: Submission, job: Job, env: Mapping[str, str]) -> str:
    """Return what tells whether a driver was submitted with the same values, to the same place.

    The values themselves may be secret, and are stored nowhere.
    """
    where = job.options.partition, job.options.account, job.options.qos, job.options.reservation
    told = json.dumps([submission.token, where, sorted(env.items())])
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
