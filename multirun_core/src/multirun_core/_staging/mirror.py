"""`Mirror`: carries staged run directories to another machine, and what is new in them back.

A mirror is one directory over there. Trees travel as tar streams, several small run directories in
one; what several runs need goes there once for each file system, by content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._staging.mirror_pack import (
    END,
    Parcel,
    bytes_block,
    look,
    pack,
    pack_outer,
)
from multirun_core._staging.mirror_store import Fetched as Fetched
from multirun_core._staging.mirror_store import MirrorError as MirrorError
from multirun_core._staging.mirror_store import Store
from multirun_core._staging.mirror_store import Stores as Stores
from multirun_core._staging.mirror_streams import (
    STALL_SECONDS,
    Turns,
    ended,
    pieces,
    stalling,
    to_the_end,
)
from multirun_core._staging.mirror_supply import Supply
from multirun_core._staging.mirror_unpack import Inflow, Unpacker
from multirun_core._staging.mirror_words import (
    batch_text,
    complaint,
    copies_in,
    escaped,
    find_words,
    missing_links,
    script,
)
from multirun_core._staging.names import SHARED

if TYPE_CHECKING:
    from multirun_core._transport.base import Completed, Sink, Source, Transport

_log = logging.getLogger("multirun.staging")

_WHOLE_BYTES = 1 << 20  # up to here, a stream is put together before it is sent
_SHORT_SECONDS = 60.0  # for commands that carry nothing


class Mirror:
    """One directory over there.

    Attributes:
        base: its path, absolute; known once it is open.
        mark: tells its file system from others; two machines may share one.
    """

    def __init__(self, transport: Transport, stores: Stores, *, place: str, name: str) -> None:
        """Prepare; nothing is done yet.

        Args:
            transport: how the machine is reached; a new one may be set later.
            stores: shared by all mirrors of the sweep.
            place: the directory that the mirror's own is made in; one that is not absolute is
                below the home directory, and "" stands for `multirun` in the login's cache.
            name: the name of the mirror's directory in that.
        """
        self.transport = transport
        self.base = self.mark = ""
        self._stores = stores
        self._place, self._name = place, name

    async def open(self) -> None:
        """Make the directory, and find out what is there.

        Raises:
            MirrorError: it cannot be made.
            TransportError: the machine cannot be reached.
        """
        done = await self._short("open", self._place, self._name, uuid.uuid4().hex)
        base, mark, names = done.stdout.split(b"\0", 2)
        self.base, self.mark = base.decode(errors="surrogateescape"), mark.decode()
        keys = names.decode(errors="replace").split()
        self._store.keys |= {key for key in keys if re.fullmatch("[0-9a-f]{32}", key)}

    @property
    def _store(self) -> Store:
        return self._stores.of(self.mark)

    # There.

    def furnished(self, sources: Iterable[Path]) -> bool:
        """Whether the sets of inputs are known to be there which run directories may need."""
        shared = {source.parent.parent / SHARED for source in sources}
        return all(map(self._supply.has_all, shared))

    async def furnish(self, sources: Sequence[Path]) -> None:
        """Make sure that the sets of inputs are there which run directories need.

        `send` does so too. This is for who has something to do once they are, or may give up before
        anything of a run is there; cancelled, it ends what is on its way.

        Raises:
            MirrorError, TransportError, StagingError, OSError: as with `send`.
        """
        contents = await asyncio.to_thread(lambda: list(map(look, sources)))
        for source, content in zip(sources, contents, strict=True):
            await self._supply.sets(source.parent.parent / SHARED, content.sets)

    async def send(
        self, parcels: Sequence[Parcel], then: Sequence[str] = ()
    ) -> tuple[Completed, dict[str, list[str]]]:
        """Carry run directories there, and run a command when they are in place.

        Args:
            parcels: the directories, all in one stream.
            then: a command; it is started in the mirror's directory.

        Returns:
            How it went, and by the names of parcels what links lead to that does not exist there;
            the order of such a run has been taken away, so that it is not begun.

        Raises:
            MirrorError: the far side could not take them; none may be in place.
            TransportError: the link broke; nobody knows how far it came.
            StagingError: a file changed while it was sent.
            OSError: a file here cannot be read.
        """
        contents = await asyncio.to_thread(lambda: [look(parcel.source) for parcel in parcels])
        supply = self._supply
        keys = [
            await supply.sets(parcel.source.parent.parent / SHARED, content.sets)
            for parcel, content in zip(parcels, contents, strict=True)
        ]
        await supply.own(contents)
        batch = f"batch-{uuid.uuid4().hex}"
        packed = list(zip(parcels, contents, keys, strict=True))

        def stream() -> Iterator[bytes]:
            yield from pack_outer(parcel.name for parcel in parcels)
            for one in packed:
                yield from pack(*one)
            yield bytes_block(batch, batch_text(packed).encode(errors="surrogateescape")) + END

        size = sum(content.size for content in contents)
        done = await self._send(stream(), size, "receive", self.base, batch, *then)
        return done, missing_links(done.stdout, parcels, contents)

    async def supply(self, contents: Mapping[str, bytes]) -> str:
        """Make sure that some files are there, once for each file system; return their directory.

        Raises:
            MirrorError: the far side could not take them.
            TransportError: the link broke.
        """
        return f"{self.base}/{SHARED}/{await self._supply.files(contents)}"

    @property
    def _supply(self) -> Supply:
        return Supply(self._stores, self._store, self._deliver)

    async def _deliver(self, stream: Iterator[bytes], size: int, key: str, part: str) -> bytes:
        if size:
            _log.info("%s: inputs, %d bytes, go there", self.transport.name, size)
        turns = self._stores.turns
        return (await self._send(stream, size, "store", self.base, key, part, turns=turns)).stdout

    async def _send(
        self, stream: Iterator[bytes], size: int, *words: str, turns: Turns | None = None
    ) -> Completed:
        if size <= _WHOLE_BYTES:
            whole = await asyncio.to_thread(b"".join, stream)
            return await self._run(words, stdin=whole)
        async with stalling() as moved:
            blocks = pieces(stream, moved)
            if turns is not None:
                blocks = turns.ordered(blocks, moved)
            return await self._run(words, stdin=blocks, timeout=None)

    # And back.

    async def fetch(
        self,
        folder: str,
        wanted: Mapping[str, Path],
        patterns: Sequence[str] | None,
        still_wanted: Callable[[str], bool],
    ) -> Fetched:
        """Bring what is new in run directories, into place only once all of it is here.

        Args:
            folder: the folder over there that they are in, absolute.
            wanted: the run directories here by their names there.
            patterns: what to bring besides output and results; None for all that is new. One
                without "/" is matched against names, one with it against paths in the run
                directory; of a directory all is brought.
            still_wanted: asked of each just before its files are put in place.

        Raises:
            TransportError: the link broke; nothing has changed here.
            OSError: it cannot be written here; likewise, or not all is in place.
        """
        try:
            return await self._fetch(folder, wanted, patterns, still_wanted)
        except (MirrorError, tarfile.TarError) as error:
            if len(wanted) == 1:
                return await self._fetch_opened(folder, wanted, patterns, still_wanted, error)
        fetched = Fetched()
        for name, path in wanted.items():
            one = await self.fetch(folder, {name: path}, patterns, still_wanted)
            fetched.notes.update(one.notes)
            fetched.failed.update(one.failed)
        return fetched

    async def _fetch_opened(
        self,
        folder: str,
        wanted: Mapping[str, Path],
        patterns: Sequence[str] | None,
        still_wanted: Callable[[str], bool],
        first: Exception,
    ) -> Fetched:
        """Try once more with a directory that its program may have locked."""
        with contextlib.suppress(MirrorError):
            await self._short("open_up", folder, *wanted)
        try:
            return await self._fetch(folder, wanted, patterns, still_wanted)
        except (MirrorError, tarfile.TarError) as error:
            return Fetched({}, dict.fromkeys(wanted, str(error) or str(first)))

    async def _fetch(
        self,
        folder: str,
        wanted: Mapping[str, Path],
        patterns: Sequence[str] | None,
        still_wanted: Callable[[str], bool],
    ) -> Fetched:
        words = ["pack", folder, str(len(wanted)), *wanted, *find_words(wanted, patterns)]
        left_out = await self._left_out(wanted) if patterns is None else ""
        stdin = left_out.encode(errors="surrogateescape")
        unpacker = Unpacker({name: str(path) for name, path in wanted.items()})
        async with self._stores.unpacking:
            unpacked = await self._take(words, stdin, unpacker)
        settled: list[str] = []
        try:
            unpacked.result()
            settled += filter(still_wanted, wanted)
        finally:
            await to_the_end(partial(unpacker.settle, settled))
        return Fetched(unpacker.problems)

    async def _take(
        self, words: Sequence[str], stdin: bytes, unpacker: Unpacker
    ) -> asyncio.Future[None]:
        """Have unpacked what comes, and return how that went; where not all came, nothing stays."""
        inflow = Inflow()
        threads, loop = self._stores.unpackers, asyncio.get_running_loop()
        unpacking = loop.run_in_executor(threads, unpacker.unpack, inflow)
        broken = True
        try:
            async with stalling() as moved:

                async def take(block: bytes) -> None:
                    moved()
                    if unpacking.done():
                        unpacking.result()
                    await inflow.put(block)

                await self._run(words, stdin=stdin, stdout=take, timeout=None)
            broken = False
        finally:
            inflow.end(broken=broken)
            try:
                await ended(unpacking)
            except asyncio.CancelledError:
                broken = True
                raise
            finally:
                if broken:
                    await to_the_end(unpacker.drop)
        return unpacking

    async def _left_out(self, wanted: Mapping[str, Path]) -> str:
        """Return shell text that leaves out what is still as it was copied from a set."""

        def copies() -> dict[str, dict[str, tuple[int, str]]]:
            return {name: copies_in(path) for name, path in wanted.items()}

        lines: list[str] = []
        for name, found in (await asyncio.to_thread(copies)).items():
            shared = wanted[name].parent.parent / SHARED
            for rel, (number, stored) in found.items():
                key = (await self._stores.stored(shared, number)).key
                there = shlex.quote(f"../{SHARED}/{key}/{stored}")
                here = f"{name}/{rel}"
                lines.append(
                    f"cmp -s -- {there} {shlex.quote(here)} && "
                    f'set -- ! -path {shlex.quote(escaped(here))} "$@"\n'
                )
        return "".join(lines)

    async def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove run directories there.

        Raises:
            TransportError: they may still be there.
        """
        for name in names:
            if not re.fullmatch(r"[\w.-]*\w", name):
                raise AssertionError(f"{name!r} is no name of ours")
        await self._short("remove", folder, *names)

    # Commands.

    async def _short(self, *words: str) -> Completed:
        return await self._run(words, timeout=_SHORT_SECONDS)

    async def _run(
        self,
        words: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        timeout: float | None = STALL_SECONDS,  # noqa: ASYNC109 - the transport keeps it
    ) -> Completed:
        done = await self.transport.run(
            ["sh", "-c", script(), "sh", *words], stdin=stdin, stdout=stdout, timeout=timeout
        )
        if done.code != 0 and not (done.code == 1 and b"file changed as we read it" in done.stderr):
            raise MirrorError(f"{self.transport.name}: {complaint(done)}")
        return done
