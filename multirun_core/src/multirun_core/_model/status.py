"""The five statuses of a run, which may follow which, and counts of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from multirun_core.errors import InvalidTransitionError

RunStatus: TypeAlias = Literal["skipped", "pending", "running", "success", "failure"]

STATUSES: tuple[RunStatus, ...] = ("skipped", "pending", "running", "success", "failure")
TERMINAL: frozenset[RunStatus] = frozenset({"skipped", "success", "failure"})

# What may follow within one driver. `running -> pending` is a further attempt (a retry, a lost
# host, a requeue). A new driver builds its runs anew from the journal and may start all but the
# succeeded ones from `pending` again.
_MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    "pending": frozenset({"running", "skipped", "failure"}),
    "running": frozenset({"success", "failure", "pending"}),
    "skipped": frozenset(),
    "success": frozenset(),
    "failure": frozenset(),
}


def check_move(old: RunStatus, new: RunStatus) -> None:
    """Raise `InvalidTransitionError` unless `new` may follow `old`."""
    moves = _MOVES.get(old, frozenset())
    if new not in moves:
        allowed = ", ".join(sorted(moves)) or "nothing: it is final"
        raise InvalidTransitionError(
            f"a run cannot go from {old!r} to {new!r}; what may follow {old!r}: {allowed}"
        )


@dataclass(slots=True)
class RunStatistics:
    """How many runs have which status.

    Attributes:
        skipped_count: runs with "skipped" status.
        pending_count: runs with "pending" status.
        running_count: runs with "running" status.
        success_count: runs with "success" status.
        failure_count: runs with "failure" status.
        complete_count: runs with any terminal status: skipped, success or failure.
        total_count: all runs.
    """

    skipped_count: int = 0
    pending_count: int = 0
    running_count: int = 0
    success_count: int = 0
    failure_count: int = 0
    complete_count: int = 0
    total_count: int = 0

    @classmethod
    def of(cls, counts: dict[RunStatus, int]) -> RunStatistics:
        """Build the statistics from a count of each status; absent ones count as zero."""
        return cls(
            **{f"{status}_count": counts.get(status, 0) for status in STATUSES},
            complete_count=sum(counts.get(status, 0) for status in TERMINAL),
            total_count=sum(counts.values()),
        )
