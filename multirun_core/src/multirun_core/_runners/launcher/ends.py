"""How a run ended: from the launcher's facts to an `ExitStatus`."""

from __future__ import annotations

import asyncio
import errno
import sys
from dataclasses import dataclass
from typing import Any

from multirun_core._model.run import ExitStatus

# What ending a tree may take beyond its grace: the launcher itself gives up after 10 seconds.
END_BOUND = 15.0

# A full or broken disk concerns all runs: they stop the sweep, and are raised.
DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailure(ExitStatus):
    """A run that could not be started: its reason is "submit".

    Attributes:
        errno: the system's error number, see errno(3): EAGAIN, ENOMEM, EMFILE and ENFILE may pass.
    """

    errno: int = 0


def start_failure(number: int, text: str, stream: str | None) -> StartFailure:
    """Return the end of a run that could not be started.

    Raises:
        OSError: the file for an output stream, `stream`, cannot be opened for a reason that
            concerns all runs: the disk is full, broken or not writable.
    """
    if stream is not None and number in DISK_ERRORS:
        raise OSError(number, text, stream)
    return StartFailure(code=None, reason="submit", message=text, errno=number)


def lost(why: str) -> ExitStatus:
    """Return the end of a run of which nothing is known but why."""
    return ExitStatus(code=None, reason="lost", message=why)


def ended(
    code: int | None,
    timed_out: bool,
    limit: float | None,
    started: float,
    end: float | None,
    cpu: float,
    rss: int | None,
    left: int,
    trouble: str | None,
) -> ExitStatus:
    """Return the end of a run that was started.

    Args:
        code: exit status of its main process, negative for a signal; None where that still lives.
        timed_out: whether its time limit ended it.
        limit: that limit, in seconds.
        started: when it was started, in seconds since the epoch.
        end: when its main process ended.
        cpu: CPU time in seconds.
        rss: ru_maxrss as getrusage(2) counts it here; None where it is not the run's own.
        left: how many of its processes could not be ended.
        trouble: what went wrong while it was being ended.
    """
    notes: list[str] = []
    if timed_out:
        notes.append(f"ended by its time limit of {limit:g} s")
    if left:
        notes.append(f"{left} of its processes could not be ended")
    if trouble:
        notes.append(f"its processes may not all have been ended: {trouble.splitlines()[-1]}")
    unknown = "lost" if code is None else None
    return ExitStatus(
        code=code,
        reason="timeout" if timed_out else unknown,
        message="; ".join(notes) or None,
        started=started,
        ended=end,
        cpu_seconds=cpu,
        max_rss_bytes=None if rss is None else rss * (1 if sys.platform == "darwin" else 1024),
    )


async def settled(future: asyncio.Future[Any], bound: float) -> None:
    """Wait for an end for `bound` seconds at most, whatever further cancellation comes.

    The caller raises `CancelledError` afterwards.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + bound
    while not future.done() and (left := until - loop.time()) > 0:
        try:
            await asyncio.wait((future,), timeout=left)
        except asyncio.CancelledError:
            continue
    if future.done() and not future.cancelled():
        future.exception()  # seen: nobody asks for it any more
