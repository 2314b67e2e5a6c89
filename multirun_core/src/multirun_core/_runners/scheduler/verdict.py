"""How a run ended, from what the wrapper wrote and what the queue system says; pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from multirun_core._model.run import ExitStatus

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.command import JobState
    from multirun_core._transport.wrapper import Event

LAST_WORD_SECONDS = 30.0
"""How long a record that does not explain itself waits for what the queue system says.

Time in which that does not answer does not count: a node that is shut down tells wrappers to end
as somebody does who cancels a job.
"""

_SIGNALS = frozenset({-9, -15})
_PUT_BACK = "its job was put back in the queue, to be started anew"
_NO_FAULT = frozenset({"lost", "node_fail", "preempted", "launch"})


def by_record(
    record: Event,
    state: JobState | None,
    *,
    over: bool,
    restarted: bool,
    asked: bool,
    packed: bool,
    waited: float,
) -> ExitStatus | None:
    """Return the verdict on a run that left a record; None while more is to be known.

    Args:
        record: what its wrapper wrote.
        state: what the queue system last said of its job.
        over: whether the job has ended, as far as that is known.
        restarted: whether the queue system has put it back, to start it anew.
        asked: whether the end was asked for here.
        packed: whether other runs share the job.
        waited: seconds since the record was seen, for which the queue system has answered.
    """
    end = record.exit_status()
    if end.ok:
        if state is not None and state.phase == "ended" and state.reason is not None:
            return replace(end, message=although(state))
        return end
    if not unexplained(record, asked=asked, packed=packed):
        return end
    if restarted:
        return replace(end, reason="preempted", message=_PUT_BACK)
    if not over and waited < LAST_WORD_SECONDS:
        return None
    if state is not None and state.phase == "ended" and state.reason not in (None, "launch"):
        return replace(
            end, reason=state.reason, message=state.message or f"its job is {state.word}"
        )
    return end


def although(state: JobState) -> str:
    """Return what is said where the record of a run says 0, and the queue system something else."""
    return f"exit status 0, although its job is {state.word}"


def unexplained(record: Event, *, asked: bool, packed: bool) -> bool:
    """Whether only the queue system knows why a run ended as its record says.

    Its wrapper was told to end by somebody else, or its program was killed.
    """
    end = record.exit_status()
    if end.reason == "cancelled":
        return not asked
    return end.code in _SIGNALS and end.reason is None and not packed


def without_record(
    state: JobState | None, *, started: bool, packed: bool, restarted: bool
) -> ExitStatus:
    """Return the verdict on a run whose job is over and that has left no record.

    Args:
        state: what the queue system last said of its job; None where it knows it no more.
        started: whether the run had begun.
        packed: whether other runs share the job.
        restarted: whether the queue system has started the job anew.
    """
    reason = None if state is None else state.reason
    message = None if state is None else state.message
    if reason == "launch" and started:
        reason = None  # that is also said of a script that was killed
    if restarted and reason in (None, "launch"):
        reason, message = "node_fail", _PUT_BACK
    if packed and reason in ("out_of_memory", "timeout"):
        word = "memory" if reason == "out_of_memory" else "time"
        return ExitStatus(
            code=None,
            reason="lost",
            message=f"the job that it shared with other runs had not enough {word}; "
            "it is tried again alone",
        )
    if reason is None:
        reason = "lost" if started else "launch"
        if message is None:
            said = (
                "the queue knows its job no more" if state is None else f"its job is {state.word}"
            )
            message = f"it left no record; {said}"
    return ExitStatus(code=None, reason=reason, message=message)


def no_fault(end: ExitStatus) -> bool:
    """Whether it was not the run that failed, but what carried it."""
    return end.cause in _NO_FAULT
