"""`CommandScheduler`: what is particular to a queue system, as pure functions on text.

All that is generic is in `SchedulerRunner`: it runs the commands that are built here, through a
transport, with time limits, and gives what they print to the functions here. None of them does
any input or output, so each is tested on strings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from multirun_core._model.resources import Resources

Phase: TypeAlias = Literal["waiting", "running", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One submission: a job, or an array of as many as it has tasks.

    Attributes:
        name: the job's name, by which it is found again; letters, digits and `-`. No other
            submission has it.
        directory: the absolute path of its directory where jobs run; it is there already, and
            may have any name.
        tasks: how many tasks, numbered from 0; None for a plain job that is no array.
        body: lines of shell text that carry out a task. Before them the script must set
            `mr_task` to the number of the task (0 in a plain job), `mr_restart` to how often the
            queue system has started it anew (0 at first), and may set `MULTIRUN_NODE` to the
            name of the node.
        needs: CPUs, memory and GPUs of one task; None in it for what the queue system gives.
        seconds: for how long a task may run; None for what the queue system allows.
        packed: whether a task carries out several runs.
        options: what `SchedulerRunner.demand` says besides, for this scheduler alone.
        throttle: how many tasks of the array may run at once; None for no limit.
    """

    name: str
    directory: str
    tasks: int | None
    body: str
    needs: Resources = field(default_factory=Resources)
    seconds: float | None = None
    packed: bool = False
    options: Any = None
    throttle: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What a queue system says of one job or task of an array: a hint, never a verdict.

    Attributes:
        phase: "waiting" in the queue; "running", from its start until nothing of it is left;
            "ended".
        word: what the queue system calls it, such as "COMPLETING".
        name: the job's name; None where that is not told. One with another name than ours is
            another job: a queue system that has lost its memory gives ids again.
        reason: of one that has ended, the `Run.reason` that follows where a run of it left no
            record: "out_of_memory", "timeout", "node_fail", "preempted", "cancelled", "launch";
            None where the queue system knows nothing special.
        message: why it waits, or why it ended, in one line of plain words; None where there is no
            need.
        host: the node it runs or ran on.
        hopeless: of one that waits: whether it cannot ever start as things are.
        doubtful: of one that waits: whether it may do so for ever, as far as is known.
        restarts: how often the queue system has started it anew.
        cpu_seconds: CPU time of all of it, where accounts tell.
        max_rss_bytes: the most memory that it had, where accounts tell.
    """

    phase: Phase
    word: str
    name: str | None = None
    reason: str | None = None
    message: str | None = None
    host: str | None = None
    hopeless: bool = False
    doubtful: bool = False
    restarts: int = 0
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a submission was not accepted.

    Attributes:
        message: one line for people.
        transient: whether the same submission may be accepted later.
        crowded: whether it is for the number of jobs that are out already.
        unknown: whether the job may have been accepted all the same.
        oversized: whether its array has too many tasks: smaller ones are submitted from then on.
    """

    message: str
    transient: bool = False
    crowded: bool = False
    unknown: bool = False
    oversized: bool = False


class CommandScheduler(ABC):
    """A queue system that is used by commands.

    Attributes:
        title: its name, for people.
        array_limit: how many tasks an array may have at most; 1 where there are no arrays.
    """

    title: ClassVar[str]
    array_limit: int = 1

    @abstractmethod
    def script(self, job: Job) -> str:
        """Return the text of the script that is submitted; it is written to a file."""

    @abstractmethod
    def submit(self, job: Job, script: str) -> Sequence[str]:
        """Return the command that submits a job.

        Args:
            job: the job.
            script: the absolute path of its script.
        """

    @abstractmethod
    def job_id(self, printed: str) -> str | None:
        """Read the id of the new job from what the submit command printed.

        Returns:
            None where there is none, or where what is there may have been cut off: the beginning
            of an id can be the id of another job.
        """

    @abstractmethod
    def refusal(self, code: int, printed: str, complained: str) -> Refusal:
        """Say why a submit command failed, or exited with 0 and printed no id.

        Args:
            code: its exit status; negative for a signal.
            printed: its standard output.
            complained: its standard error.

        Returns:
            `unknown` is true of an exit status of 0 or below, after which there may be a job.
        """

    @abstractmethod
    def status(self, ids: Sequence[str]) -> Sequence[str]:
        """Return one command that tells about all of these jobs.

        It must exit with 0 also where the queue system knows some of them, or all, no more: what
        exits otherwise has told nothing.
        """

    @abstractmethod
    def states(self, printed: str) -> Mapping[str, JobState]:
        """Read what the status command printed: the state of each job or task it tells about.

        Returns:
            By job id, or for a task of an array by what `task_id` returns. States of other jobs
            do no harm.

        Raises:
            ValueError: it is not what that command prints, or it was cut off; nothing of it is
                believed.
        """

    @abstractmethod
    def find(self, name: str) -> Sequence[str]:
        """Return the command that looks for jobs by their name.

        Where `states` can read what it prints as well, a job that goes on by it is not given up,
        even if the status command knows it no more.
        """

    @abstractmethod
    def found(self, printed: str, name: str) -> Sequence[str]:
        """Read the ids of jobs of that name, and of no longer one; each array once.

        Raises:
            ValueError: it is not what that command prints, or it was cut off.
        """

    @abstractmethod
    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the command that ends jobs, or tasks of arrays, waiting or running."""

    def nudge(self, ids: Sequence[str], number: str) -> Sequence[str] | None:
        """Return the command that sends a signal to the script of running jobs, and to it alone.

        By it a single run of several in a job is ended, and a run gets its own grace. None, the
        default, where there is no such command: then jobs are ended as a whole.

        Args:
            ids: the jobs, or tasks of arrays.
            number: "TERM" or "HUP".
        """
        return None

    def task_id(self, job_id: str, task: int) -> str:
        """Return what a task of an array is called."""
        return f"{job_id}_{task}"

    def account(self, ids: Sequence[str]) -> Sequence[str] | None:
        """Return a command that tells about jobs that have left the queue; None, where none.

        It completes a reason, and tells memory and CPU time; where it fails, nothing else is
        lacking.
        """
        return None

    def accounted(self, printed: str) -> Mapping[str, JobState]:
        """Read what the account command printed, as `states` does."""
        return {}
