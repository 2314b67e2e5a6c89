"""The options of the Slurm runner, each named as sbatch(1) names it where that has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from multirun_core.errors import UsageError

from multirun_slurm.checks import check_count, check_text, is_over
from multirun_slurm.job import JobOptions

_SIGNAL = re.compile(r"(USR1|USR2)@([1-9]\d{0,4})\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions(JobOptions):
    """All options of the runner: what a run asks for, and how the sweep goes about it.

    Args:
        per_run: from a run's parameters to options of that run, such as
            `lambda p: {"mem": "8G" if p["n"] > 1000 else "1G"}`; any of those above.
        setup: lines of shell before each run's command, such as ["module load gcc"].
        max_jobs: how many jobs may be in the queue at once, pending ones included; by default as
            many as the cluster allows.
        max_running: how many jobs of one array may run at once.
        pack: how many runs share a job, as plain processes, as many at once as it has CPUs for;
            "auto" for as many as make up some minutes, judged by the runs that have ended.
        pack_cpus: CPUs of a job of packed runs; by default as many as one wave of them needs, up
            to a whole node.
        pack_minutes: how long a job of packed runs should take, for pack="auto".
        warm: whether packed runs of Python scripts are forked from an interpreter that each job
            makes warm first, by importing what the script imports.
        preload: the modules to import for that, instead; says warm=True as well.
        poll_interval: seconds between two looks at the queue; "auto" for 2 at first, up to 60.
        infrastructure_retries: how many further attempts a run gets whose node failed, which was
            preempted, or which could not be started; they do not count as `retries`.
        retry_scale: by what a further attempt asks for more: {"mem": 2} after it ran out of
            memory, {"time": 2} after its time was up; of what the options or `resources` say, or
            of the memory that the partition gives by default.
        signal: "USR1@60" or "USR2@60": tell each run that its job ends in so many seconds.
        detach: return when all runs are in the queue; `multirun resume DIR` collects them.
        on_interrupt: what Ctrl-C does to the jobs: "cancel" ends them, "detach" leaves them for
            `multirun resume DIR`.
        driver: where the sweep is driven: "here", or by a small "job" of its own, for login nodes
            that end long processes; the call then returns at once. When that job is told to end, by
            its time limit or scancel, it leaves the other jobs for `multirun resume DIR`.
        attempt_dirs: carry each attempt out in a directory of its own, so that the orphan of an
            earlier one, on a node that was lost, cannot write into it.
        login: a login node of the cluster, as ssh knows it: "cluster" or "me@login.site.org". The
            sweep is driven from here, over SSH, by multirun-ssh: runs are carried there and back.
        transport: how it is reached: "asyncssh", or "openssh" for the system's ssh, which can ask
            for one-time codes.
        ssh_config: the configuration to read in place of ~/.ssh/config.
        known_hosts: the file of host keys to trust in place of those that ssh trusts.
        connect_timeout: seconds that connecting and logging in may take.
        silence_timeout: seconds without a word after which the connection is taken for lost.
        remote_path: where sweeps have their directories there, seen by all nodes; by default below
            the login's cache directory.
        fetch: patterns of the files that come back; by default all that are new or changed.
        keep_remote: whether the cluster keeps its copies at the end.
        python: what `python` in the command is called there.
        command_timeout: seconds that a call of sbatch, squeue, scancel or sacct may take.
        file_grace: seconds for which a run that has left the queue may still leave its record, on
            file systems that show the files of other hosts late.
        timeout: seconds that one attempt may run, kept on the node; None for no limit but `time`.
        retries: how many further attempts a failed run gets.
        retry_delay: seconds before the second attempt, doubled for each further one up to 60.
        env: variables that each run gets.
        grace: seconds between TERM and KILL when a run is ended.
    """

    per_run: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    setup: Sequence[str] = ()
    max_jobs: int | None = None
    max_running: int | None = None
    pack: int | Literal["auto"] = 1
    pack_cpus: int | None = None
    pack_minutes: float = 10.0
    warm: bool = False
    preload: Sequence[str] = ()
    poll_interval: float | Literal["auto"] = "auto"
    infrastructure_retries: int = 2
    retry_scale: Mapping[str, float] | None = None
    signal: str | None = None
    detach: bool = False
    on_interrupt: Literal["cancel", "detach"] = "cancel"
    driver: Literal["here", "job"] = "here"
    attempt_dirs: bool = False
    login: str | None = None
    transport: Literal["asyncssh", "openssh"] = "asyncssh"
    ssh_config: Path | None = None
    known_hosts: Path | Literal["default"] | None = "default"
    connect_timeout: float = 30.0
    silence_timeout: float = 15.0
    remote_path: str | None = None
    fetch: str | Sequence[str] | None = None
    keep_remote: bool = False
    python: str | None = None
    command_timeout: float = 60.0
    file_grace: float = 60.0
    timeout: float | str | None = None
    retries: int = 0
    retry_delay: float = 1.0
    env: Mapping[str, str] | None = None
    grace: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: says which option, its value, and what it may be.
        """
        JobOptions.__post_init__(self)
        for name in ("login", "remote_path", "python"):
            check_text(name, getattr(self, name))
        check_count("max_jobs", self.max_jobs)
        check_count("max_running", self.max_running)
        check_count("pack_cpus", self.pack_cpus)
        self._check_pack()
        self._check_signal()
        self._check_driver()
        for name in ("pack_minutes", "command_timeout", "connect_timeout", "silence_timeout"):
            if not is_over(0, given := getattr(self, name)):
                raise UsageError(f"{name} is {given!r}; it must be over 0, and finite")
        for name in ("file_grace", "infrastructure_retries", "retries", "retry_delay", "grace"):
            if (given := getattr(self, name)) != 0 and not is_over(0, given):
                raise UsageError(f"{name} is {given!r}; it cannot be below 0, nor infinite")
        if not isinstance(self.timeout, str | None) and not is_over(0, self.timeout):
            raise UsageError(
                f"timeout is {self.timeout!r}; it must be seconds over 0, a text such as "
                "'5x median', or None for no limit but time"
            )
        if self.poll_interval != "auto" and not is_over(0, self.poll_interval):
            raise UsageError(
                f"poll_interval is {self.poll_interval!r}; it must be 'auto' or seconds over 0"
            )
        for name, factor in dict(self.retry_scale or {}).items():
            if name not in ("mem", "time") or not is_over(1, factor):
                raise UsageError(
                    f"retry_scale holds {name!r}: {factor!r}; it may hold 'mem' and 'time', each "
                    "with a factor over 1, such as {'mem': 2}"
                )

    @property
    def job(self) -> JobOptions:
        """What each run asks for that says nothing of its own."""
        return JobOptions(**{f.name: getattr(self, f.name) for f in fields(JobOptions)})

    def job_for(self, params: dict[str, Any]) -> JobOptions:
        """Return what a run asks for, by its parameters.

        Raises:
            UsageError: `per_run` returned what makes no sense; says for which parameters.
        """
        if self.per_run is None:
            return self.job
        try:
            return self.job.over(self.per_run(params))
        except Exception as error:
            why = (
                str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
            )
            raise UsageError(f"per_run({params!r}): {why}") from error

    def _check_pack(self) -> None:
        if self.pack == "auto" or self.pack == 1:
            return
        check_count("pack", self.pack)
        if not self.job.packable:
            raise UsageError(
                f"pack is {self.pack}, but runs with several nodes or tasks, whole nodes, GPUs or "
                "licenses of their own cannot share a job; leave pack out"
            )

    def _check_driver(self) -> None:
        if self.detach and self.driver == "job":
            raise UsageError("detach and driver='job' are both given; either lets you go on")

    def _check_signal(self) -> None:
        if self.signal is not None and not _SIGNAL.match(self.signal):
            raise UsageError(
                f"signal is {self.signal!r}; write USR1 or USR2, @ and the seconds before the end: "
                "'USR1@60'"
            )
