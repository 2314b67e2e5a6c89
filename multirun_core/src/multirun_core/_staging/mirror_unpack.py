"""Unpacking what comes back: aside first, and into run directories once all of it is whole."""
# ruff: noqa: PTH102, PTH103, PTH106
# Every run is unpacked, and pathlib would take longer than the system calls.

from __future__ import annotations

import asyncio
import os
import tarfile
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from multirun_core._staging.files import (
    is_directory,
    link_target,
    new_part,
    open_up,
    remove,
)
from multirun_core._staging.names import PRIVATE, SHARED

_KEPT_BYTES = 4 << 20  # so much of a stream waits in memory for the thread that unpacks it
_WAIT_SECONDS = 0.02


class Inflow:
    """A stream that is filled in the event loop and read in a thread."""

    def __init__(self) -> None:
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._total = 0
        self._ended = False
        self._broken = False
        self._left = False
        self._changed = threading.Condition()

    @property
    def total(self) -> int:
        """How many bytes have come."""
        return self._total

    async def put(self, block: bytes) -> None:
        """Take a block; waits while too much is unread."""
        while self._size > _KEPT_BYTES and not self._left:  # noqa: ASYNC110 - nor does a thread tell
            await asyncio.sleep(_WAIT_SECONDS)
        if self._left:
            return
        with self._changed:
            self._blocks.append(bytes(block))
            self._size += len(block)
            self._total += len(block)
            self._changed.notify()

    def end(self, *, broken: bool = False) -> None:
        """Note that nothing more comes; `broken` where the rest was lost, or is not wanted."""
        with self._changed:
            self._ended, self._broken = True, broken
            if broken:
                self._blocks.clear()
                self._size = 0
            self._changed.notify()

    def leave(self) -> None:
        """Note that nobody reads any more; in the thread."""
        self._left = True

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end only; in the thread."""
        parts: list[bytes] = []
        while size > 0:
            with self._changed:
                while not self._blocks and not self._ended:
                    self._changed.wait()
                if self._broken:
                    raise OSError("the stream was cut")
                if not self._blocks:
                    break
                block = self._blocks.popleft()
                if len(block) > size:
                    self._blocks.appendleft(block[size:])
                    block = block[:size]
                self._size -= len(block)
            parts.append(block)
            size -= len(block)
        return b"".join(parts)


class Unpacker:
    """Unpacks one stream with the files of several runs.

    Attributes:
        problems: what could not be unpacked, by run, in plain words.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        """Prepare for the runs of a stream.

        Args:
            targets: the run directories here by their names in the stream.
        """
        self._targets = dict(targets)
        self._parts: dict[str, str] = {}
        self.problems: dict[str, list[str]] = {}

    def unpack(self, stream: Inflow) -> None:
        """Unpack all of a stream aside; in a thread.

        Raises:
            OSError: there is no room, or the stream was cut.
            tarfile.TarError: it is no tar stream.
        """
        try:
            self._unpack(stream)
        finally:
            stream.leave()

    def _unpack(self, stream: Inflow) -> None:
        first = stream.read(tarfile.BLOCKSIZE)
        if not first:
            return
        source: Any = _Pushed(first, stream)  # all that a tar stream asks for is `read`
        with tarfile.open(
            fileobj=source,
            mode="r|",
            bufsize=tarfile.RECORDSIZE,
            ignore_zeros=True,  # it may be several archives in a row
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar:
            for member in tar:
                self._unpack_one(tar, member)
                tar.members.clear()  # type: ignore[attr-defined] # it would keep them all

    def _unpack_one(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix("./")
        key, _, rel = name.partition("/")
        target = self._targets.get(key)
        if target is None or not rel or rel == PRIVATE or rel.startswith(f"{PRIVATE}/"):
            return
        if member.issym() and _is_staged(f"{target}/{rel}", rel, member.linkname):
            return
        part = self._part(key, target)
        linkname = member.linkname
        if member.islnk():
            owner, _, linkname = linkname.removeprefix("./").partition("/")
            if owner != key:
                return self._leave_out(key, rel, "is a link to a file of another run")
        try:
            member = member.replace(name=rel, linkname=linkname, deep=False)
            member = tarfile.data_filter(member, part)
            if member.islnk() and not os.path.lexists(f"{part}/{linkname}"):
                return self._leave_out(key, rel, f"is a link to {linkname!r}, which did not come")
            self._clear_way(part, rel, keep_directory=member.isdir())
            tar.extract(member, part, filter="fully_trusted")
        except tarfile.FilterError as error:
            return self._leave_out(key, rel, f"is left out: {error}")
        return None

    @staticmethod
    def _clear_way(part: str, rel: str, *, keep_directory: bool) -> None:
        path = f"{part}/{rel}"
        if os.path.lexists(path) and not (keep_directory and is_directory(path)):
            remove(path)

    def _part(self, key: str, target: str) -> str:
        part = self._parts.get(key)
        if part is None:
            os.makedirs(target, exist_ok=True)  # the user may have removed it meanwhile
            open_up(target)
            part = self._parts[key] = new_part(target)
            os.mkdir(part)
        return part

    def _leave_out(self, key: str, rel: str, why: str) -> None:
        self.problems.setdefault(key, []).append(f"{rel!r} {why}")

    def settle(self, keys: Iterable[str]) -> None:
        """Put the files of some runs in their places, and remove the others; in a thread.

        Raises:
            OSError: they cannot be put there.
        """
        try:
            for key in keys:
                part = self._parts.get(key)
                if part is not None:
                    _merge(part, self._targets[key])
        finally:
            self.drop()

    def drop(self) -> None:
        """Remove what was unpacked and not settled."""
        for part in self._parts.values():
            with suppress(OSError):
                remove(part)
        self._parts.clear()


class _Pushed:
    """A stream whose beginning has been read already."""

    def __init__(self, first: bytes, stream: Inflow) -> None:
        self._first = first
        self._stream = stream

    def read(self, size: int) -> bytes:
        if not self._first:
            return self._stream.read(size)
        first, self._first = self._first[:size], self._first[size:]
        return first + self._stream.read(size - len(first))


def _is_staged(path: str, rel: str, said: str) -> bool:
    """Whether a link is as it was staged: what it says leads here to the same."""
    here = link_target(path)
    if here is None:
        return False
    return here == said or (
        here.startswith("../" * (2 + rel.count("/")) + f"{SHARED}/") and f"/{SHARED}/" in f"/{said}"
    )


def _merge(source: str, target: str) -> None:
    """Move all that is in one directory to another; what is in the way makes room.

    A link in the target is never followed: what has its name takes its place.
    """
    for name in os.listdir(source):  # noqa: PTH208 - names are all that is wanted
        here, there = f"{source}/{name}", f"{target}/{name}"
        if is_directory(here):
            if is_directory(there):
                open_up(there)
                _merge(here, there)
                os.rmdir(here)
                continue
            if os.path.lexists(there):
                remove(there)
        elif is_directory(there):
            remove(there)
        os.rename(here, there)  # noqa: PTH104
