"""`Supply`: what a file system over there holds, once, for run directories to be made from.

What is held has a name by its content: a set of inputs, or a single file. A set is made from files
of other sets, as far as these are there. Runs may have written to those through a link, so a copy
counts only if its digest, taken over there, is the right one; else the file is sent. Nothing ever
links to a single file that is held, and a copy of it is good without that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from multirun_core._staging.content import digest_of_file
from multirun_core._staging.mirror_pack import (
    END,
    Content,
    bytes_block,
    file_blocks,
    pack_files,
    pack_tree,
    sets_in,
)
from multirun_core._staging.mirror_store import LEAST_REUSED, Store, Stores
from multirun_core._staging.mirror_words import copies_text, lacking
from multirun_core._staging.tree import Tree, scan, total_size
from multirun_core.errors import StagingError

_log = logging.getLogger("multirun.staging")

Deliver: TypeAlias = Callable[[Iterator[bytes], int, str, str], Awaitable[bytes]]
"""Sends an archive, with so many bytes in files, of something called `part`; it is then given its
name, `key`, unless files are lacking, as what is said over there tells."""


class Supply:
    """Completes what one file system holds.

    Its methods raise what `deliver` raises, StagingError where a file is changed while it is sent
    and OSError where one cannot be read.
    """

    def __init__(self, stores: Stores, store: Store, deliver: Deliver) -> None:
        self._stores, self._store, self._deliver = stores, store, deliver

    def has_all(self, shared: Path) -> bool:
        """Whether all sets of inputs of a sweep are known to be there."""
        keys = (self._stores.key_of(shared, number) for number in sets_in(str(shared)))
        return all(key in self._store.keys for key in keys)

    async def sets(self, shared: Path, numbers: set[int]) -> dict[int, str]:
        """Make sure that sets of inputs are there; return their names there."""
        keys = {number: (await self._stores.stored(shared, number)).key for number in numbers}
        for number, key in keys.items():
            await self._once(key, partial(self._send_set, shared, number))
        return keys

    async def files(self, contents: Mapping[str, bytes]) -> str:
        """Make sure that a directory with some files is there; return its name there."""
        known = sha256()
        for name, data in sorted(contents.items()):
            known.update(b"%b\0%d\0%b" % (name.encode(), len(data), data))
        key, part = known.hexdigest()[:32], _new_part()
        await self._once(key, lambda: self._deliver(pack_files(part, contents), 0, key, part))
        return key

    async def own(self, contents: Sequence[Content]) -> None:
        """Have files of run directories held there, and copied, where more than one needs them.

        The first of its kind travels with its run, and is not held: most have no second, and would
        take up room there until the end of the sweep.
        """
        large = [
            (content, entry)
            for content in contents
            for entry in content.entries
            if stat.S_ISREG(entry[2].st_mode) and entry[2].st_size >= LEAST_REUSED
        ]
        if not large:
            return
        paths = [path for _, (_, path, _) in large]
        keys = await asyncio.to_thread(lambda: [digest_of_file(path)[:32] for path in paths])
        count = Counter(keys)
        for (content, entry), key in zip(large, keys, strict=True):
            if count[key] == 1 and key not in self._store.keys and key not in self._store.seen:
                self._store.seen.add(key)
                continue
            rel, path, seen = entry
            await self._once(key, partial(self._send_file, path, seen, key))
            content.entries.remove(entry)
            content.held[rel] = (key, seen)
            content.size -= seen.st_size

    async def _once(self, key: str, send: Callable[[], Awaitable[object]]) -> None:
        if key not in self._store.keys:
            async with self._store.lock:
                if key not in self._store.keys:
                    await send()
                    self._store.keys.add(key)

    async def _send_file(self, path: str, seen: os.stat_result, key: str) -> None:
        part = _new_part()

        def stream() -> Iterator[bytes]:
            yield from file_blocks(part, path, seen)
            yield END

        await self._deliver(stream(), seen.st_size, key, part)

    async def _send_set(self, shared: Path, number: int) -> None:
        stored = await self._stores.stored(shared, number)
        tree = await asyncio.to_thread(scan, str(shared / str(number)), follow=False)
        there, part = await self._there(shared), _new_part()
        while tree:
            sent, text = copies_text(tree, stored.large, there, part)
            size = total_size(sent)
            said = await self._deliver(_stream(sent, text, part), size, stored.key, part)
            tree, there = tuple(tree[at] for at in lacking(said)), {}
            if tree:
                _log.info("%d inputs have changed over there and go there again", len(tree))

    async def _there(self, shared: Path) -> dict[str, str]:
        """Return where files of sets are there, by their digests."""
        found: dict[str, str] = {}
        for number in sets_in(str(shared)):
            try:
                stored = await self._stores.stored(shared, number)
            except (OSError, StagingError):
                continue  # it was damaged here; nothing needs it any more
            if stored.key in self._store.keys:
                for rel, told in stored.large.items():
                    found.setdefault(told, f"{stored.key}/{rel}")
        return found


def _stream(sent: Tree, text: str, part: str) -> Iterator[bytes]:
    yield from pack_tree(sent, part)
    yield bytes_block(f"{part}.copies", text.encode(errors="surrogateescape"))
    yield END


def _new_part() -> str:
    return f".part-{uuid.uuid4().hex}"
