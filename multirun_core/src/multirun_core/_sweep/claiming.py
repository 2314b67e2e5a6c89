"""Claiming a sweep for one driver, and letting go of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path

from multirun_core._sweep import segment
from multirun_core._sweep.history import History
from multirun_core._sweep.layout import FORMAT, JOURNAL
from multirun_core._threads import checkpoint
from multirun_core._transport.process import ProcessId
from multirun_core.errors import SweepLockedError

_GUARDIAN_SECONDS = 20.0


def claim(journal: Path, *, take_over: bool) -> int:
    """Create the next segment, unless its last writer may still write; return its number.

    Raises:
        SweepLockedError: another driver holds the sweep.
    """
    # Before the look at the last writer: another driver that begins after it takes this number.
    number = max(segment.numbers(journal), default=0) + 1
    writer = segment.last_writer(journal)
    alive = False if writer is None else writer.alive
    if writer is not None and alive is not False and not take_over:
        known = (
            "is working on this sweep"
            if alive
            else f"may be working on this sweep: it was heard of {writer.silent:.0f} s ago"
        )
        raise SweepLockedError(
            f"{journal.parent}: {writer.process} {known}. Wait until it has ended, or end it "
            "with multirun cancel; if you are sure that it must not go on, take the sweep over "
            "with take_over=True (--take-over)"
        )
    segment.create(
        journal,
        number,
        {
            "event": "driver",
            "time": time.time(),
            "format": FORMAT,
            "process": ProcessId.own().to_json(),
        },
    )
    return number


def give_up(root: Path, number: int, why: str = "refused") -> None:
    """Let go of a sweep that was claimed, without having driven it."""
    path = segment.path_of(root / JOURNAL, number)
    with contextlib.suppress(OSError), path.open("ab") as file:
        file.write(segment.encode({"event": "close", "time": time.time(), "why": why}))
    segment.let_go(path)


@contextlib.contextmanager
def renewed(path: Path) -> Generator[None, None, None]:
    """Renew the lease meanwhile: hashing and copying large inputs takes long."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(segment.RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=renew, name="multirun-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def await_guardians(history: History, *, end_them: bool) -> None:
    """Wait until the processes of earlier drivers' runs are gone: two may not share a directory.

    Raises:
        SweepLockedError: they do not go.
    """
    deadline = time.monotonic() + _GUARDIAN_SECONDS
    own = ProcessId.own()  # where it holds runs itself, it has ended them with their driver
    for guardian in history.guardians:
        if guardian == own:
            continue
        if end_them and guardian.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(guardian.pid, signal.SIGTERM)
                os.kill(guardian.pid, signal.SIGCONT)  # one that is suspended would not hear it
        while guardian.alive():
            if time.monotonic() > deadline:
                raise SweepLockedError(
                    f"the last driver is gone, but {guardian} has been ending its runs for "
                    f"{_GUARDIAN_SECONDS:.0f} s; try again, or end that process yourself"
                )
            checkpoint()
            time.sleep(0.02)
