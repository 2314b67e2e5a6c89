"""`SchedulerRunner`: runs as jobs of a queue system that is used by commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from multirun_core import _threads
from multirun_core._model.resources import Resources, check_count
from multirun_core._model.run import ExitStatus, Run
from multirun_core._runners.scheduler.adoption import Adoption
from multirun_core._runners.scheduler.batching import Batcher
from multirun_core._runners.scheduler.client import PAUSE_SECONDS, Client
from multirun_core._runners.scheduler.desk import Desk
from multirun_core._runners.scheduler.ending import Ender
from multirun_core._runners.scheduler.haste import Haste
from multirun_core._runners.scheduler.here import Here
from multirun_core._runners.scheduler.lessons import Lessons
from multirun_core._runners.scheduler.link import Login
from multirun_core._runners.scheduler.loops import Loops
from multirun_core._runners.scheduler.metering import Meter
from multirun_core._runners.scheduler.ordering import Ordering
from multirun_core._runners.scheduler.overseeing import Overseer
from multirun_core._runners.scheduler.packing import Packer, jobs_for
from multirun_core._runners.scheduler.site import Site
from multirun_core._runners.scheduler.submission import CALL_SECONDS, Demand
from multirun_core._runners.task import TaskRunner
from multirun_core._runners.warmth import Warmth
from multirun_core._transport.local import LocalTransport
from multirun_core.errors import ParamError, SubmitError, UsageError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.command import CommandScheduler
    from multirun_core._transport.base import Transport

_log = logging.getLogger("multirun.runner")

_AHEAD = 20_000
_LOOK_SECONDS = 0.1
_CLOSE_SECONDS = 20.0  # then blocking work that does not stop is left behind
_CLEAR_SECONDS = 25.0


class SchedulerRunner(TaskRunner):
    """Carries runs out as jobs of a queue system.

    Runs that become ready together go out as one array. They outlive their driver: the next one
    finds them again. What the queue system says is a hint; the verdict rests on the record that
    each run leaves in its directory.

    Attributes:
        scheduler: what is particular to the queue system.
        calls: how often which kind of its commands was called: "submit", "status", "find",
            "cancel", "signal", "account"; also said when a sweep is over.
    """

    enforces_timeout: ClassVar[bool] = True
    reports_start: ClassVar[bool] = True
    knows_resources: ClassVar[bool] = True

    def __init__(
        self,
        scheduler: CommandScheduler,
        *,
        transport: Transport | None = None,
        login: Login | None = None,
        attempt_dirs: bool = False,
        needs: Resources | None = None,
        time_limit: float | None = None,
        max_jobs: int | None = None,
        max_running: int | None = None,
        pack: int | Literal["auto"] = 1,
        pack_parallel: int = 1,
        pack_seconds: float = 300.0,
        warm: bool = False,
        preload: Sequence[str] = (),
        setup: Sequence[str] = (),
        poll_interval: tuple[float, float] = (2.0, 60.0),
        record_grace: float = 30.0,
        command_timeout: float = CALL_SECONDS,
        retry_scale: Mapping[str, float] | None = None,
        timeout: float | str | None = None,
        retries: int = 0,
        retry_delay: float = 1.0,
        infrastructure_retries: int = 2,
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
    ) -> None:
        """Set the limits.

        Args:
            scheduler: what is particular to the queue system.
            transport: how its commands are reached; those of this machine by default.
            login: how they are reached where run directories have to be carried there, and back;
                in place of `transport`.
            attempt_dirs: whether each attempt is carried out in a directory of its own, from which
                what is new comes into the run directory at its end; so an orphan of an earlier
                attempt cannot write into it. By way of a login it is always so.
            needs: what each run needs whose sweep says nothing about it.
            time_limit: for how long one run may occupy what it was given, in seconds; None for
                what the queue system allows.
            max_jobs: how many jobs may be in the queue at once, each task of an array counted;
                None for no limit.
            max_running: how many tasks of an array may run at once; None for no limit.
            pack: how many runs a job carries out, one after another or several at once; "auto"
                for as many as take some minutes, by how long the first ones took.
            pack_parallel: how many runs of such a job go on at once.
            pack_seconds: how long a job is to take with pack="auto".
            warm: in jobs that carry out several runs, fork those that are a Python script or
                `-m module` from one interpreter that has imported what the script imports.
            preload: the modules to import for that, instead; says warm=True as well.
            setup: lines of shell text before each run's program, such as "module load gcc".
            poll_interval: the least and the most seconds between two questions to the queue.
            record_grace: how long what a run has written may take to be seen here, in seconds:
                network file systems are slow.
            command_timeout: seconds that one call of a command may take.
            retry_scale: factors for what a run gets in its next attempt, after it ran out of it:
                {"mem": 2, "time": 2}.
            timeout: seconds that one attempt may run; "5x median" for so many times the median of
                the runs that succeeded; None for no limit.
            retries: how many further attempts a failed run gets.
            retry_delay: seconds before the second attempt, doubled for each further one up to 60.
            infrastructure_retries: how many further attempts a run gets that do not count as
                `retries`, where its node, its job or its place on a node was lost.
            env: variables that each run gets.
            grace: seconds between TERM and KILL when a run is ended.
        """
        super().__init__(
            timeout=timeout,
            retries=retries,
            retry_delay=retry_delay,
            env=env,
            grace=grace,
            infrastructure_retries=infrastructure_retries,
        )
        _check_counts(max_jobs=max_jobs, max_running=max_running, pack_parallel=pack_parallel)
        least, most = poll_interval
        if not 0 < least <= most:
            raise UsageError(
                f"poll_interval is {poll_interval!r}; it must be two numbers of seconds, the least "
                "and the most, such as (2, 60)"
            )
        self.scheduler = scheduler
        self.default_needs = needs or Resources()
        self.max_jobs = max_jobs
        self._transport = transport or LocalTransport()
        self._login = login
        self._attempt_dirs = attempt_dirs
        self._site: Site | None = None
        self._time_limit = time_limit
        self._max_running = max_running
        self._packer = Packer(pack, pack_seconds)
        self._parallel = pack_parallel
        if (warm or preload) and pack == 1:
            raise UsageError(
                "warm and preload are for jobs that carry out several runs: give pack, too"
            )
        self._warmth = Warmth(preload) if warm or preload else None
        self._setup = tuple(setup)
        self._interval = (least, most)
        self._record_grace = record_grace
        self._command_timeout = command_timeout
        self._lessons = Lessons(retry_scale, self._packer)
        self._ends: dict[Run, ExitStatus] = {}
        self._loops: Loops | None = None
        self._threads, self._haste = _threads.Work(), Haste()
        self.calls: Counter[str] = Counter()

    @property
    def ahead(self) -> int:
        """Return how many runs may be added at once: enough to submit them in few arrays."""
        if self.detaches:
            return sys.maxsize
        if self.max_jobs is None:
            return _AHEAD
        return min(_AHEAD, 2 * self.max_jobs * self._packer.most + 128)

    async def open(self) -> None:
        """Begin to watch; nothing is asked of the queue system before there is something out."""
        self._threads, self._haste = _threads.Work(), Haste()
        self._site = site = self._reach()
        site.call_seconds = self._command_timeout
        await site.open()
        self._client = Client(self.scheduler, site)
        self._client.calls = self.calls
        ordering = Ordering(self, site, self._lessons, self._setup)
        self._desk = Desk(
            self.scheduler,
            self._client,
            site,
            interval=self._interval,
            grace=self._record_grace,
            begin=ordering.began,
            say=self.tell,
        )
        self._batcher = Batcher(
            self.scheduler,
            self._client,
            self._desk,
            site,
            order=ordering.order,
            hold=lambda work: asyncio.ensure_future(ordering.hold(work)),
            packer=self._packer,
            max_jobs=lambda: self.max_jobs,
            at_once=self.at_once,
            longest=self.longest,
            throttle=self._max_running,
            warmth=self._warmth,
        )
        self._meter = Meter(self.scheduler, self._client, self._haste)
        self._adoption = Adoption(self.scheduler, self._client, site)
        self._ender = Ender(self.scheduler, self._client, self._desk, site, self._haste)
        self._overseer = Overseer(
            self,
            self.scheduler.title,
            site=site,
            ordering=ordering,
            batcher=self._batcher,
            desk=self._desk,
            ender=self._ender,
            adoption=self._adoption,
            lessons=self._lessons,
            meter=self._meter,
            haste=self._haste,
        )
        desk, batcher, meter = self._desk, self._batcher, self._meter
        loops = (batcher.serve(), desk.follow(), desk.poll(), meter.serve())
        self._loops = Loops(loops, self._overseer.give_up)

    def _reach(self) -> Site:
        login = self._login
        if login is None and (self.root is None or not self._attempt_dirs):
            return Here(self._transport, self._threads)
        from multirun_core._runners.scheduler.far import Far

        if login is None:
            place, transport = str(self.root), self._transport
            login = Login(name="attempt_dirs", connect=lambda: transport, place=place, near=True)
        return Far(login, self.root, self._haste)

    async def close(self) -> None:
        """Watch no more. What is out goes on, unless it has been ended."""
        late = asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self._threads.hurry)
        try:
            loops, self._loops = self._loops, None
            if loops is not None:
                await self._ender.close(leave=self.letting_go)
                await loops.stop()
                if not self.letting_go:
                    await self._batcher.settle(self._adoption, self._haste)
                await self._adoption.close()
                if not self.letting_go:
                    await self._meter.complete()
                await self._clear_away()
            site, self._site = self._site, None
            if site is not None:
                unfinished = loops is None or bool(self._desk.submissions)
                await site.close(leave=self.letting_go or unfinished)
        finally:
            late.cancel()

    async def _clear_away(self) -> None:
        """Have jobs ended that are left in the queue for nobody; bounded."""
        with contextlib.suppress(TimeoutError):
            async with self._haste.bound(_CLEAR_SECONDS):
                await self._desk.clear_away()
                while self._desk.stale:
                    await asyncio.sleep(PAUSE_SECONDS)
                    await self._desk.clear_away()
        if self._desk.stale:
            names = ", ".join(self._desk.stale)
            _log.warning("%s still has %s; look after it yourself", self.scheduler.title, names)

    @property
    def broken(self) -> bool:
        """Whether one of the loops has died."""
        return self._loops is not None and self._loops.broken

    def remarks(self) -> list[str]:
        """Return how often which command of the queue system was called."""
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(self.calls.items()))
        return [f"calls of {self.scheduler.title}'s commands: {told}"] if told else []

    def hurry(self) -> None:
        """End what is being ended without further grace, and wait for nothing that hangs."""
        self._haste.hurry()
        self._threads.hurry()

    async def handed_over(self) -> None:
        """Return once all runs are jobs, or parts of jobs, or have ended."""
        while self._live and not self._all_out():
            await asyncio.wait(self._live, timeout=_LOOK_SECONDS)

    async def check_detach(self, runs: Sequence[Run]) -> None:
        """Refuse to let go of more runs than can be submitted at once.

        Raises:
            UsageError: says how many do not fit.
        """
        new = [run for run in runs if run.handle is None]
        room = await self.room()
        if room is None or len(new) <= room:
            return
        jobs = jobs_for(self._demands(new), self._packer.least)
        if jobs > room:
            raise UsageError(
                f"detach=True: {len(runs)} runs are to be submitted at once, in {jobs} jobs, but "
                f"no more than {room} jobs may be added to the queue, so {jobs - room} do not fit; "
                "leave detach out, or have jobs carry out several runs each: pack"
            )

    def _demands(self, runs: Sequence[Run]) -> Iterator[Demand]:
        for run in runs:
            with contextlib.suppress(SubmitError, ParamError):  # it fails, and takes no room
                yield self.demand(run, memory=1.0, seconds=1.0)

    def _all_out(self) -> bool:
        """Whether each live run is in a job that was accepted."""
        out = sum(len(one.works) for one in self._desk.submissions.values() if one.ids)
        live = sum(not task.done() for task in self._live)
        return self._batcher.idle and out >= live

    def drop(self, run: Run) -> None:
        """Cancel a run unless it has begun; see `TaskRunner.drop`."""
        if run.status != "pending":
            return
        if self._loops is None or not self._overseer.drop(run):
            super().drop(run)

    async def execute(self, run: Run) -> ExitStatus:
        """Carry out one attempt as a job, or a part of one.

        Raises:
            BackendError: the queue system has taken no job for an hour.
        """
        memory, seconds = self._lessons.factors(run)
        demand = self.demand(run, memory=memory, seconds=seconds)
        alone = demand.alone or self._lessons.alone(run)
        return await self._overseer.carry_out(run, replace(demand, alone=alone))

    async def reattach(self, run: Run) -> ExitStatus | None:
        """Find the job of a run again; None where it is sure that there never was one.

        Raises:
            BackendError: the queue system does not tell, for an hour.
        """
        if run in self._ends:
            return self._ends.pop(run)
        return await self._overseer.find_again(run)

    async def end_left(self, runs: Sequence[Run]) -> None:
        """End what an earlier driver left, all of it together; see `TaskRunner.end_left`."""
        await self._overseer.end_left(runs, self._ends)

    # What a runner for one queue system may say otherwise.

    def demand(self, run: Run, *, memory: float, seconds: float) -> Demand:
        """Return what the next attempt of a run asks the queue system for.

        Args:
            run: the run.
            memory: by what to multiply its memory, since it ran out of it before.
            seconds: by what to multiply its time, likewise.

        Raises:
            SubmitError: that can never be given; the run fails.
        """
        needs = self.needs(run)
        if needs.memory_bytes is not None:
            needs = replace(needs, memory_bytes=math.ceil(needs.memory_bytes * memory))
        limit = None if self._time_limit is None else self._time_limit * seconds
        return Demand(needs=needs, seconds=limit)

    def at_once(self, demand: Demand, pack: int) -> int:
        """Return how many of `pack` runs in one job go on at once."""
        return min(pack, self._parallel)

    def longest(self, demand: Demand) -> float | None:
        """Return the most seconds that a job of several such runs is given; None for no limit."""
        return None

    async def room(self) -> int | None:
        """Return how many more jobs the queue takes at this moment; None for no limit."""
        return self.max_jobs


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None:
            check_count(name, count, least=1)
