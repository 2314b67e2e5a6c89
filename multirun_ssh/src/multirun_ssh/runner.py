"""`SSHRunner`: runs on a pool of hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from multirun_core._runners.warmth import Warmth
from multirun_core._staging.elsewhere import command_of, sweep_name
from multirun_core._staging.mirror import Stores
from multirun_core.errors import BackendError, RunnerOptionError, SubmitError

from multirun_core import ExitStatus, Run, TaskRunner
from multirun_ssh.hosts import Host, find_hosts
from multirun_ssh.job import Job, NotStartedError
from multirun_ssh.leftovers import end_there
from multirun_ssh.options import Connecting
from multirun_ssh.ordering import order_job
from multirun_ssh.overseeing import note_begun, see_through
from multirun_ssh.pool import Pool
from multirun_ssh.state import Settings
from multirun_ssh.station import Station

if TYPE_CHECKING:
    from multirun_core._transport.base import Transport

_AGAIN = 2.0


class SSHRunner(TaskRunner):
    """Carries runs out on hosts that are reached by SSH.

    Each attempt of a run has a directory of its own on its host. Runs are detached: they outlive
    a lost connection, and this process too; a later driver finds them again.
    """

    enforces_timeout: ClassVar[bool] = True
    reports_start: ClassVar[bool] = True

    def __init__(
        self,
        *,
        hosts: str | Sequence[str | Mapping[str, Any]] = (),
        hosts_file: Path | None = None,
        slots: int | Literal["auto"] = "auto",
        remote_path: str | None = None,
        shared_filesystem: bool = False,
        fetch: Sequence[str] | None = None,
        keep_remote: bool = False,
        python: str | None = None,
        setup: str | None = None,
        host_timeout: float = 300.0,
        on_driver_lost: Literal["continue", "stop"] = "continue",
        transport: Literal["asyncssh", "openssh"] = "asyncssh",
        ssh_config: Path | None = None,
        known_hosts: Path | Literal["default"] | None = "default",
        connect_timeout: float = 30.0,
        silence_timeout: float = 15.0,
        sessions: int = 4,
        warm: bool = False,
        preload: Sequence[str] = (),
        max_parallel: int | None = None,
        timeout: float | str | None = None,
        retries: int = 0,
        retry_delay: float = 1.0,
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
        infrastructure_retries: int = 10,
    ) -> None:
        """Make a runner; nothing is connected yet.

        Args:
            hosts: the hosts, such as "node1", "node2:8" (8 slots), "me@gpu:2222" (a port), or
                "node[1-8]"; "@NAME" is a group of `hosts_file`.
            hosts_file: a file with a host a line; all of them where `hosts` names none.
            slots: how many runs go on at once on a host that does not say so itself; "auto" for
                one for each of its CPUs.
            remote_path: where sweeps have their directories on the hosts; by default below the
                login's cache directory.
            shared_filesystem: whether the hosts see the sweep's directory at the same path, so
                that nothing is copied.
            fetch: patterns of the files that come back; by default all that are new or changed.
            keep_remote: whether the hosts keep their copies at the end.
            python: what `python` in the command is called on the hosts.
            setup: shell text that runs before each command there, such as "module load gcc".
            host_timeout: seconds after which the runs of a host that cannot be reached go to
                others.
            on_driver_lost: whether runs go on, or end themselves, where this process is gone.
            transport: "asyncssh", or "openssh" for the system's ssh, which can ask for one-time
                codes.
            ssh_config: the configuration to read in place of ~/.ssh/config.
            known_hosts: the file of host keys to trust in place of those that ssh trusts; none
                trusts whoever answers, and warns.
            connect_timeout: seconds that connecting and logging in may take.
            silence_timeout: seconds without a word from a host after which its connection is
                taken for lost.
            sessions: how many commands at once a connection is used for; sshd's MaxSessions is
                respected besides.
            warm: whether runs that are a Python script or module are forked, on each host, from an
                interpreter that has imported what the script imports.
            preload: the modules to import for that, instead; says warm=True as well.
            max_parallel: how many runs go on at once on all hosts together; None for as many as
                they have slots.
            timeout: seconds that one attempt may run; "5x median" for so many times the median of
                the runs that succeeded, once there are 5; None for no limit. Hosts keep it by
                themselves.
            retries: how many further attempts a failed run gets.
            retry_delay: seconds before the second attempt, doubled for each further one up to 60.
            env: variables that each run gets, on top of those of a login there.
            grace: seconds between TERM and KILL when a run is ended.
            infrastructure_retries: how many further attempts a run gets whose host was lost.
        """
        super().__init__(
            max_parallel=max_parallel,
            timeout=timeout,
            retries=retries,
            retry_delay=retry_delay,
            env=env,
            grace=grace,
            infrastructure_retries=infrastructure_retries,
        )
        if not host_timeout > 0:
            raise RunnerOptionError(f"host_timeout is {host_timeout}; it must be over 0 s")
        if on_driver_lost not in ("continue", "stop"):
            raise RunnerOptionError(
                f"on_driver_lost is {on_driver_lost!r}; it must be 'continue' or 'stop'"
            )
        if sessions < 2:
            raise RunnerOptionError(
                f"sessions is {sessions}; a host needs two, since one follows its runs all the time"
            )
        self.hosts = find_hosts(hosts, hosts_file)
        self._slots_each = slots
        self._python = python
        self._settings = Settings(
            place=remote_path or "",
            shared=shared_filesystem,
            fetch=None if fetch is None else [fetch] if isinstance(fetch, str) else list(fetch),
            keep=keep_remote,
            host_timeout=host_timeout,
            setup=(setup,) if setup else (),
            stop=on_driver_lost == "stop",
            grace=grace,
            warmth=Warmth(preload) if warm or preload else None,
        )
        self.connecting = Connecting(
            transport=transport,
            ssh_config=ssh_config,
            known_hosts=known_hosts,
            connect_timeout=connect_timeout,
            silence_timeout=silence_timeout,
            sessions=sessions,
        )
        self._pool: Pool | None = None
        self._out: dict[Run, Job] = {}
        self._unneeded: set[Run] = set()
        self._add: Callable[[Host, Transport, int | None], Station]

    # What `TaskRunner` asks for.

    async def open(self) -> None:
        """Connect to the hosts; the first one that can be used will do.

        Raises:
            BackendError: none can be used; says why of each.
        """
        pool = self._pool = Pool(self._settings.host_timeout)
        settings = replace(self._settings, name=sweep_name(self.root))
        stores = Stores()

        def station(host: Host, transport: Transport, slots: int | None) -> Station:
            return Station(str(host), slots, transport, settings, stores, pool.serve)

        for host, transport in self.transports(self.hosts).items():
            slots = self._slots_each if host.slots is None else host.slots
            number = slots if isinstance(slots, int) else None
            pool.stations.append(station(host, transport, number))
        self._add = station
        await pool.open()

    async def close(self) -> None:
        """Let go of the hosts; what is left there of runs that have ended is removed."""
        if self._pool is not None:
            try:
                # Where it cannot go on, what is there is for the next driver, which may be at work.
                await self._pool.close(leave=not self.letting_go)
            finally:
                self._pool = None

    @property
    def ahead(self) -> int:
        """How many runs a sweep may add at once."""
        stations = self._pool.stations if self._pool is not None else []
        return 2 * min(self.max_parallel or 1000, sum(one.slots or 8 for one in stations)) + 128

    def drop(self, run: Run) -> None:
        """Cancel a run unless it was sent to its host, where it may have begun."""
        if run.status != "pending":
            return
        job = self._out.get(run)
        if job is not None and job.may_have_begun:
            self._unneeded.add(run)
        else:
            super().drop(run)

    def hurry(self) -> None:
        """Kill what is being ended, and wait for no host for long."""
        for station in self._pool.stations if self._pool is not None else ():
            station.hurry()

    async def execute(self, run: Run) -> ExitStatus:
        """Carry out one attempt of a run on a host that has a slot free.

        Raises:
            SubmitError: no host has the program.
            BackendError: no host can be used.
        """
        pool, returned = await self._ready_pool(), False
        while True:
            station = await self._place(run, pool)
            try:
                job = order_job(run, station, self.limits(run), self._python)
                job.stays = returned  # once is enough: nobody else may have its program
                await self.keep_handle(run, job.handle())
            except BaseException:
                pool.give_back(station)
                raise
            self._out[run] = job
            try:
                end = await see_through(self, station, job)
            except NotStartedError:
                if run in self._unneeded:
                    raise asyncio.CancelledError from None
                returned = returned or job in pool.returning
                continue
            finally:
                del self._out[run]
                pool.returning.discard(job)
            if end is None:
                end = ExitStatus(code=None, reason="lost", message="it was never begun")
            if end.cause == "lost":
                note_begun(self, run)  # for all that is known, it may have been
            return end

    async def reattach(self, run: Run) -> ExitStatus | None:
        """Find a run again on its host; see `TaskRunner.reattach`.

        Raises:
            BackendError: no host can be used, or it was another runner that had it.
        """
        pool = await self._ready_pool()
        job = self._adopt(run)
        station = pool.station(job.host)
        if station is None:
            station = self._guest(job.host, pool)
        station.busy += 1
        self._out[run] = job
        try:
            end = await see_through(self, station, job)
        finally:
            del self._out[run]
        if end is None and run in self._unneeded:
            raise asyncio.CancelledError
        return end

    async def end_left(self, runs: Sequence[Run]) -> None:
        """End what an earlier driver left, those of a host together; see `TaskRunner.end_left`.

        Raises:
            BackendError: some may go on, since a host cannot be reached, or cannot end them; or it
                was another runner that had a run, so that nobody knows.
        """
        pool = await self._ready_pool()
        by_host: dict[Station, list[Job]] = {}
        for job in [self._adopt(run) for run in runs]:
            station = pool.station(job.host) or self._guest(job.host, pool)
            by_host.setdefault(station, []).append(job)
        ending = (end_there(station, jobs) for station, jobs in by_host.items())
        if left := [one for one in await asyncio.gather(*ending) if one]:
            self.not_ended.update(job.run for jobs in left for job in jobs)
            told = (
                f"{len(jobs)} run(s) may go on on {next(iter(jobs)).host}: "
                + "; ".join(sorted(set(jobs.values())))
                for jobs in left
            )
            raise BackendError(". ".join(told))

    # How.

    def transports(self, hosts: Iterable[Host]) -> Mapping[Host, Transport]:
        """Return the ways to hosts; nothing is connected yet."""
        from multirun_ssh.transport import open_pool

        return open_pool(hosts, self.connecting)

    def _adopt(self, run: Run) -> Job:
        try:
            return Job.adopt(run, run.handle, self.limits(run).grace)
        except ValueError as error:  # it is no proof of anything
            raise BackendError(
                f"run {run.index} may be alive where another runner had it: {error}. Resume the "
                "sweep with that runner, or end the run there with multirun cancel first"
            ) from error

    def _guest(self, name: str, pool: Pool) -> Station:
        """Return a host that only runs of an earlier driver are on."""
        ((host, transport),) = self.transports(find_hosts([name])).items()
        station = self._add(host, transport, 0)
        pool.stations.append(station)
        station.open()
        return station

    async def _ready_pool(self) -> Pool:
        await self.ready()
        assert self._pool is not None  # noqa: S101 - open() leaves one
        return self._pool

    async def _place(self, run: Run, pool: Pool) -> Station:
        """Wait for a slot on a host that has the run's program."""
        lacking: dict[Station, str] = {}
        env = {**run.environment, **self.limits(run).env}
        while True:
            if lacking and all(one in lacking for one in pool.hosts if one.may_come()):
                raise SubmitError("; ".join(lacking.values()))
            try:
                async with asyncio.timeout(_AGAIN if lacking else None):
                    station = await pool.take(lacking)
            except TimeoutError:
                continue  # hosts that might have it may be given up meanwhile
            try:
                lack = await station.has(command_of(run, self._python)[0], env)
            except BaseException:
                pool.give_back(station)
                raise
            if lack is None:
                return station
            pool.give_back(station)
            lacking[station] = lack
