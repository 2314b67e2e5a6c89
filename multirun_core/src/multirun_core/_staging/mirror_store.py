"""What several mirrors of one sweep know together, and what one says of what it brought."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from multirun_core._staging.content import combined, file_digests
from multirun_core._staging.mirror_streams import Turns
from multirun_core._staging.tree import scan
from multirun_core._threads import Threads, heard
from multirun_core.errors import RunnerError

LEAST_REUSED = 64 * 1024
"""Bytes from which on a file that is there by another name is not sent again.

Over there that takes four short processes, some 4 ms, in which a link of 1 Gbit/s carries more."""

_UNPACKED_AT_ONCE = 64


class MirrorError(RunnerError):
    """Raised when the far side refused: a full disk, no permission; says what it said."""


@dataclass(slots=True)
class Store:
    """What is known of the sets of inputs on one file system.

    Attributes:
        keys: the names of those that are there, and of single files.
        seen: the names that files of run directories would have, which are not held there.
        lock: held while one is sent.
    """

    keys: set[str] = field(default_factory=set[str])
    seen: set[str] = field(default_factory=set[str])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class StoredSet(NamedTuple):
    """What is known of the content of a set of inputs.

    Attributes:
        key: its name over there.
        large: the digests of its files that have `LEAST_REUSED` bytes, by their paths in it.
    """

    key: str
    large: dict[str, str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back.

    Attributes:
        notes: by name, what was left out, in plain words.
        failed: why, by name, of run directories that did not come.
    """

    notes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    failed: dict[str, str] = field(default_factory=dict[str, str])


class Stores:
    """What several mirrors of one sweep share: which file system has which set of inputs.

    Attributes:
        turns: whose inputs go on.
        unpackers: the threads that unpack what comes back, each for as long as that takes.
        unpacking: held while one is needed, so that nothing comes that nobody unpacks.
    """

    def __init__(self) -> None:
        self.turns = Turns()
        self.unpackers = Threads(_UNPACKED_AT_ONCE, "multirun-unpack")
        self.unpacking = asyncio.Semaphore(_UNPACKED_AT_ONCE)
        self._by_mark: dict[str, Store] = {}
        self._sets: dict[tuple[str, int], asyncio.Future[StoredSet]] = {}

    def key_of(self, shared: Path, number: int) -> str | None:
        """Return the name of a set over there; None where its content is not known yet."""
        known = self._sets.get((str(shared), number))
        if known is None or not known.done() or known.cancelled() or known.exception() is not None:
            return None
        return known.result().key

    def of(self, mark: str) -> Store:
        """Return the store on the file system with that mark."""
        return self._by_mark.setdefault(mark, Store())

    async def stored(self, shared: Path, number: int) -> StoredSet:
        """Return what is known of the content of a set; it is read once.

        Raises:
            StagingError: it cannot be read now; the next call tries again.
        """
        known = self._sets.get((str(shared), number))
        if known is None or (known.done() and (known.cancelled() or known.exception() is not None)):
            known = asyncio.ensure_future(asyncio.to_thread(_look, shared / str(number)))
            known.add_done_callback(heard)
            self._sets[str(shared), number] = known
        return await asyncio.shield(known)


def _look(folder: Path) -> StoredSet:
    tree = scan(str(folder), follow=False)
    digests = file_digests(tree)
    files = [entry for entry in tree if entry.kind == "file"]
    large = {
        entry.rel: told
        for entry, told in zip(files, digests, strict=True)
        if entry.size >= LEAST_REUSED
    }
    return StoredSet(combined(tree, digests)[:32], large)
