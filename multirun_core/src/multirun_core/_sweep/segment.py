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
    # Of those who were killed; others do without. Who asks for something lives, and does not.
    for leftover in [*directory.glob(".[0-9]*.tmp"), *directory.glob(".now.*.tmp")]:
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


class Text:
    """A value of an event that is left as it was written: its JSON, which has been checked."""

    __slots__ = ("json",)

    def __init__(self, text: str) -> None:
        self.json = text

    def __repr__(self) -> str:
        return repr(json.loads(self.json))


_decode = json.JSONDecoder().decode
_PORTION_BYTES = 2**16  # of lines that are decoded at once
_BETWEEN = os.urandom(8).hex()  # that no line has, as nobody knows it
_RUN, _PARAMS, _RESULT = '{"event": "run", ', ', "params": {', ', "result": '


def read(path: Path, *, texts: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the events of a segment; what a dying driver left of its last line is passed over.

    Args:
        path: the segment.
        texts: whether parameters and results may come as `Text`, for who needs no more of them.

    Raises:
        JournalError: a line in the middle is no JSON object.
    """
    number, more = 1, True
    try:
        with path.open("rb") as file:
            while more and (lines := file.readlines(_PORTION_BYTES)):
                more = lines[-1].endswith(b"\n") and file.peek(1) != b""
                events = _together(lines, texts=texts)
                if events is None:
                    torn = [n for n, line in enumerate(lines, 1) if not line.endswith(b"\n")]
                    if torn:  # more has come while it was read: that is for the next time
                        lines, more = lines[: torn[0]], False
                    yield from _one_by_one(path, number, lines, more=more)
                else:
                    yield from events
                number += len(lines)
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error


def _one_by_one(
    path: Path, first: int, lines: list[bytes], *, more: bool
) -> Iterator[dict[str, Any]]:
    """Yield the events of lines, the first of which has that number; `more`: others follow."""
    for number, line in enumerate(lines, first):
        try:
            event = _decode(line.decode())
            if not line.endswith(b"\n"):
                return
            if not isinstance(event, dict):
                raise ValueError("it is no JSON object")  # noqa: TRY301, TRY004
        except (ValueError, RecursionError) as error:
            if not more and number == first + len(lines) - 1:
                return
            raise JournalError(
                f"{path}, line {number} is damaged ({error}). If you know what "
                "happened to it, delete that line and try again: what it said is then "
                "done anew"
            ) from None
        yield cast("dict[str, Any]", event)


def _together(lines: list[bytes], *, texts: bool) -> list[dict[str, Any]] | None:
    """Return the events of lines, decoded at once; None where some line may be no event.

    With `texts`, a line that ends with parameters or a result is parted there. Where both parts
    are JSON, and the first one is an object with members, so is the whole.
    """
    if not lines[-1].endswith(b"\n"):
        return None
    heads: list[str] = []
    tails: dict[int, tuple[str, str]] = {}
    try:
        for place, line in enumerate(lines):
            text = line.decode()
            if texts and text.endswith("}\n"):
                is_run = text.startswith(_RUN)
                mark = _PARAMS if is_run else _RESULT
                at = text.find(mark)
                if at > 0:
                    begin = at + len(mark) - is_run  # the brace is a part of the parameters
                    tails[place] = "params" if is_run else "result", text[begin:-2]
                    text = text[:at] + "}"
            heads.append(text)
        events = _values(heads)
        if tails:
            _values([text for _, text in tails.values()])
    except (ValueError, RecursionError):
        return None
    for place, (name, text) in tails.items():
        if not events[place]:
            return None
        events[place][name] = Text(text)
    return events if all(type(event) is dict for event in events) else None


def _values(texts: list[str]) -> list[Any]:
    """Return the values of texts of JSON, one each, decoded at once.

    Raises:
        ValueError: some text is not one value.
        RecursionError: some text is too deep.
    """
    values: list[Any] = _decode("[" + f',"{_BETWEEN}",'.join(texts) + "]")
    if len(values) != 2 * len(texts) - 1 or values[1::2].count(_BETWEEN) != len(texts) - 1:
        raise ValueError("what is between them is not where it was put")
    return values[::2]


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
