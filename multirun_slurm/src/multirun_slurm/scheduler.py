"""`SlurmScheduler`: what is particular to Slurm, for core's `SchedulerRunner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from multirun_core._runners.scheduler.command import CommandScheduler, Job, JobState, Refusal

from multirun_slurm import parse, refusals
from multirun_slurm.job import JobOptions
from multirun_slurm.reasons import waiting
from multirun_slurm.script import UNREACHABLE, arguments, render
from multirun_slurm.variables import plain

MAX_ARRAY_SIZE = 1001
"""What a cluster has that says nothing else, see MaxArraySize in slurm.conf(5)."""


class SlurmScheduler(CommandScheduler):
    """Slurm 20.11 or newer, by sbatch, squeue, scancel and sacct.

    Attributes:
        array_limit: the cluster's MaxArraySize.
    """

    title: ClassVar[str] = "Slurm"

    def __init__(
        self,
        options: JobOptions | None = None,
        *,
        signal: str | None = None,
        array_limit: int = MAX_ARRAY_SIZE,
        accounting: bool = True,
    ) -> None:
        """Say what jobs ask for.

        Args:
            options: what each run asks for.
            signal: such as "USR1@60": what the script of a job is told before its end.
            array_limit: how many tasks an array may have.
            accounting: whether sacct works here.
        """
        self.options = options or JobOptions()
        self.signal = signal
        self.array_limit = array_limit
        self.accounting = accounting

    def script(self, job: Job) -> str:
        """Return the text of the batch script."""
        return render(job.options or self.options, job, self.signal)

    def submit(self, job: Job, script: str) -> Sequence[str]:
        """Return the command that submits a job.

        What the script's `#SBATCH` lines say is said again: a variable such as SBATCH_PARTITION
        wins against the lines, but not against arguments (sbatch(1), INPUT ENVIRONMENT VARIABLES).
        """
        asked = arguments(job.options or self.options, job, self.signal)
        return plain("sbatch", "--parsable", *asked, script)

    def job_id(self, printed: str) -> str | None:
        """Read the id of the new job."""
        return parse.submitted_id(printed)

    def refusal(self, code: int, printed: str, complained: str) -> Refusal:
        """Say why sbatch failed."""
        return refusals.refusal(code, printed, complained)

    def status(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the command that tells about jobs.

        With at least two ids: of a single one that is gone squeue says that it is invalid, and
        fails as it does where nobody answers. The controller looks at jobs of one's own only.
        """
        known = list(dict.fromkeys(one.partition("_")[0] for one in ids))
        listed = ",".join(known if len(known) > 1 else known * 2)
        return plain(*_SQUEUE, f"--jobs={listed}", "-O", parse.queue_format())

    def states(self, printed: str) -> Mapping[str, JobState]:
        """Read what squeue printed.

        Raises:
            ValueError: it is not what squeue prints.
        """
        rows = parse.parse_queue(printed)
        # Where it cannot launch the task that has the id of the array, it cancels all of it.
        given_up = {row.array for row in rows if row.unlaunched}
        return {row.id: _told(row, given_up=row.array in given_up) for row in rows}

    def find(self, name: str) -> Sequence[str]:
        """Return the command that looks for jobs by their name."""
        return plain(*_SQUEUE, f"--name={name}", "-O", parse.queue_format())

    def found(self, printed: str, name: str) -> Sequence[str]:
        """Read the ids of jobs of that name."""
        rows = parse.parse_queue(printed)
        return list(dict.fromkeys(row.array for row in rows if row.name == name))

    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the command that ends jobs or tasks; ids that are gone do no harm.

        By ids alone: with `--name` as well, scancel 22.05 fails for ids that are gone, and ends all
        pending tasks of an array where one of them is named.
        """
        return plain("scancel", *ids)

    def nudge(self, ids: Sequence[str], number: str) -> Sequence[str]:
        """Return the command that sends a signal to the batch scripts alone."""
        return plain("scancel", "--batch", f"--signal={number}", *ids)

    def account(self, ids: Sequence[str]) -> Sequence[str] | None:
        """Return the command that tells about jobs that have left the queue."""
        if not self.accounting or not ids:  # for an empty list sacct returns all jobs there are
            return None
        fields = ",".join(parse.ACCOUNT_FIELDS)
        return ["sacct", "--noheader", "--parsable2", f"--jobs={','.join(ids)}", "-o", fields]

    def accounted(self, printed: str) -> Mapping[str, JobState]:
        """Read what sacct printed."""
        states: dict[str, JobState] = {}
        for row in parse.parse_account(printed).values():
            if row.phase is not None:
                states[row.id] = JobState(
                    phase=row.phase,
                    word=row.state,
                    reason=parse.end_reason(row.state, "") if row.phase == "ended" else None,
                    message=_ending(row.state, "", row.exit) if row.phase == "ended" else None,
                    host=row.host or None,
                    cpu_seconds=row.cpu_seconds,
                    max_rss_bytes=row.max_rss_bytes,
                    name=row.name,
                )
        return states


_NOT_LAUNCHED = (
    "Slurm says CANCELLED before the job had begun on {0}: it could not be launched there, as "
    "where a prolog fails or slurmd has no directory; `exclude` leaves a node out"
)
_GIVEN_UP = "Slurm says CANCELLED, with all of its array, a task of which could not be launched"
_SQUEUE = ("squeue", "--me", "--noheader", "--array", "--states=all")


def _told(row: parse.QueueRow, *, given_up: bool) -> JobState:
    # What is listed is not gone, whatever a newer Slurm calls it.
    phase = row.phase or "running"
    why = waiting(row.reason) if phase == "waiting" and row.reason else None
    reason = message = None
    if why is not None:
        message = why.text
    elif row.unlaunched:
        reason, message = row.end_reason, _NOT_LAUNCHED.format(row.host)
    elif phase == "ended" and given_up and row.state == "CANCELLED":
        reason, message = "node_fail", _GIVEN_UP
    elif phase == "ended":
        reason, message = row.end_reason, _ending(row.state, row.reason, row.exit)
    return JobState(
        phase=phase,
        word=row.state,
        reason=reason,
        message=message,
        host=row.host or None,
        hopeless=why is not None and why.hopeless,
        doubtful=why is not None and why.doubtful,
        restarts=row.restarts,
        name=row.name,
    )


def _ending(state: str, reason: str, code: tuple[int, int] | None) -> str | None:
    if state == "COMPLETED":
        return None
    if code == (UNREACHABLE, 0):
        return (
            "its node does not see the directory of the sweep, or cannot write there; use a "
            "directory that all nodes share"
        )
    words = f"Slurm says {state}"
    if reason and reason != "NonZeroExitCode":
        words += f" ({reason})"
    return words if code is None or code == (0, 0) else f"{words}, exit {code[0]}:{code[1]}"
