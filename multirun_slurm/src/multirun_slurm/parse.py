"""What Slurm's commands print, read: pure functions on text, no input or output.

What is not understood is left out or refused, never guessed: a state that is not known here is
no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["waiting", "running", "ended"]

QUEUE_FIELDS = ("JobArrayID", "State", "Reason", "RestartCnt", "exit_code", "BatchHost", "Name")
"""The fields of squeue that `parse_queue` reads; the name, which may hold anything, comes last."""

ACCOUNT_FIELDS = ("JobID", "State", "ExitCode", "NodeList", "TotalCPU", "MaxRSS", "JobName")
"""The fields of sacct that `parse_account` reads; what may hold any character comes last."""

TOLD_TO_END = 79
"""Exit status of the script of a job that was told to end: by core's `job.sh`."""

# squeue(1) and sacct(1), JOB STATE CODES, of versions 20.11 to 25.05.
PHASES: Mapping[str, Phase] = {
    **dict.fromkeys(
        ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
         "CONFIGURING", "POWER_UP_NODE", "EXPEDITING"), "waiting"),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING",
         "UPDATE_DB"), "running"),
    **dict.fromkeys(
        ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL",
         "DEADLINE", "OUT_OF_MEMORY", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL"), "ended"),
}  # fmt: skip

_REASONS = {
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "OUT_OF_MEMORY": "out_of_memory",
    "NODE_FAIL": "node_fail",
    "BOOT_FAIL": "node_fail",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "LAUNCH_FAILED": "launch",
    "RECONFIG_FAIL": "launch",
}
_JOB = re.compile(r"[1-9]\d{0,18}\Z", re.ASCII)
_TASK = re.compile(r"([1-9]\d{0,18})_(\d{1,9})\Z", re.ASCII)
_TASKS = re.compile(r"([1-9]\d{0,18})_\[([\d,:-]+)(?:%\d+)?\]\Z", re.ASCII)
_PRINTED_ID = re.compile(r"(?:Submitted batch job )?([1-9]\d{0,18})(?:;\S+| on cluster \S+)?\Z")
_STEP = re.compile(r"(\d+(?:_\d+)?)(?:\.(\S+))?\Z", re.ASCII)
_CPU = re.compile(r"(?:(?:(\d{1,9})-)?(\d{1,9}):)?(\d{1,9}):(\d{1,9}(?:\.\d{1,9})?)\Z", re.ASCII)
_RSS = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)([KMGTP]?)\Z", re.ASCII)
_MOST_TASKS = 1 << 20


def submitted_id(printed: str) -> str | None:
    """Return the id of a new job from what sbatch printed; None where it printed none.

    It knows `--parsable` and the sentence, each with or without a cluster. Lines of a site's own
    around it do no harm. A line without its end was cut off, or is still being written, and may
    be the beginning of another job's id.
    """
    *lines, _ = printed.split("\n")
    for line in reversed(lines):
        if match := _PRINTED_ID.match(line.strip()):
            return match[1]
    return None


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What squeue says of one job or array task.

    Attributes:
        id: `12`, or `12_3` for a task.
        state: such as "RUNNING".
        reason: Slurm's word for why it waits or how it ended; "" where it says nothing.
        restarts: how often Slurm has started it anew.
        exit: exit status and signal; None where there are none.
        host: the node of the batch script; "" before there is one.
        name: the job's name.
    """

    id: str
    state: str
    reason: str
    restarts: int
    exit: tuple[int, int] | None
    host: str
    name: str

    @property
    def phase(self) -> Phase | None:
        """Where it is in its life; None for a state that is not known here."""
        return PHASES.get(self.state)

    @property
    def unlaunched(self) -> bool:
        """Whether it was given a node that could not launch it: its prolog failed, or slurmd did.

        A job that may not be queued again then ends as if cancelled, but with no signal; its exit
        status is 0, or, where the controller was told of the prolog last, that of the prolog.
        """
        told = self.exit is None or self.exit[1] != 0 or self.exit == (TOLD_TO_END, 0)
        return self.state == "CANCELLED" and bool(self.host) and not told

    @property
    def end_reason(self) -> str | None:
        """The `Run.reason` that its end has, for a run that left no record."""
        return "launch" if self.unlaunched else end_reason(self.state, self.reason)

    @property
    def array(self) -> str:
        """The id of the job or array as a whole."""
        return self.id.partition("_")[0]


def queue_format() -> str:
    """Return the argument of squeue's `--Format` that `parse_queue` reads."""
    return ",".join(f"{field}:|" for field in QUEUE_FIELDS)


def parse_queue(printed: str) -> list[QueueRow]:
    """Read what `squeue -h -O queue_format()` printed.

    A pending array that is one row, `12_[3-5%2]`, becomes a row for each of its tasks. Rows of
    other jobs whose names hold newlines are passed over.

    Raises:
        ValueError: the output was cut off, or no row of it is one.
    """
    if printed and not printed.endswith("\n"):
        raise ValueError(f"squeue was cut off: {printed[-80:]!r}")
    rows: list[QueueRow] = []
    for line in printed.split("\n"):
        rows += _rows(line)
    if printed.strip() and not rows:
        raise ValueError(f"squeue printed no jobs: {printed[:200]!r}")
    return rows


def _rows(line: str) -> Iterator[QueueRow]:
    fields = line.split("|", len(QUEUE_FIELDS) - 1)
    if len(fields) < len(QUEUE_FIELDS):
        return
    # One line each, for people.
    ids, state, reason, restarts, exit_code, host = (" ".join(f.split()) for f in fields[:-1])
    if not re.fullmatch(r"[A-Z_]+", state):
        return
    for one in task_ids(ids):
        yield QueueRow(
            one,
            state,
            "" if reason in ("None", "(null)") else reason,
            int(restarts) if restarts.isdecimal() else 0,
            _exit(exit_code),
            "" if host in ("n/a", "N/A", "(null)") else host,
            fields[-1].removesuffix("|"),
        )


def task_ids(text: str) -> list[str]:
    """Return what `12`, `12_3` or `12_[3-5,9%2]` stands for; nothing for any other text."""
    if _JOB.match(text) or _TASK.match(text):
        return [text]
    match = _TASKS.match(text)
    if match is None:
        return []
    numbers: list[int] = []
    for part in match[2].split(","):
        span = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::([1-9]\d{0,8}))?)?", part)
        if span is None:
            return []
        first, last, step = int(span[1]), int(span[2] or span[1]), int(span[3] or 1)
        if len(numbers) + (last - first) // step > _MOST_TASKS:
            return []
        numbers += range(first, last + 1, step)
    return [f"{match[1]}_{number}" for number in numbers]


def _exit(text: str) -> tuple[int, int] | None:
    """Read an exit status: `74:0`, or what wait(2) returns, as squeue of 22.05 has it."""
    if match := re.fullmatch(r"(\d{1,5}):(\d{1,5})", text, re.ASCII):
        return int(match[1]), int(match[2])
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return int(text) >> 8 & 0xFF, int(text) & 0x7F
    return None


def end_reason(state: str, reason: str) -> str | None:
    """Return the `Run.reason` that an end has by Slurm, for a run that left no record."""
    if state == "FAILED" and reason in ("JobLaunchFailure", "launch_failed_requeued_held"):
        return "launch"
    return _REASONS.get(state)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """What sacct says of one job or array task, its steps included.

    Attributes:
        id: `12`, or `12_3` for a task.
        state: such as "CANCELLED", without by whom.
        exit: exit status and signal; None where there are none.
        host: its first node; "" where there was none.
        cpu_seconds: CPU time of all of it; None where unknown.
        max_rss_bytes: the largest resident set among its steps; None where unknown.
        name: the job's name.
    """

    id: str
    state: str
    exit: tuple[int, int] | None
    host: str
    cpu_seconds: float | None
    max_rss_bytes: int | None
    name: str

    @property
    def phase(self) -> Phase | None:
        """Where it is in its life; None for a state that is not known here."""
        return PHASES.get(self.state)


def parse_account(printed: str) -> dict[str, AccountRow]:
    """Read what `sacct -nP -o ACCOUNT_FIELDS` printed; the last row of a job that has several.

    A line that is none, such as a last one that was cut off, is passed over: all of it is but a
    hint.
    """
    found: dict[str, AccountRow] = {}
    lines = printed.splitlines(keepends=True)
    for line in lines:
        fields = line[:-1].split("|", len(ACCOUNT_FIELDS) - 1)
        if not line.endswith("\n") or len(fields) != len(ACCOUNT_FIELDS):
            continue
        ids, state, exit_code, nodes, cpu, rss, name = (field.strip() for field in fields)
        match = _STEP.match(ids)
        if match is None or not state:
            continue
        if match[2] is None:
            found[ids] = AccountRow(
                ids,
                state.split()[0],
                _exit(exit_code),
                "" if nodes.startswith(("None", "(null)")) else first_node(nodes),
                cpu_seconds(cpu),
                rss_bytes(rss),
                name,
            )
        elif (job := found.get(match[1])) is not None:
            found[match[1]] = _with_step(job, state, rss_bytes(rss))
    return found


def _with_step(job: AccountRow, state: str, rss: int | None) -> AccountRow:
    # A step that ran out of memory inside of a job that went on is the reason for what followed.
    worse = state == "OUT_OF_MEMORY" and job.state == "FAILED"
    return AccountRow(
        job.id,
        "OUT_OF_MEMORY" if worse else job.state,
        job.exit,
        job.host,
        job.cpu_seconds,
        max((one for one in (job.max_rss_bytes, rss) if one is not None), default=None),
        job.name,
    )


def first_node(nodes: str) -> str:
    """Return the first of a list of nodes: `n3` of `n[3-5,9]`, `c1-07` of `c1-[07,12]`."""
    match = re.match(r"([^\[,]*)(?:\[(\w*)[^\]]*\]([^\[,]*))?", nodes)
    return "" if match is None else match[1] + (match[2] or "") + (match[3] or "")


def cpu_seconds(text: str) -> float | None:
    """Read a CPU time: `00:01.234`, `01:02:03`, `1-02:03:04`."""
    match = _CPU.match(text)
    if match is None:
        return None
    days, hours, minutes, seconds = match.groups()
    whole = int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes) * 60
    return round(whole + float(seconds), 3)


def rss_bytes(text: str) -> int | None:
    """Read a size of sacct's: `1234K`, `1.50G`; None for 0, which means that nobody measured."""
    match = _RSS.match(text)
    if match is None:
        return None
    factor = 1024 ** ("KMGTP".index(match[2]) + 1) if match[2] else 1
    return round(float(match[1]) * factor) or None


def parse_config(printed: str) -> Mapping[str, str]:
    """Read what `scontrol show config` printed: values by their names."""
    pairs = (line.partition(" = ") for line in printed.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def parse_records(printed: str) -> list[Mapping[str, str]]:
    """Read what `scontrol -o show` printed: a line a record, `Name=value` between spaces.

    Values that hold spaces are cut off at the first one.
    """
    records = (
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in printed.splitlines()
    )
    return [record for record in records if record]


def parse_table(printed: str, columns: Sequence[str]) -> list[Mapping[str, str]]:
    """Read lines with `|` between their columns; others are passed over."""
    rows = (line.split("|") for line in printed.splitlines())
    return [
        dict(zip(columns, (cell.strip() for cell in row), strict=True))
        for row in rows
        if len(row) == len(columns)
    ]
