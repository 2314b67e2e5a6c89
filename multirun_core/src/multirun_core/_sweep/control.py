"""Asking a driver in another process, perhaps on another host, to cancel: by a file.

A request is a file `journal/cancel-….json`; the driver looks for such files twice a second, acts,
and removes the file, by which who asked sees that it was heard.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from multirun_core._sweep import segment
from multirun_core._sweep.history import History
from multirun_core._sweep.layout import JOURNAL, write_whole
from multirun_core.errors import BackendError, SweepError, SweepNotFoundError

_PREFIX = "cancel-"
_POLL_SECONDS = 0.1
_HEAR_SECONDS = 15.0
_TELL_SECONDS = 1.0  # that pass before people are told what is waited for
_MOST_PAUSE_SECONDS = 5.0  # between looks at a long journal


def driver_lives(path: str | Path) -> bool | None:
    """Whether the last driver of a sweep is alive; None where nobody here can tell.

    Raises:
        SweepNotFoundError: there is no sweep.
    """
    return _last_writer(path).alive


def request_cancel(
    path: str | Path, indices: Sequence[int] | None, wait: float = _HEAR_SECONDS
) -> str:
    """Ask the living driver of a sweep to cancel runs.

    Args:
        path: the sweep's directory.
        indices: the runs; None for all that have not ended.
        wait: how long to wait for the driver to hear it, in seconds.

    Returns:
        A line for people: who has heard it.

    Raises:
        SweepError: no driver is alive, or it does not answer.
    """
    writer = _last_writer(path)
    if not _ask(path, writer, indices, wait):
        writer = _last_writer(path)
        how = "has ended" if writer.closed else "has died"
        raise SweepError(
            f"{path}: nobody is working on this sweep: its driver, {writer.process}, {how}. "
            "There is nothing to cancel"
        )
    return f"{writer.process} is cancelling {_what(indices)}"


def await_cancelled(
    path: str | Path, indices: Sequence[int] | None, within: float, say: Callable[[str], None]
) -> str | None:
    """Ask the driver of a sweep to cancel runs, and wait until they have ended.

    Without indices this is when the driver takes its leave, which it does when it has ended all.
    What it heard is done even if the caller does not wait for it.

    Args:
        path: the sweep's directory.
        indices: the runs; None for all that have not ended.
        within: how long to wait once the driver has heard it, in seconds.
        say: is told what is waited for, where that takes longer than a second.

    Returns:
        A line for people: what has been cancelled. None where no driver lives any more that would
        do so: what it may have left is for the caller to end.

    Raises:
        SweepError: the driver does not answer, or another one has begun meanwhile.
        BackendError: the driver has heard it, and has not ended the runs in that time.
    """
    asked = _last_writer(path)
    if not _ask(path, asked, indices, _HEAR_SECONDS):
        return None
    what, begun, told = _what(indices), time.monotonic(), False
    try:
        while True:
            writer = _last_writer(path)  # before the runs are looked at: it writes nothing more
            if indices is not None and _have_ended(path, indices):
                break
            if writer.number != asked.number:
                raise SweepError(
                    f"{path}: {writer.process} has begun to drive this sweep meanwhile; ask again"
                )
            if writer.alive is False:
                if indices is None and writer.closed:
                    break
                return None
            waited = time.monotonic() - begun
            if waited > within:
                raise BackendError(
                    f"{path}: {asked.process} was asked to cancel {what} {within:g} s ago, and not "
                    "all have ended yet. See multirun status whether they do, or ask again "
                    "(--wait SECONDS waits longer)"
                )
            if waited > _TELL_SECONDS and not told:
                told = True
                say(f"{asked.process} is cancelling {what}; waiting until they have ended")
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        say(f"{asked.process} goes on with cancelling {what}; see multirun status")
        raise
    return f"{asked.process} has cancelled {what}"


def _what(indices: Sequence[int] | None) -> str:
    return "all runs that had not ended" if indices is None else f"{len(indices)} run(s)"


def _last_writer(path: str | Path) -> segment.Writer:
    writer = segment.last_writer(Path(path) / JOURNAL)
    if writer is None:
        raise SweepNotFoundError(f"{path} holds no sweep; give the output directory of a sweep")
    return writer


def _ask(
    path: str | Path, writer: segment.Writer, indices: Sequence[int] | None, wait: float
) -> bool:
    """Ask the driver to cancel runs; return whether it has heard that, False where it is gone.

    Raises:
        SweepError: it does not answer.
    """
    if writer.alive is False:
        return False
    request = Path(path) / JOURNAL / f"{_PREFIX}{uuid.uuid4().hex}.json"
    try:
        write_whole(
            request, json.dumps({"runs": None if indices is None else list(indices)}).encode()
        )
        deadline = time.monotonic() + wait
        while request.exists():
            if _last_writer(path).alive is False:
                return not request.exists()
            if time.monotonic() > deadline:
                raise SweepError(
                    f"{path}: the driver, {writer.process}, did not answer within {wait:g} s; "
                    "it may be suspended or its host cut off"
                )
            time.sleep(_POLL_SECONDS)
    finally:  # whoever drives the sweep next must not take it for theirs
        with contextlib.suppress(OSError):
            request.unlink()
    return True


def _have_ended(path: str | Path, indices: Sequence[int]) -> bool:
    """Whether runs have ended, by the journal; one that is long is read now and then."""
    begun = time.monotonic()
    runs = History.read(Path(path)).runs
    if all(index < len(runs) and runs[index].done for index in indices):
        return True
    time.sleep(min(_MOST_PAUSE_SECONDS, 5 * (time.monotonic() - begun)))
    return False


def take_requests(directory: Path) -> list[list[int] | None]:
    """Return what has been asked for and remove the requests; in the driver."""
    asked: list[list[int] | None] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):  # noqa: PTH208 - names are all that is wanted
            if name.startswith(_PREFIX) and name.endswith(".json"):
                asked += _take(directory / name)
    return asked


def _take(request: Path) -> list[list[int] | None]:
    try:
        runs = json.loads(request.read_bytes())["runs"]
        asked = None if runs is None else [int(run) for run in runs]
        request.unlink()
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []
    return [asked]
