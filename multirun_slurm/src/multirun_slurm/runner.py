"""`SlurmRunner`: runs as job arrays on a Slurm cluster."""

from __future__ import annotations

import asyncio
import math
import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multirun_core._model.resources import Resources
from multirun_core._runners.scheduler import JOBS
from multirun_core._runners.scheduler.runner import SchedulerRunner
from multirun_core._runners.scheduler.submission import Demand
from multirun_core._runners.scheduler.submitting import Submitter
from multirun_core._waiting import finish
from multirun_core.errors import BackendError, SubmitError, TransportError, UsageError

from multirun_slurm import fitting, limits
from multirun_slurm.arguments import effective, leaves_memory, scaled
from multirun_slurm.drivers import Drivers, note_begun, sent
from multirun_slurm.login import login_of
from multirun_slurm.options import SlurmOptions
from multirun_slurm.scheduler import SlurmScheduler
from multirun_slurm.script import request
from multirun_slurm.sending import driver_job, own_place, submission_of
from multirun_slurm.signature import options_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from multirun_core._model.run import Run

    from multirun_slurm.job import JobOptions

_MIB = 1 << 20
_MARGIN_SECONDS = 60.0  # for what comes before and after a run, in Slurm's own limit
_AUTO_AT_ONCE = 4  # CPUs of a job whose number of runs is not said
_POLL_SECONDS = (2.0, 60.0)
# With one of these in the environment, sbatch does not leave memory to the partition.
_SAYS_MEMORY = {
    "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU", "SBATCH_MEM_PER_NODE", "SBATCH_GPUS", "SBATCH_GRES",
    "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK",
}  # fmt: skip


class SlurmRunner(SchedulerRunner):
    """Carries runs out as jobs of a Slurm cluster, by the commands sbatch, squeue and scancel.

    Attributes:
        options: as they were given.
        cluster: what the cluster allows, once it has been asked.
    """

    scheduler: SlurmScheduler

    @options_from(SlurmOptions)
    def __init__(self, **options: Any) -> None:
        """Say what runs ask for; the cluster is not asked for anything yet."""
        self.options = given = SlurmOptions(**options)
        poll = given.poll_interval
        super().__init__(
            SlurmScheduler(given.job, signal=given.signal),
            login=login_of(given),
            attempt_dirs=given.attempt_dirs,
            max_jobs=given.max_jobs,
            max_running=given.max_running,
            pack=given.pack,
            pack_seconds=given.pack_minutes * 60.0,
            warm=given.warm,
            preload=given.preload,
            setup=given.setup,
            poll_interval=_POLL_SECONDS if poll == "auto" else (poll, max(poll, 2 * poll)),
            record_grace=given.file_grace,
            command_timeout=given.command_timeout,
            retry_scale=given.retry_scale,
            timeout=given.timeout,
            retries=given.retries,
            retry_delay=given.retry_delay,
            infrastructure_retries=given.infrastructure_retries,
            env=given.env,
            grace=given.grace,
        )
        self.cluster = limits.Limits()
        self._passed: Demand | None = None
        self.detaches = given.detach
        self.sends_driver = given.driver == "job"
        self.leaves_on_interrupt = given.on_interrupt == "detach"

    async def open(self) -> None:
        """Ask what the cluster allows, and begin to watch.

        Raises:
            UsageError: what every run asks for can never be given.
        """
        if self._is_sent:  # what ends that job, such as its time limit, is no reason to end others
            self.leaves_on_interrupt = True
        await super().open()
        self.max_jobs = self.options.max_jobs
        self.cluster, self._passed = await self._ask_limits(), None
        self.scheduler.accounting = self.cluster.accounting
        if self.cluster.array_size is not None:
            self.scheduler.array_limit = max(1, self.cluster.array_size)
        if self.cluster.room == 0 and not self._has_jobs():
            raise UsageError(
                "the cluster takes no job of yours: MaxSubmitJobs of your account or qos is 0 "
                "(`sacctmgr show assoc user=$USER`); give another `account` or `qos`"
            )
        if self.max_jobs is None and self.cluster.room is not None:
            self.max_jobs = max(1, self.cluster.room)
        # Jobs that are out, and go on, may ask for what could not start any more.
        if self.options.per_run is None and not self._has_jobs():
            fitting.check(self.options.job, self.cluster, self._default_partition)

    async def send_driver(self, env: Mapping[str, str], only: str | None) -> bool:
        """Submit the driver as a job, where that is asked for.

        Raises:
            UsageError: only the script that began the sweep can carry on with it.
            BackendError: the job was not accepted, or Slurm does not say whether it has one.
        """
        root = self.root
        if root is None or self._is_sent or self.options.driver != "job":
            return False
        submission = submission_of(root / JOBS / uuid.uuid4().hex[:12])
        submission.call_seconds = self.options.command_timeout
        job = driver_job(
            root,
            submission,
            self.options.job,
            self.cluster,
            default=self._default_partition,
            chosen_only=only is not None,
        )
        drivers = self._drivers(root)
        try:
            if waiting := await drivers.waiting(job, env, only):
                self.tell(waiting)
                return True
            await self._threads.do(lambda: drivers.write(submission, job, env, only))
            number = await drivers.send(submission, job, env)
        except asyncio.CancelledError:
            if not self.leaves_on_interrupt:  # it would execute later what is skipped now
                try:
                    await finish(drivers.end())
                except BackendError as error:
                    self.tell(str(error))
            raise
        self.tell(f"the sweep is driven by Slurm job {number}; multirun cancel DIR ends it")
        return True

    def drives(self, root: Path) -> None:
        """Note that the driver that this process is has begun: the journal says who drives."""
        if place := own_place(root):
            note_begun(place)

    def sent_drivers(self, root: Path) -> list[str]:
        """Return the jobs that are to drive a sweep and may not have begun."""
        return [one.title for one in sent(root)]

    async def end_drivers(self) -> None:
        """End the jobs that are to drive the sweep; see `TaskRunner.end_drivers`."""
        if self.root is not None:
            await self._drivers(self.root).end()

    def _drivers(self, root: Path) -> Drivers:
        submitter = Submitter(self.scheduler, self._client, self._desk)
        return Drivers(root, self._client, self._adoption, submitter)

    def demand(self, run: Run, *, memory: float, seconds: float) -> Demand:
        """Return what the next attempt of a run asks Slurm for.

        Raises:
            SubmitError: that makes no sense, or can never be given.
        """
        try:
            job = self.options.job_for(run.params)
            needs = self.needs(run)
            if needs.memory_bytes is not None:
                needs = replace(needs, memory_bytes=math.ceil(needs.memory_bytes * memory))
            elif leaves_memory(job):
                job = self._with_default(job, more=memory > 1)
            self._check_scale(run, job, needs)
            job = scaled(job, memory=memory, time=seconds)
        except UsageError as error:
            raise SubmitError(str(error)) from None
        own = Resources(
            cpus=job.cpus_per_task if job.packable else None,
            memory_bytes=None if job.mem_mib is None else job.mem_mib * _MIB,
        )
        needs = needs.over(own)
        demand = Demand(
            needs=needs,
            seconds=self._seconds(run, job, seconds),
            alone=not job.packable or bool(needs.gpus),
            options=job,
        )
        if demand != self._passed:  # most are like the one before
            self._check(demand, more=memory > 1 or seconds > 1)
            self._passed = demand
        return demand

    def at_once(self, demand: Demand, pack: int) -> int:
        """Return how many of so many runs in one job go on at once: as many as a node can hold."""
        cpus = demand.needs.cpus or 1
        given = self.options.pack_cpus
        if given is None and self.options.pack == "auto":
            given = _AUTO_AT_ONCE * cpus
        most = [pack]
        if given is not None:
            most.append(given // cpus)
        if held := fitting.runs_on_a_node(
            self._chosen(demand.options), demand.options, demand.needs
        ):
            most.append(held)
        return max(1, min(most))

    def longest(self, demand: Demand) -> float | None:
        """Return the most seconds that a job of several such runs is given, by its partition."""
        return fitting.longest(self._chosen(demand.options), demand.seconds or 0.0)

    async def room(self) -> int | None:
        """Return how many more jobs the queue takes, by what is in it now."""
        mine, everyone = await asyncio.gather(self._told(limits.MINE), self._told(limits.ALL))
        left = self.cluster.left(mine=len(mine.split()), everyone=len(everyone.split()))
        known = [one for one in (left, self.options.max_jobs) if one is not None]
        return min(known, default=None)

    def _seconds(self, run: Run, job: JobOptions, factor: float) -> float | None:
        """Return for how long a run may occupy its job; None for what the partition allows."""
        if job.minutes is not None:
            return job.minutes * 60.0
        policy = self.limits(run)
        if policy.timeout is None:
            return None
        return policy.timeout * factor + policy.grace + _MARGIN_SECONDS

    def _with_default(self, job: JobOptions, *, more: bool) -> JobOptions:
        """Return options in which the default of memory is written out, where it has to be.

        Args:
            job: options that leave memory to the partition.
            more: whether a run is to get more than that.
        """
        default = fitting.default_memory(self._chosen(job))
        if default is None:
            return job
        name, mebibytes = default
        packed = self.options.pack != 1 and job.packable and name == "mem"
        changes: dict[str, Any] = {name: mebibytes}
        return replace(job, **changes) if more or packed else job

    def _check_scale(self, run: Run, job: JobOptions, needs: Resources) -> None:
        """Refuse to scale what nobody knows; what depends on parameters may leave some runs out.

        Raises:
            UsageError: says what to give.
        """
        policy, scale = self.limits(run), self.options.retry_scale or {}
        if self.options.per_run is not None or not self.cluster.partitions:
            return
        asked, timed = effective(job), policy.timeout is not None or policy.timeout_factor
        if "time" in scale and asked.minutes is None and not timed:
            raise UsageError(
                "retry_scale holds 'time', but nothing says how much time a run gets; give `time` "
                "or `timeout`, or leave it out of retry_scale"
            )
        known = asked.asks_memory or (
            leaves_memory(job) and fitting.default_memory(self._chosen(job)) is not None
        )
        if "mem" in scale and policy.resources is None and not known:
            raise UsageError(
                "retry_scale holds 'mem', but nothing says how much memory a run gets: there is no "
                "default but a whole node; give `mem`, or memory by `resources`, or leave it out "
                "of retry_scale"
            )

    @property
    def _default_partition(self) -> str | None:
        return os.environ.get("SBATCH_PARTITION") if self.options.login is None else None

    def _chosen(self, job: JobOptions) -> Sequence[limits.Partition]:
        return fitting.chosen(job, self.cluster.partitions, self._default_partition)

    def _check(self, demand: Demand, *, more: bool) -> None:
        """Refuse what sbatch would accept and Slurm never start.

        Args:
            demand: what a run asks for.
            more: whether that is more than at first.

        Raises:
            SubmitError: says what is asked for, and what there is.
        """
        job = request(demand.options, demand.needs, demand.seconds)
        time = "time" if effective(demand.options).time else "the time that follows from timeout"
        why = fitting.why_never(job, self.cluster, self._default_partition, time=time)
        if why is not None:
            raise SubmitError(
                f"it could never start{', with what retry_scale adds' if more else ''}: {why}"
            )

    @property
    def _is_sent(self) -> bool:
        """Whether this process is the job that was sent to drive the sweep in `root`."""
        return self.root is not None and own_place(self.root) is not None

    def _has_jobs(self) -> bool:
        """Whether an earlier driver may have left jobs, which can be collected or cancelled."""
        return self.root is not None and (self.root / JOBS).exists()

    async def _ask_limits(self) -> limits.Limits:
        """Ask the cluster what it allows; what it does not say is not known."""
        commands = (limits.CONFIG, limits.PARTITIONS, limits.DEFAULTS, limits.WHO)
        config, partitions, defaults, who = await asyncio.gather(*map(self._told, commands))
        answers = limits.Answers(config=config, partitions=partitions, defaults=defaults)
        answers.own_memory = self.options.login is None and bool(os.environ.keys() & _SAYS_MEMORY)
        asked = effective(self.options.job)
        if answers.limits(asked).accounting and who.strip():
            answers.associations, answers.qos = await asyncio.gather(
                self._told(limits.associations(who.strip())), self._told(limits.QOS)
            )
        return answers.limits(asked)

    async def _told(self, argv: Sequence[str]) -> str:
        try:
            done = await self._client.call("limits", argv)
        except TransportError:
            return ""
        return done.stdout.decode(errors="replace") if done.code == 0 else ""
