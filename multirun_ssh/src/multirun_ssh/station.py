"""`Station`: one host at work: its connection, what goes on there, what is known of it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from multirun_core._model.run import ExitStatus
from multirun_core._staging.mirror import Mirror, MirrorError, Stores
from multirun_core._waiting import together
from multirun_core.errors import TransportError

from multirun_ssh import programs
from multirun_ssh.audit import Audit
from multirun_ssh.ending import Ending
from multirun_ssh.errors import HostKeyError, LoginNeedsPersonError, LoginRefusedError
from multirun_ssh.fetching import Fetching, Removing
from multirun_ssh.follow import Following
from multirun_ssh.job import Job, NotStartedError
from multirun_ssh.luggage import luggage
from multirun_ssh.starting import Starting
from multirun_ssh.state import Health, Settings
from multirun_ssh.warming import Warming

if TYPE_CHECKING:
    from multirun_core._transport.base import Completed, Transport
    from multirun_core._transport.wrapper import Event

_log = logging.getLogger("multirun.ssh")

LEASE_SECONDS = 45  # how long a driver may be silent where runs are to end without one
COMMAND_SECONDS = 60.0
HURRIED_SECONDS = 10.0  # how long anything is waited for where the user has asked twice
STOP_SECONDS = 30.0  # for what is under way to stop: a command over there is ended first
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


class Station:
    """One host at work.

    Attributes:
        name: the host, for people.
        slots: how many runs may go on there at once; None until that is known.
        busy: how many slots are taken.
        jobs: what goes on there, by token.
        lost: jobs that were given up while it could not be reached, by token.
        health: whether it can be used.
        ended_at: when a run ended here last; 0 before.
        folder: the directory of its runs there; known once it has been reached.
        hurried: since when nothing is to be waited for any longer; None while there is time.
    """

    def __init__(
        self,
        name: str,
        slots: int | None,
        transport: Transport,
        settings: Settings,
        stores: Stores,
        changed: Callable[[], None],
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            name: the host.
            slots: how many; None for as many as it has CPUs.
            transport: the way there; it connects by itself, again and again.
            settings: what holds for all hosts.
            stores: shared by all hosts.
            changed: is told whenever a run may be started that could not be before.
        """
        self.name = name
        self.slots = slots
        self.busy = 0
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.lost: dict[str, Job] = {}
        self.superseded = 0
        self.health = Health()
        self.ended_at = 0.0
        self.folder = self.luggage = ""
        self.hurried: float | None = None
        self.tried = asyncio.Event()
        self.starting = Starting(self)
        self.fetching = Fetching(self)
        self.ending = Ending(self)
        self.removing = Removing(self)
        self.audit = Audit(self)
        self.following = Following(self, transport)
        self.warming = Warming(self)
        self._transport = transport
        self._changed = changed
        self._programs: dict[str, asyncio.Future[str | None]] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._leaving: asyncio.Timeout | None = None
        self._closing = False
        self.mirror = Mirror(transport, stores, place=settings.place, name=settings.name)

    # For the runner.

    @property
    def free(self) -> int:
        """How many runs can be started now."""
        return max(0, (self.slots or 0) - self.busy) if self.health.usable else 0

    def may_come(self) -> bool:
        """Whether it can be used, or may be soon."""
        health = self.health
        waiting = not health.permanent and health.out_for() <= self.settings.host_timeout
        return health.up or waiting

    def open(self) -> None:
        """Begin to connect, and to connect again whenever the connection is lost."""
        self._keeping = asyncio.create_task(self._keep(), name=f"host {self.name}")

    async def carry_out(self, job: Job) -> ExitStatus | None:
        """Carry a job out to its end.

        Raises:
            NotStartedError: it could not be begun here.
        """
        self.jobs[job.token] = job
        if job.adopted:
            self.audit.soon()
        else:
            self.starting.lane.put(job)
        return await asyncio.shield(job.done)

    async def has(self, program: str, env: Mapping[str, str]) -> str | None:
        """Return why the host cannot execute a program; None where it can, or nobody knows."""
        if "/" in program and not program.startswith("/"):
            return None  # it comes with the run
        known = self._programs.get(program)
        if known is None or (known.done() and (known.cancelled() or known.exception() is not None)):
            known = asyncio.ensure_future(programs.lack(self, program, env))
            self._programs[program] = known
        try:
            return await asyncio.shield(known)
        except TransportError:
            return None  # the connection is being seen to

    def release(self, job: Job) -> None:
        """Give back the slot of a job."""
        if job.holds_slot:
            job.holds_slot = False
            self.busy -= 1
            self._changed()

    def forget(self, job: Job) -> None:
        """Let go of a job: it goes on there, or does not, and nobody here cares."""
        self.starting.lane.drop(job)
        self.fetching.lane.drop(job)
        self.jobs.pop(job.token, None)
        self.release(job)

    def spare(self) -> list[Job]:
        """Return the jobs that others may have, since nothing of them is here yet."""
        waiting = self.starting.lane.waiting() if self.starting.lacking is not None else []
        return [job for job in waiting if not (job.may_come or job.stays)]

    def pass_on(self, job: Job) -> None:
        """Let go of a job of which nothing is here yet, so that another host has it."""
        self.forget(job)
        job.refuse(NotStartedError(f"{self.name} waits for inputs"))

    def hurry(self) -> None:
        """Kill what is being ended, and wait for nothing for long."""
        self.hurried = self.hurried or time.monotonic()
        for job in list(self.jobs.values()):
            job.grace = 0.0
            if job.ending is not None:
                self.ending.lane.put(job)
        if self._leaving is not None and not self._leaving.expired():
            self._leaving.reschedule(asyncio.get_running_loop().time() + HURRIED_SECONDS)

    async def close(self, *, leave: bool) -> None:
        """Let go of the host; bounded.

        Args:
            leave: whether to remove what is left there, unless runs are.
        """
        self._closing = True  # else it would connect anew, and make anew what is removed here
        try:
            keep, warm = self.settings.keep, self.settings.warmth is not None
            if leave and self.folder and (warm or not keep):
                await self._leave(COMMAND_SECONDS if self.hurried is None else HURRIED_SECONDS)
        finally:
            busy: list[asyncio.Future[Any]] = [*self._programs.values()]
            if self._keeping is not None:
                busy.append(self._keeping)
            for one in busy:
                one.cancel()
            try:
                if busy:
                    seconds = STOP_SECONDS if self.hurried is None else HURRIED_SECONDS
                    await asyncio.wait(busy, timeout=seconds)
            finally:
                await self._transport.close()

    async def _leave(self, seconds: float) -> None:
        why = "" if self.health.up else self.health.why or "it cannot be reached"
        try:
            async with asyncio.timeout(seconds) as self._leaving:
                try:
                    if not why:
                        await self.starting.quiet()  # else they would come back
                        words = ["cool", self.folder]
                        if not self.settings.keep:
                            await self.removing.all()
                            words = ["leave", self.mirror.base, self.folder]
                        done = await self.far(*words)
                        why = done.said if done.code else ""
                finally:
                    self._leaving = None
        except (TransportError, TimeoutError) as error:
            why = str(error) or "it took too long"
        if why and self.settings.keep:
            told = "%s: its warm interpreter could not be ended, and ends by itself soon: %s"
            _log.warning(told, self.name, why)
        elif why:
            _log.warning("%s: %s could not be removed: %s", self.name, self.mirror.base, why)

    # For its duties.

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = COMMAND_SECONDS,  # noqa: ASYNC109 - the transport keeps it
    ) -> Completed:
        """Run a command there.

        Raises:
            TransportError: it cannot be reached, or the connection was lost.
        """
        return await self._transport.run(argv, stdin=stdin, timeout=timeout)

    async def far(
        self,
        *words: str,
        timeout: float = COMMAND_SECONDS,  # noqa: ASYNC109 - likewise
    ) -> Completed:
        """Run a verb of `far.sh`."""
        return await self.run(["sh", f"{self.luggage}/far.sh", *words], timeout=timeout)

    def ended(self, job: Job, event: Event) -> None:
        """Take note that a job has ended, with evidence."""
        if job.state in ("ended", "settling", "done"):
            return
        self.starting.lane.drop(job)
        self.ended_at = time.monotonic()
        job.heard(event)
        self.release(job)
        self.fetching.lane.put(job)

    def gone(self, job: Job, why: str) -> None:
        """Take note that a job is lost without an end: there is proof that it lives no more."""
        job.end = ExitStatus(
            code=None, reason="lost", message=f"{self.name}: {why}", started=job.run.started
        )
        job.state = "ended"
        self.release(job)
        self.fetching.lane.put(job)

    def pause(self, why: str) -> None:
        """Start nothing here for a while: the host has refused to take runs."""
        health = self.health
        health.refusals += 1
        health.why = why
        health.paused = time.monotonic() + min(60.0, 5.0 * 2 ** (health.refusals - 1))
        health.since = health.since or time.monotonic()
        if health.refusals == 1:
            _log.warning("%s takes no runs for now: %s", self.name, why)

    def accepted(self) -> None:
        """Take note that it has taken runs."""
        if self.health.refusals:
            _log.warning("%s takes runs again", self.name)
        self.health.refusals, self.health.since = 0, None

    def lose(self, job: Job, why: str) -> None:
        """Lose a job that may go on here: it counts no more, and others may have the run."""
        self.forget(job)
        self.lost[job.token] = job
        message = f"{self.name} {why}"
        job.finish(ExitStatus(code=None, reason="lost", message=message, started=job.run.started))

    def give_up(self, after: float) -> None:
        """Lose all jobs of a host that has been silent for so many seconds."""
        lost = [job for job in self.jobs.values() if job.state not in ("settling", "done")]
        for job in lost:
            if job.state == "new" and not job.may_come:
                self.forget(job)
                job.refuse(NotStartedError(self.health.why))
            else:
                self.lose(job, f"could not be reached for {after:.0f} s: {self.health.why}")
        if lost:
            _log.warning(
                "%s could not be reached for %.0f s: its %d runs go to other hosts",
                self.name,
                after,
                len(lost),
            )

    # The connection.

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            connected = time.monotonic()
            try:
                await self._session()
            except (TransportError, MirrorError) as error:
                if self._closing:
                    return
                self._down(error)
            except Exception as error:
                _log.exception("%s: this should not happen", self.name)
                self._down(error)
            self.tried.set()
            if self.health.permanent:
                return
            if time.monotonic() - connected > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _down(self, error: Exception) -> None:
        health, asks = self.health, isinstance(error, LoginNeedsPersonError)
        if asks and not health.asks:
            _log.warning("%s is waited for: %s", self.name, error)
        elif health.up or not self.tried.is_set():
            _log.warning("%s: %s", self.name, error)
        health.up, health.asks, health.why = False, asks, str(error)
        # It may be being booted, or at its limits, where it has let us in before.
        refused = isinstance(error, LoginRefusedError) and not health.known
        health.permanent = refused or isinstance(error, HostKeyError)
        # A person is waited for, however long it takes.
        health.since = None if asks else health.since or time.monotonic()
        self._changed()

    async def _session(self) -> None:
        """Prepare the host, and do what is to be done there until the connection is lost."""
        await self.mirror.open()
        self.luggage = await self.mirror.supply(luggage(warm=self.settings.warmth is not None))
        self.folder = f"{self.mirror.base}/{_folder(self.name)}"
        await self._begin()
        if self.lost:
            await self.audit.superseded()
        await self.audit.all(again=True)
        was_out, health = self.health.out_for(), self.health
        if self.tried.is_set() and not health.up:
            _log.warning("%s is connected, after %.0f s", self.name, was_out)
        health.up, health.known, health.asks = True, True, False
        if not health.refusals:
            health.since = None
        self.tried.set()
        self._changed()
        duties = (
            self.following,
            self.starting,
            self.fetching,
            self.ending,
            self.removing,
            self.audit,
        )
        await together(*(duty.work() for duty in duties))

    async def _begin(self) -> None:
        done = await self.far("begin", self.folder)
        words = done.stdout.split()
        if done.code != 0 or len(words) < 2:
            raise MirrorError(f"{self.name}: {self.folder} cannot be used: {done.said}")
        size, cpus = int(words[0]), int(words[1])
        if not self.health.up and not self.tried.is_set():
            self.following.offset = size  # what earlier drivers had there is looked at apart
        self.following.offset = min(self.following.offset, size)
        if self.slots is None:
            self.slots = max(1, cpus)
        if self.settings.stop:
            word = sha256(repr((self.name, time.time())).encode()).hexdigest()[:16]
            done = await self.far(
                "guard", self.folder, str(LEASE_SECONDS), f"{self.settings.grace:.2f}", word
            )
            if done.code != 0:
                raise MirrorError(
                    f"{self.name}: runs would go on there without a driver: {done.said}"
                )

    def note_superseded(self, job: Job) -> None:
        """Take note that a job has ended that another host had been given meanwhile."""
        self.superseded += 1
        _log.warning(
            "%s had run %s, attempt %d, which other hosts were given meanwhile: it does not count",
            self.name,
            "?" if job.run.index is None else job.run.index,
            job.attempt,
        )
        self.removing.put(job)


def _folder(name: str) -> str:
    """Return the name of a host's folder: for people, and no other host's."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:40]
    return f"{plain or 'host'}-{sha256(name.encode()).hexdigest()[:6]}"
