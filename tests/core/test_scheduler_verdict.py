"""How a run of a queue system ended, by its record and by what the queue says; pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from multirun_core._runners.scheduler.command import JobState
from multirun_core._runners.scheduler.silence import Silence
from multirun_core._runners.scheduler.verdict import (
    LAST_WORD_SECONDS,
    by_record,
    no_fault,
    unexplained,
    without_record,
)
from multirun_core._transport.wrapper import Event

RUNNING = JobState(phase="running", word="RUNNING")
WAITING = JobState(phase="waiting", word="WAITING")
ENDED = JobState(phase="ended", word="COMPLETED")


def state(reason: str | None, message: str | None = None) -> JobState:
    word = "FAILED" if reason is None else reason.upper()
    return JobState(phase="ended", word=word, reason=reason, message=message)


def record(code: int | None, reason: str | None = None) -> Event:
    code = 128 - code if code is not None and code < 0 else code  # as a shell has it
    return Event("end", 0, 1, 0, code, reason, 1.0, 2.0, 0.5, 4096, "n1", "token-0")


SUCCESS, FAILURE, KILLED = record(0), record(7), record(-9)
CANCELLED, TIMEOUT = record(-15, "cancelled"), record(-15, "timeout")
PLAIN: dict[str, Any] = {
    "over": True, "restarted": False, "asked": False, "packed": False, "waited": 0.0,
}  # fmt: skip
PUT_BACK = "its job was put back in the queue, to be started anew"
FORGOTTEN = "it left no record; the queue knows its job no more"
SHARED = "the job that it shared with other runs had not enough {}; it is tried again alone"


@pytest.mark.parametrize(
    ("event", "told", "more", "expected"),
    [
        # A record of success is one, whatever is said.
        (SUCCESS, None, {}, (None, None)),
        (SUCCESS, RUNNING, {"over": False}, (None, None)),
        (SUCCESS, ENDED, {}, (None, None)),
        (SUCCESS, state("node_fail"), {}, (None, "exit status 0, although its job is NODE_FAIL")),
        (SUCCESS, state("timeout"), {}, (None, "exit status 0, although its job is TIMEOUT")),
        (SUCCESS, WAITING, {"restarted": True}, (None, None)),
        # So is one that explains itself.
        (FAILURE, None, {}, (None, None)),
        (FAILURE, state("node_fail"), {}, (None, None)),
        (TIMEOUT, state("timeout"), {}, ("timeout", None)),
        (CANCELLED, state("cancelled"), {"asked": True}, ("cancelled", None)),
        (KILLED, state("out_of_memory"), {"packed": True}, (None, None)),
        # What ended a program that was killed is the queue's to say, as long as it may take.
        (KILLED, state("out_of_memory"), {}, ("out_of_memory", "its job is OUT_OF_MEMORY")),
        (KILLED, state("out_of_memory", "too much"), {}, ("out_of_memory", "too much")),
        (KILLED, state("launch"), {}, (None, None)),
        (KILLED, state(None), {}, (None, None)),
        (KILLED, None, {}, (None, None)),
        (CANCELLED, state("preempted"), {}, ("preempted", "its job is PREEMPTED")),
        (CANCELLED, state("timeout"), {"packed": True}, ("timeout", "its job is TIMEOUT")),
        (CANCELLED, None, {}, ("cancelled", None)),
        (CANCELLED, RUNNING, {"over": False, "waited": LAST_WORD_SECONDS}, ("cancelled", None)),
        (CANCELLED, WAITING, {"over": False, "restarted": True}, ("preempted", PUT_BACK)),
    ],
)  # fmt: skip
def test_by_record(
    event: Event, told: JobState | None, more: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    end = by_record(event, told, **{**PLAIN, **more})
    assert end is not None
    assert (end.reason, end.message) == expected
    assert replace(end, reason=None, message=None) == replace(
        event.exit_status(), reason=None, message=None
    )


@pytest.mark.parametrize("event", [KILLED, CANCELLED])
@pytest.mark.parametrize("told", [None, RUNNING])
def test_by_record_waits_for_what_the_queue_says(event: Event, told: JobState | None) -> None:
    more = {**PLAIN, "over": False, "waited": LAST_WORD_SECONDS - 1}
    assert by_record(event, told, **more) is None


def test_time_in_which_the_queue_does_not_answer_does_not_count() -> None:
    silence = Silence("the queue", lambda _: None)
    assert silence.answered(5.0) == 0
    silence.end(10.0)
    assert silence.answered(5.0) == 0  # it may not have answered before
    silence.end(20.0)
    assert [silence.answered(since) for since in (5.0, 12.0, 25.0)] == [10, 8, 0]
    silence.forget()
    assert silence.answered(12.0) == 8
    silence.last("it is away")
    assert silence.answered(12.0) == 0
    silence.end(30.0)
    silence.end(34.0)
    assert silence.answered(12.0) == 4


@pytest.mark.parametrize(
    ("event", "asked", "packed", "expected"),
    [
        (SUCCESS, False, False, False),
        (FAILURE, False, False, False),
        (TIMEOUT, False, False, False),
        (CANCELLED, False, False, True),
        (CANCELLED, False, True, True),
        (CANCELLED, True, False, False),
        (KILLED, False, False, True),
        (KILLED, True, False, True),
        (KILLED, False, True, False),
        (record(-11), False, False, False),
    ],
)
def test_unexplained(event: Event, asked: bool, packed: bool, expected: bool) -> None:
    assert unexplained(event, asked=asked, packed=packed) is expected


@pytest.mark.parametrize(
    ("told", "more", "expected"),
    [
        (None, {}, ("lost", FORGOTTEN)),
        (None, {"started": False}, ("launch", FORGOTTEN)),
        (ENDED, {}, ("lost", "it left no record; its job is COMPLETED")),
        (state(None, "exit 1"), {}, ("lost", "exit 1")),
        (state(None, "exit 1"), {"started": False}, ("launch", "exit 1")),
        (state("node_fail"), {}, ("node_fail", None)),
        (state("node_fail"), {"packed": True}, ("node_fail", None)),
        (state("preempted", "for others"), {}, ("preempted", "for others")),
        (state("cancelled"), {"started": False}, ("cancelled", None)),
        (state("timeout"), {}, ("timeout", None)),
        (state("out_of_memory"), {}, ("out_of_memory", None)),
        # What runs share is not the fault of one.
        (state("timeout"), {"packed": True}, ("lost", SHARED.format("time"))),
        (state("out_of_memory"), {"packed": True}, ("lost", SHARED.format("memory"))),
        # That it could not be launched is only true of what has not begun.
        (state("launch", "no such file"), {"started": False}, ("launch", "no such file")),
        (state("launch", "no such file"), {}, ("lost", "no such file")),
        # One that was put back had a node that failed.
        (replace(WAITING, restarts=1), {"restarted": True}, ("node_fail", PUT_BACK)),
        (state("launch"), {"restarted": True, "started": False}, ("node_fail", PUT_BACK)),
        (state("preempted"), {"restarted": True}, ("preempted", None)),
    ],
)  # fmt: skip
def test_without_record(
    told: JobState | None, more: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    end = without_record(told, **{"started": True, "packed": False, "restarted": False, **more})
    assert (end.reason, end.message) == expected
    assert end.code is None
    assert not end.ok


def test_what_is_nobodys_fault() -> None:
    found = {
        reason: no_fault(without_record(state(reason), started=True, packed=False, restarted=False))
        for reason in ("node_fail", "preempted", "launch", "out_of_memory", "timeout", "cancelled")
    }
    assert [reason for reason, excused in found.items() if excused] == [
        "node_fail",
        "preempted",
        "launch",
    ]
