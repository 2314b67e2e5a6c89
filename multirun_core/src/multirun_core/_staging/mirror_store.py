"""What several mirrors of one sweep know together, and what one says of what it brought."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from multirun_core._staging.content import digest
from multirun_core._staging.tree import scan
from multirun_core.errors import RunnerError


class MirrorError(RunnerError):
    """Raised when the far side refused: a full disk, no permission; says what it said."""


@dataclass(slots=True)
class Store:
    """What is known of the sets of inputs on one file system.

    Attributes:
        keys: the names of those that are there.
        lock: held while one is sent.
    """

    keys: set[str] = field(default_factory=set[str])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


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
    """What several mirrors of one sweep share: which file system has which set of inputs."""

    def __init__(self) -> None:
        self._by_mark: dict[str, Store] = {}
        self._keys: dict[tuple[str, int], asyncio.Future[str]] = {}

    def of(self, mark: str) -> Store:
        """Return the store on the file system with that mark."""
        return self._by_mark.setdefault(mark, Store())

    async def key(self, shared: Path, number: int) -> str:
        """Return the name that a set has by its content; it is read once."""
        known = self._keys.get((str(shared), number))
        if known is None:
            known = asyncio.ensure_future(asyncio.to_thread(_key, shared / str(number)))
            self._keys[str(shared), number] = known
        return await asyncio.shield(known)


def _key(folder: Path) -> str:
    return digest(scan(str(folder), follow=False))[:32]
