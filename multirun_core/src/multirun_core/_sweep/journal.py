"""`Journal`: one driver's segment, appended to in groups that are flushed off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._sweep import segment
from multirun_core._threads import Threads, heard
from multirun_core._waiting import Firm
from multirun_core.errors import JournalError, SweepSupersededError

if TYPE_CHECKING:
    from collections.abc import Callable

_GROUP_SECONDS = 0.025
_LINGER_SECONDS = 1.0  # starting a thread takes longer than the rest of what a group takes


class Journal:
    """Writer of one segment.

    Lines are gathered for some milliseconds, written in one go by a thread of its own and flushed
    (fdatasync(2)). Before each group it looks for a higher segment: a driver that was suspended
    while another took its sweep over writes nothing more.

    Attributes:
        hasty: whether lines are written without gathering others: nothing is started any more
            that would be held up by that.
    """

    def __init__(self, path: Path, number: int) -> None:
        """Take over a segment that `segment.create` has just made."""
        self.path = path
        self.number = number
        self._next = str(segment.path_of(path.parent, number + 1))
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._buffer: list[bytes] = []
        self._chores: list[Callable[[], None]] = []
        self._group: Firm | None = None
        self._writing: asyncio.Future[None] | None = None
        self.hasty = False
        self._timer: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._broken: BaseException | None = None
        self._checked = 0.0
        self._thread = Threads(1, "multirun-journal", _LINGER_SECONDS)

    def append(self, line: bytes) -> None:
        """Add lines; they reach the disk soon, and surely before a later `flush` returns."""
        self._buffer.append(line)
        if self._group is None and self._broken is None:
            self._group = Firm(loop=asyncio.get_running_loop())
            self._group.add_done_callback(heard)  # nobody may wait for it
            if self._writing is None:
                self._write_soon()

    def event(self, event: str, **fields: Any) -> None:
        """Add an event, stamped with the time."""
        self.append(segment.encode({"event": event, "time": round(time.time(), 3), **fields}))

    def after_flush(self, chore: Callable[[], None]) -> None:
        """Have something done, off the event loop, once the lines added so far are on disk."""
        self._chores.append(chore)

    def flushed(self) -> Firm:
        """Return what is done once all lines added so far are on disk; many may share it.

        It fails with JournalError where they cannot be written, with SweepSupersededError where
        another driver has taken over.
        """
        if self._broken is not None:
            failed = Firm(loop=asyncio.get_running_loop())
            failed.set_exception(self._broken)
            return failed
        self.append(b"")
        if self._group is None:
            raise AssertionError("append() opens a group")
        return self._group

    async def flush(self, *, at_once: bool = False) -> None:
        """Return once all lines added so far are on disk. Cancelling it cancels no writing.

        Args:
            at_once: whether to gather no others: where nothing goes on before this is done.

        Raises:
            JournalError: they cannot be written.
            SweepSupersededError: another driver has taken over.
        """
        flushed = self.flushed()
        if at_once:
            self._last_flush = 0.0  # if one is being written, the next one follows at once
            if self._timer is not None:
                self._timer.cancel()
                self._write_group()
        await asyncio.shield(flushed)

    def check_ours(self, *, lately: bool = False) -> None:
        """Raise `SweepSupersededError` if another driver has taken the sweep over.

        Args:
            lately: whether it is enough to have looked as short a time ago as a group takes.
        """
        now = time.monotonic()
        if lately and now < self._checked + _GROUP_SECONDS:
            return
        self._checked = now
        if os.path.exists(self._next):  # noqa: PTH110 - asked before each run
            raise SweepSupersededError(
                f"{self.path.parent.parent}: another driver has taken this sweep over "
                f"({Path(self._next).name} exists); this one has stopped and written nothing more"
            )

    def renew(self) -> None:
        """Show drivers on other hosts that this one is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    async def close(self) -> None:
        """Flush what is left, unless writing has failed before, and close the segment."""
        try:
            if self._buffer and self._broken is None:
                await self.flush(at_once=True)
        finally:
            while self._writing is not None:
                await asyncio.wait([self._writing])
            self._thread.shutdown()
            os.close(self._fd)
            segment.let_go(self.path)

    # By callbacks: a task could be cancelled, as at the end of `asyncio.run`, and whoever waits for
    # a group would do so for ever.

    def _write_soon(self) -> None:
        loop = asyncio.get_running_loop()
        self._writing = loop.create_future()
        when = 0.0 if self.hasty else self._last_flush + _GROUP_SECONDS
        self._timer = loop.call_at(when, self._write_group)

    def _write_group(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        group, self._group = self._group, None
        data, chores = b"".join(self._buffer), self._chores
        self._buffer, self._chores = [], []
        self._last_flush = loop.time()
        try:
            written = loop.run_in_executor(self._thread, self._write, data, chores)
        except RuntimeError as error:  # the interpreter is about to end
            self._wrote(group, error)
        else:
            written.add_done_callback(lambda written: self._wrote(group, written.exception()))

    def _wrote(self, group: asyncio.Future[None] | None, error: BaseException | None) -> None:
        writing, self._writing = self._writing, None
        _settle(group, error)
        if error is not None:
            self._broken = error
            _settle(self._group, error)
        elif self._group is not None:
            self._write_soon()
        _settle(writing, None)

    def _write(self, data: bytes, chores: list[Callable[[], None]]) -> None:
        self.check_ours()
        rest = memoryview(data)
        try:
            found = os.fstat(self._fd)
            if not found.st_nlink:
                raise FileNotFoundError(errno.ENOENT, "it has been removed")
            good = found.st_size
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                os.fdatasync(self._fd)
            except OSError:
                # Readers pass over a torn last line; without one there is nothing to pass over.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, good)
                raise
        except OSError as error:
            raise JournalError(
                f"cannot write the journal {self.path}: {error.strerror}. Nothing that is not "
                "written counts as done; put that right, then resume the sweep"
            ) from error
        for chore in chores:
            # What a program has done to its directory must not end the sweep.
            with contextlib.suppress(OSError):
                chore()


def _settle(future: asyncio.Future[None] | None, error: BaseException | None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
