"""Who holds a sweep: races at its beginning, and drivers that ended without a word."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import claiming, conduct, opening, segment
from multirun_core._sweep.layout import JOURNAL
from multirun_core._transport.process import ProcessId
from sweeps import successes

from multirun_core import SweepError, SweepLockedError, multirun, multirunAsync


def again(root: Path, **keywords: Any) -> None:
    sweep = multirun(
        runs=[{}], cmd=["true"], output_path=root, resume=True, progress=False, **keywords
    )
    assert sweep.statistics.success_count == 1


def test_a_driver_that_begins_between_look_and_claim_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "s"
    again(root)
    look = segment.last_writer

    def slow_look(directory: Path) -> segment.Writer | None:
        found = look(directory)
        monkeypatch.setattr(segment, "last_writer", look)
        segment.create(directory, 2, {"event": "driver", "process": ProcessId.own().to_json()})
        return found

    monkeypatch.setattr(segment, "last_writer", slow_look)
    with pytest.raises(SweepLockedError):
        again(root)
    assert segment.numbers(root / JOURNAL) == [1, 2]


RACER = """
import sys
from multirun_core import SweepLockedError, multirun
sys.stdin.readline()
try:
    multirun(runs=[{"n": n} for n in range(20)], cmd=["true"], output_path=sys.argv[1],
             resume=True, progress=False)
except SweepLockedError:
    sys.exit(3)
"""


def test_of_drivers_that_begin_at_the_same_instant_one_works_at_a_time(tmp_path: Path) -> None:
    root = tmp_path / "s"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(root)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=50)[1].decode() for racer in racers]
    codes = {racer.returncode for racer in racers}
    assert codes <= {0, 3}, told
    assert 0 in codes, told
    assert set(successes(root).values()) == {1}


def test_the_lease_is_renewed_while_inputs_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opening.store_inputs
    monkeypatch.setattr(segment, "RENEW_SECONDS", 0.01)
    path = segment.path_of(tmp_path / "s" / JOURNAL, 1)

    def slow(*arguments: Any) -> Any:
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return store(*arguments)

    monkeypatch.setattr(opening, "store_inputs", slow)
    again(tmp_path / "s")


@pytest.mark.asyncio
async def test_a_call_that_was_cancelled_while_it_opened_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, go_on = threading.Event(), threading.Event()
    store = opening.store_inputs

    def slow(*arguments: Any) -> Any:
        claimed.set()
        assert go_on.wait(10)
        return store(*arguments)

    monkeypatch.setattr(opening, "store_inputs", slow)
    task = asyncio.ensure_future(
        multirunAsync(runs=[{}], cmd=["true"], output_path=tmp_path / "s", progress=False)
    )
    while not claimed.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(segment.read(tmp_path / "s" / JOURNAL / "0001.jsonl"))[-1]["event"] == "close"
    again(tmp_path / "s")


def test_a_call_whose_journal_could_not_be_opened_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(conduct, "Journal", none_left)
        with pytest.raises(SweepError, match="Too many open files"):
            again(tmp_path / "s")
    again(tmp_path / "s")


@pytest.mark.parametrize("launcher", ["", "threads"])
def test_after_a_full_disk_the_same_process_can_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    monkeypatch.setenv("MULTIRUN_LAUNCHER", launcher)
    sync, calls = os.fdatasync, [0]

    def full(fd: int) -> None:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(SweepError, match="No space left"):
        multirun(runs=[{}], cmd=["true"], output_path=tmp_path / "s", progress=False)
    monkeypatch.setattr(os, "fdatasync", sync)
    again(tmp_path / "s")


@pytest.mark.parametrize("launcher", ["", "threads"])
def test_a_driver_that_took_its_leave_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    monkeypatch.setenv("MULTIRUN_LAUNCHER", launcher)
    monkeypatch.setattr(claiming, "_GUARDIAN_SECONDS", 0.5)
    again(tmp_path / "s")
    again(tmp_path / "s", rerun="all")


@pytest.mark.parametrize("name", ["runs", "shared", "journal/mine", "mine"])
def test_what_lies_in_a_directory_without_a_sweep_is_left_alone(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "s" / name / "000000" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("x")
    with pytest.raises(SweepError, match="not empty"):
        again(tmp_path / "s")
    assert precious.read_text() == "x"


def test_what_a_driver_leaves_that_died_before_its_first_line_is_no_hindrance(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "s" / JOURNAL
    journal.mkdir(parents=True)
    (journal / ".0001.12345.tmp").write_text('{"event"')
    again(tmp_path / "s")
