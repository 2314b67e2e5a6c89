"""What of a staged run directory travels, and as which tar stream.

The directory is its own manifest. Regular files are sent. A link into `shared/` becomes a link to
the far copy of that set, and a file that is still as it was copied from a set is copied there from
the set again. Any other link that leads out of the directory must be good over there as it is.
"""
# ruff: noqa: PTH100, PTH118, PTH120
# Every run is packed, and pathlib would take longer than the system calls.

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from multirun_core._staging.files import link_target
from multirun_core._staging.mirror_streams import PIECE_BYTES
from multirun_core._staging.names import ATTEMPTS, CLEARING, PART, PRIVATE, SHARED
from multirun_core._staging.tree import Tree
from multirun_core.errors import StagingError

_LEAST_COPIED = 16 * 1024  # below that, sending a file costs less than copying it over there
_CLAIM = "claim-"  # what the wrapper has left of earlier attempts in a shared file system
_TAR_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Parcel:
    """A run directory that is to be carried there.

    Attributes:
        source: the directory here.
        name: its name there, relative to the mirror's directory.
        extra: further files in it by their relative names, such as an order.
    """

    source: Path
    name: str
    extra: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(slots=True)
class Content:
    """What is in a parcel.

    Attributes:
        entries: paths in the parcel, paths here, and what was seen there; in order.
        links: links as they are made there, by path in the parcel.
        copies: files that are copied there: their paths in the parcel, the set and path in it.
        outside: targets of links that lead out of the directory and must be there.
        sets: numbers of the sets that it needs.
        held: files of its own that are copied from one that is held there: their paths in the
            parcel, the name of the one that is held, and what was seen here.
        size: bytes of the files that are sent.
    """

    entries: list[tuple[str, str, os.stat_result]] = field(
        default_factory=list[tuple[str, str, os.stat_result]]
    )
    links: dict[str, tuple[str, int | None]] = field(
        default_factory=dict[str, tuple[str, int | None]]
    )
    copies: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    outside: list[str] = field(default_factory=list[str])
    sets: set[int] = field(default_factory=set[int])
    held: dict[str, tuple[str, os.stat_result]] = field(
        default_factory=dict[str, tuple[str, os.stat_result]]
    )
    size: int = 0


def look(source: Path) -> Content:
    """Look at a staged run directory.

    Raises:
        OSError: it cannot be read.
    """
    found = Content()
    place = os.fspath(source)
    shared = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(place))), SHARED)
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(f"{place}/{prefix}") as entries:
            names = sorted((entry.name for entry in entries), key=os.fsencode)
        for name in names:
            rel = prefix + name
            if _stays(prefix, name):
                continue
            path = f"{place}/{rel}"
            seen = os.lstat(path)
            if stat.S_ISLNK(seen.st_mode):
                _look_at_link(found, rel, path, place, shared)
            elif stat.S_ISDIR(seen.st_mode):
                found.entries.append((rel, path, seen))
                waiting.append(rel + "/")
            elif stat.S_ISREG(seen.st_mode):
                _look_at_file(found, rel, path, seen, shared)
    return found


def _stays(prefix: str, name: str) -> bool:
    """Whether a name is of what only concerns this machine."""
    if prefix == f"{PRIVATE}/":
        return name == ATTEMPTS or name.startswith((PART, CLEARING, _CLAIM))
    return not prefix and name.startswith(PART)


def _look_at_file(found: Content, rel: str, path: str, seen: os.stat_result, shared: str) -> None:
    if seen.st_size >= _LEAST_COPIED:
        for number in sets_in(shared):
            stored = f"{shared}/{number}/{rel}"
            try:
                there = os.lstat(stored)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if _same(there, seen):
                found.copies[rel] = (number, rel)
                found.sets.add(number)
                return
    found.entries.append((rel, path, seen))
    found.size += seen.st_size


def _same(stored: os.stat_result, seen: os.stat_result) -> bool:
    """Whether a file is as it was copied: what it says of itself tells, as when it was staged."""
    return (
        stat.S_ISREG(stored.st_mode)
        and stored.st_size == seen.st_size
        and stored.st_mtime_ns == seen.st_mtime_ns
        and stored.st_mode & stat.S_IXUSR == seen.st_mode & stat.S_IXUSR
    )


def sets_in(shared: str) -> list[int]:
    """Return the numbers of the sets of inputs there are, the newest first."""
    try:
        names = os.listdir(shared)  # noqa: PTH208 - names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _look_at_link(found: Content, rel: str, path: str, place: str, shared: str) -> None:
    said = link_target(path)
    if said is None:
        return  # it has just been removed
    if said.startswith("/"):
        found.links[rel] = (said, None)
        found.outside.append(said)
        return
    meant = os.path.normpath(os.path.join(os.path.dirname(path), said))
    if meant.startswith(place.rstrip("/") + "/"):
        found.links[rel] = (said, None)
        return
    in_set = re.match(r"(\d+)/(.+)\Z", meant.removeprefix(shared + "/"), re.DOTALL)
    if meant.startswith(shared + "/") and in_set:
        number = int(in_set[1])
        found.links[rel] = (in_set[2], number)
        found.sets.add(number)
        return
    found.links[rel] = (meant, None)
    found.outside.append(meant)


def pack_outer(
    names: Iterable[str], base: str = "", made: set[str] | None = None
) -> Iterator[bytes]:
    """Yield entries for the directories that files or directories with these names are in.

    Where an archive lacks one, GNU's tar makes it, but gives up if another process makes it at the
    same instant.
    """
    made = set() if made is None else made
    for name in names:
        for outer in _outer(name):
            if outer not in made:
                made.add(outer)
                yield _header(base + outer, tarfile.DIRTYPE, mode=0o755)


def pack(parcel: Parcel, content: Content, keys: Mapping[int, str]) -> Iterator[bytes]:
    """Yield the tar stream of a parcel, without the blocks that end an archive.

    Args:
        parcel: which one.
        content: what `look` found.
        keys: the names, there, of the sets that it needs.

    Raises:
        StagingError: a file has changed its size meanwhile.
        OSError: a file cannot be read.
    """
    base = parcel.name
    yield _header(base, tarfile.DIRTYPE, mode=0o755)
    made: set[str] = set()
    for rel, path, seen in content.entries:
        name = f"{base}/{rel}"
        if stat.S_ISDIR(seen.st_mode):
            made.add(rel)
            yield _header(name, tarfile.DIRTYPE, mode=stat.S_IMODE(seen.st_mode) | 0o700)
        else:
            yield from file_blocks(name, path, seen)
    up = "../" * (base.count("/") + 1)
    for rel, (target, number) in content.links.items():
        if number is not None:
            target = f"{'../' * rel.count('/')}{up}{SHARED}/{keys[number]}/{target}"
        yield _header(f"{base}/{rel}", tarfile.SYMTYPE, linkname=target, mode=0o777)
    yield from _pack_extra(base, parcel.extra, made, mode=0o600)  # an order holds variables


def pack_files(name: str, contents: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield a whole archive of a directory with some files."""
    yield _header(name, tarfile.DIRTYPE, mode=0o755)
    yield from _pack_extra(name, contents, set(), mode=0o644)
    yield END


def _pack_extra(
    base: str, contents: Mapping[str, bytes], made: set[str], mode: int
) -> Iterator[bytes]:
    for rel, data in contents.items():
        yield from pack_outer([rel], f"{base}/", made)
        yield bytes_block(f"{base}/{rel}", data, mode)


def pack_tree(tree: Tree, name: str) -> Iterator[bytes]:
    """Yield the tar stream of a tree as `scan` found it, without the blocks that end an archive."""
    for entry in tree:
        path = f"{name}/{entry.rel}" if entry.rel else name
        if entry.kind == "directory":
            yield _header(path, tarfile.DIRTYPE, mode=entry.mode | 0o700)
        elif entry.kind == "link":
            yield _header(path, tarfile.SYMTYPE, linkname=entry.target, mode=0o777)
        else:
            yield from file_blocks(path, entry.source, os.stat(entry.source))  # noqa: PTH116


END = bytes(2 * _TAR_BLOCK)
"""What ends an archive."""


def bytes_block(name: str, data: bytes, mode: int = 0o644) -> bytes:
    """Return a whole small file of a tar stream."""
    return _header(name, tarfile.REGTYPE, size=len(data), mode=mode) + data + _padding(len(data))


def file_blocks(name: str, path: str, seen: os.stat_result) -> Iterator[bytes]:
    """Yield a file of a tar stream, in pieces."""
    size = seen.st_size
    yield _header(
        name,
        tarfile.REGTYPE,
        size=size,
        mode=far_mode(seen.st_mode),
        mtime=seen.st_mtime,
    )
    left = size
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        while left and (block := os.read(fd, min(left, PIECE_BYTES))):
            left -= len(block)
            yield block
    finally:
        os.close(fd)
    if left:
        raise StagingError(f"{path!r} has become shorter while it was sent")
    yield _padding(size)


def far_mode(mode: int) -> int:
    """Return the permission bits that a file has over there."""
    return stat.S_IMODE(mode) & 0o755 | 0o600


def _header(
    name: str,
    kind: bytes,
    *,
    size: int = 0,
    mode: int,
    mtime: float | None = None,
    linkname: str = "",
) -> bytes:
    """Return what precedes a member: the format of GNU tar, which busybox knows too."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname = kind, size, mode, linkname
    info.mtime = 0 if mtime is None else int(mtime)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % _TAR_BLOCK)


def _outer(rel: str) -> Iterator[str]:
    parts = rel.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])
