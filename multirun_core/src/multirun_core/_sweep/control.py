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
from collections.abc import Sequence
from pathlib import Path

from multirun_core._sweep import segment
from multirun_core._sweep.layout import JOURNAL, write_whole
from multirun_core.errors import SweepError, SweepNotFoundError

_PREFIX = "cancel-"
_POLL_SECONDS = 0.1


def driver_lives(path: str | Path) -> bool | None:
    """Whether the last driver of a sweep is alive; None where nobody here can tell.

    Raises:
        SweepNotFoundError: there is no sweep.
    """
    writer = segment.last_writer(Path(path) / JOURNAL)
    if writer is None:
        raise SweepNotFoundError(f"{path} holds no sweep; give the output directory of a sweep")
    return writer.alive


def request_cancel(path: str | Path, indices: Sequence[int] | None, wait: float = 15.0) -> str:
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
    directory = Path(path) / JOURNAL
    writer = segment.last_writer(directory)
    if writer is None:
        raise SweepNotFoundError(f"{path} holds no sweep; give the output directory of a sweep")
    if writer.alive is False:
        how = "has ended" if writer.closed else "has died"
        raise SweepError(
            f"{path}: nobody is working on this sweep: its driver, {writer.process}, {how}. "
            "There is nothing to cancel"
        )
    request = directory / f"{_PREFIX}{uuid.uuid4().hex}.json"
    write_whole(request, json.dumps({"runs": None if indices is None else list(indices)}).encode())
    deadline = time.monotonic() + wait
    while request.exists():
        if time.monotonic() > deadline:
            with contextlib.suppress(OSError):
                request.unlink()
            raise SweepError(
                f"{path}: the driver, {writer.process}, did not answer within {wait:g} s; "
                "it may be suspended or its host cut off"
            )
        time.sleep(_POLL_SECONDS)
    what = "all runs that had not ended" if indices is None else f"{len(indices)} run(s)"
    return f"{writer.process} is cancelling {what}"


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
