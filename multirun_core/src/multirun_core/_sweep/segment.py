"""Segments of a journal: `journal/0001.jsonl` and so on, one for each driver, JSON Lines.

A segment is created with its first line in it, exclusively: of two drivers that want the same
number, one gets it. The first line tells which process writes it. The lock of a sweep is no file
of its own: it is the question whether the writer of the highest segment may still be alive.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from multirun_core._sweep.layout import flush_directory
from multirun_core._transport.process import ProcessId
from multirun_core.errors import JournalError, SweepLockedError

LEASE_SECONDS = 180.0
"""How long a driver on another host may be silent before it counts as dead."""

RENEW_SECONDS = 30.0
"""How often a driver renews its lease."""

# The segments that drivers of this very process work on, as device and inode: that the process
# lives says nothing about one that has ended without a last line, as on a full disk.
_held: set[tuple[int, int]] = set()

_NAME = re.compile(r"(\d{4,})\.jsonl\Z")


def path_of(directory: Path, number: int) -> Path:
    """Return the path of a segment."""
    return directory / f"{number:04d}.jsonl"


def numbers(directory: Path) -> list[int]:
    """Return the numbers of the segments there are, ascending; none where there is no journal."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _NAME.match(name)))


@dataclass(frozen=True, slots=True)
class Writer:
    """The driver that wrote, or writes, a segment.

    Attributes:
        number: the segment's number.
        process: who it is.
        closed: whether it took its leave with a last line.
        silent: seconds since the last sign of life, by the clock of the file system.
        held: whether a driver in this process works on it.
    """

    number: int
    process: ProcessId
    closed: bool
    silent: float
    held: bool

    @property
    def host(self) -> str:
        """Name of its host."""
        return self.process.host

    @property
    def pid(self) -> int:
        """Its process id there."""
        return self.process.pid

    @property
    def alive(self) -> bool | None:
        """Whether it may still write; None for one on another host that was heard of lately."""
        if self.closed:
            return False
        if self.process == ProcessId.own():
            return self.held
        here = self.process.alive()
        if here is None and self.silent > LEASE_SECONDS:
            return False
        return here


def last_writer(directory: Path) -> Writer | None:
    """Return who wrote the highest segment; None where nobody wrote anything that can be read."""
    for number in reversed(numbers(directory)):
        path = path_of(directory, number)
        events = list(_head_and_tail(path))
        if events and events[0].get("event") == "driver":
            try:
                process = ProcessId.from_json(events[0]["process"])
            except (LookupError, TypeError) as error:
                raise JournalError(f"{path}: the first line is damaged ({error!r})") from error
            return Writer(
                number,
                process,
                closed=events[-1].get("event") == "close",
                silent=_age(directory, path),
                held=_identity(path) in _held,
            )
    return None


def create(directory: Path, number: int, first: dict[str, Any]) -> Path:
    """Create a segment with its first line in it.

    Raises:
        SweepLockedError: another driver has just created it.
        OSError: it cannot be written.
    """
    path = path_of(directory, number)
    aside = directory / f".{number:04d}.{os.getpid()}.tmp"
    aside.write_bytes(encode(first))
    try:
        os.link(aside, path)
    except (FileExistsError, FileNotFoundError):  # the other one also removes leftovers
        writer = last_writer(directory)
        raise SweepLockedError(
            f"{directory.parent}: {writer.process if writer else 'another process'} has just "
            "begun to work on this sweep; wait until it has ended"
        ) from None
    except OSError:
        # A file system without hard links: the name is exclusive, the line comes a moment later.
        with path.open("xb") as file:
            file.write(encode(first))
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
    for leftover in directory.glob(".[0-9]*.tmp"):
        leftover.unlink(missing_ok=True)
    flush_directory(directory)
    _held.add(_identity(path))
    return path


def let_go(path: Path) -> None:
    """Note that the driver in this process which created a segment works no more."""
    with contextlib.suppress(OSError):
        _held.discard(_identity(path))


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def encode(event: dict[str, Any]) -> bytes:
    """Return an event as a line."""
    return json.dumps(event).encode() + b"\n"


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a segment; what a dying driver left of its last line is passed over.

    Raises:
        JournalError: a line in the middle is no JSON object.
    """
    decode = json.JSONDecoder().decode
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(file, 1):
                try:
                    event = decode(line.decode())
                    if not line.endswith(b"\n"):
                        return
                    if not isinstance(event, dict):
                        raise ValueError("it is no JSON object")  # noqa: TRY301, TRY004
                    yield cast("dict[str, Any]", event)
                except (ValueError, RecursionError) as error:
                    if not line.endswith(b"\n") or not file.peek(1):
                        return
                    raise JournalError(
                        f"{path}, line {line_number} is damaged ({error}). If you know what "
                        "happened to it, delete that line and try again: what it said is then "
                        "done anew"
                    ) from None
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error


def _head_and_tail(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        lines = [file.readline()]
        file.seek(0, os.SEEK_END)
        file.seek(max(len(lines[0]), file.tell() - 4096))
        lines += file.read().splitlines()[-1:]
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def _age(directory: Path, path: Path) -> float:
    """Return the seconds since `path` was touched, by the file server's clock if it has one."""
    now = time.time()
    probe = directory / f".now.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    return max(0.0, now - path.stat().st_mtime)
