"""The journal: segments, groups, torn lines, who holds a sweep."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._sweep import control, segment
from multirun_core._sweep.history import History
from multirun_core._sweep.journal import Journal
from multirun_core._transport.process import ProcessId

from multirun_core import (
    JournalError,
    SweepError,
    SweepLockedError,
    SweepNotFoundError,
    SweepSupersededError,
)


def first(process: ProcessId | None = None) -> dict[str, Any]:
    return {"event": "driver", "process": (process or ProcessId.own()).to_json()}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "a sweep; $HOME 'ü'" / "journal"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.asyncio
async def test_what_was_flushed_is_read_again(directory: Path) -> None:
    journal = Journal(segment.create(directory, 1, first()), 1)
    for number in range(500):
        journal.event("note", number=number)
    await journal.flush()
    events = list(segment.read(journal.path))
    assert [event["number"] for event in events[1:]] == list(range(500))
    await journal.close()


@pytest.mark.asyncio
async def test_lines_reach_the_disk_without_a_flush(directory: Path) -> None:
    journal = Journal(segment.create(directory, 1, first()), 1)
    journal.event("note")
    async with asyncio.timeout(10):
        while len(list(segment.read(journal.path))) < 2:
            await asyncio.sleep(0.01)
    await journal.close()


@pytest.mark.asyncio
async def test_chores_are_done_after_their_lines_are_on_disk(directory: Path) -> None:
    journal = Journal(segment.create(directory, 1, first()), 1)
    seen: list[int] = []
    for _ in range(3):
        journal.event("note")
        journal.after_flush(lambda: seen.append(len(list(segment.read(journal.path)))))
    await journal.flush()
    assert seen == [4, 4, 4]
    await journal.close()


@pytest.mark.asyncio
async def test_a_superseded_driver_writes_nothing_more(directory: Path) -> None:
    old = Journal(segment.create(directory, 1, first()), 1)
    old.event("note")
    await old.flush()
    before = old.path.read_bytes()
    segment.create(directory, 2, first())
    old.event("note")
    with pytest.raises(SweepSupersededError, match=r"0002\.jsonl"):
        await old.flush()
    with pytest.raises(SweepSupersededError):
        old.check_ours()
    await old.close()
    assert old.path.read_bytes() == before


def test_two_cannot_create_one_segment(directory: Path) -> None:
    segment.create(directory, 1, first())
    with pytest.raises(SweepLockedError, match=str(os.getpid())):
        segment.create(directory, 1, first())
    assert [path.name for path in directory.iterdir()] == ["0001.jsonl"]


def test_what_the_killed_have_left_goes_and_who_asks_meanwhile_is_not_disturbed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver begins while somebody else writes down what that driver is to cancel."""
    segment.create(directory, 1, first())
    flush = os.fsync

    def begin(fd: int) -> None:
        flush(fd)
        monkeypatch.undo()
        segment.create(directory, 2, first())

    for name in (".0001.1.tmp", ".now.1.tmp"):
        (directory / name).touch()
    monkeypatch.setattr(os, "fsync", begin)
    with pytest.raises(SweepError, match="did not answer within 0 s"):  # it was asked
        control.request_cancel(directory.parent, None, wait=0)
    assert sorted(path.name for path in directory.iterdir()) == ["0001.jsonl", "0002.jsonl"]


def test_an_empty_or_missing_journal_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(SweepNotFoundError):
        History.read(tmp_path)
    assert segment.last_writer(tmp_path / "journal") is None


LINES = [
    {"event": "run", "run": 0, "params": {"a b'\n;$": "ü\u2028", "n": [1, {"x": None}]}},
    {"event": "run", "run": 1, "params": {}},
    {"event": "defined", "runs": 2},
    {"event": "start", "run": 0, "attempt": 1, "time": 1.5, "host": "h"},
    {"event": "end", "run": 0, "attempt": 1, "status": "success", "exit_code": 0, "started": 1.5},
]


@given(cut=st.integers(0, sum(len(segment.encode(line)) for line in LINES)))
def test_a_segment_cut_anywhere_gives_its_whole_lines(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoded = [segment.encode(line) for line in LINES]
    path = tmp_path_factory.mktemp("cut") / "0001.jsonl"
    path.write_bytes(b"".join(encoded)[:cut])
    whole, size = 0, 0
    for line in encoded:
        size += len(line)
        whole += size <= cut
    assert list(segment.read(path)) == LINES[:whole]


def test_a_damaged_line_in_the_middle_is_said(directory: Path) -> None:
    path = directory / "0001.jsonl"
    path.write_bytes(segment.encode(first()) + b"\0\0\0\n" + segment.encode(LINES[1]))
    with pytest.raises(JournalError, match="line 2 is damaged"):
        list(segment.read(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(params=st.dictionaries(st.text(), json_values))
def test_parameters_survive_the_journal(params: dict[str, Any]) -> None:
    history = History()
    line = segment.encode({"event": "run", "run": 0, "params": params})
    assert line.count(b"\n") == 1
    history.apply([json.loads(line)])
    assert history.runs[0].params == params


def test_history_ignores_what_an_earlier_attempt_says_late() -> None:
    history = History()
    history.apply(
        [
            *LINES[:2],
            {"event": "start", "run": 1, "attempt": 2, "time": 3.0},
            {"event": "end", "run": 1, "attempt": 1, "status": "success", "exit_code": 0},
        ]
    )
    assert (history.runs[1].status, history.runs[1].attempts) == ("running", 2)


def test_history_never_takes_a_success_back_unless_it_is_to_be_run_again() -> None:
    history = History()
    history.apply(LINES)
    late = {"event": "end", "run": 0, "attempt": 2, "status": "failure", "reason": "exit"}
    history.apply([{"event": "start", "run": 0, "attempt": 2, "time": 2.0}, late])
    assert history.runs[0].status == "success"
    history.apply([{"event": "rerun", "runs": [0]}, late])
    assert history.runs[0].status == "failure"


def test_a_gap_in_the_runs_is_said() -> None:
    with pytest.raises(JournalError, match="run 2 where run 0 was due"):
        History().apply([{"event": "run", "run": 2, "params": {}}])


def test_events_of_a_later_version_are_passed_over() -> None:
    history = History()
    history.apply([{"event": "weather", "sky": "blue"}, *LINES])
    assert len(history.runs) == 2


def test_who_holds_a_sweep(directory: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process = ProcessId.of(child.pid)
        assert process is not None
        segment.create(directory, 1, first(process))
        writer = segment.last_writer(directory)
        assert writer is not None
        assert (writer.alive, writer.pid) == (True, child.pid)
        child.send_signal(signal.SIGSTOP)
        assert writer.alive is True
    finally:
        child.kill()
        child.communicate()
    assert writer.alive is False


def test_another_process_with_the_same_pid_holds_nothing(directory: Path) -> None:
    own = ProcessId.own()
    segment.create(directory, 1, first(ProcessId(own.host, own.boot, own.pid, "1")))
    writer = segment.last_writer(directory)
    assert writer is not None
    assert writer.alive is False


def test_a_driver_of_another_host_holds_it_as_long_as_it_is_heard_of(directory: Path) -> None:
    elsewhere = ProcessId("elsewhere.example", "b", 1, "1")
    path = segment.create(directory, 1, first(elsewhere))
    writer = segment.last_writer(directory)
    assert writer is not None
    assert writer.alive is None
    long_ago = time.time() - segment.LEASE_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    writer = segment.last_writer(directory)
    assert writer is not None
    assert writer.alive is False


def test_a_driver_that_took_its_leave_holds_nothing(directory: Path) -> None:
    path = segment.create(directory, 1, first())
    with path.open("ab") as file:
        file.write(segment.encode({"event": "close", "outcome": "done"}))
    writer = segment.last_writer(directory)
    assert writer is not None
    assert (writer.closed, writer.alive) == (True, False)


FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from multirun_core import JournalError
from multirun_core._sweep import control, segment
from multirun_core._sweep.journal import Journal
from multirun_core._transport.process import ProcessId

async def main():
    directory = Path(sys.argv[1])
    path = segment.create(directory, 1, {"event": "driver", "process": ProcessId.own().to_json()})
    journal = Journal(path, 1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    reported = 0
    try:
        for number in range(1000):
            journal.event("note", number=number)
            await journal.flush()
            reported += 1
    except JournalError as error:
        print(reported, error)
    try:
        journal.event("note", number=-1)
        await journal.flush()
    except JournalError:
        print("still refused")
    await journal.close()

asyncio.run(main())
"""


def test_what_cannot_be_written_is_not_reported(directory: Path) -> None:
    """A limit on the file's size stands for a full disk: write(2) fails half-way through a line."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(directory)], capture_output=True, text=True, check=True
    )
    reported, _, message = done.stdout.splitlines()[0].partition(" ")
    assert "cannot write the journal" in message
    assert "File too large" in message
    assert done.stdout.splitlines()[1] == "still refused"
    events = list(segment.read(directory / "0001.jsonl"))
    assert len(events) - 1 == int(reported) > 3
    assert (directory / "0001.jsonl").read_bytes().endswith(b"\n")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
