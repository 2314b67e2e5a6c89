"""What is in the files of a tree: digest it, copy it."""
# ruff: noqa: PTH101, PTH102, PTH116, PTH211
# A tree may hold many files, and pathlib would take longer than these system calls.

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from multirun_core._staging.files import remove, write
from multirun_core._staging.tree import Entry, Tree
from multirun_core._threads import checkpoint
from multirun_core.errors import StagingError

_BLOCK = 1 << 20  # bytes
_KERNEL_BLOCK = 1 << 26  # bytes; a kernel call is not left before it is done
_FICLONE = 0x40049409  # ioctl_ficlonerange(2)
# What the kernel says where it cannot copy by itself, see copy_file_range(2).
_CANNOT = frozenset(
    {
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    }
)
_CANNOT_LINK = _CANNOT | {errno.EMLINK}
_REMEMBERED = 4096
# Digests of files that were read or copied here, by what changes where their content does: a copy
# is not read again only to learn what it holds.
_known: dict[tuple[int, ...], str] = {}


class _Hashing(Protocol):
    def update(self, data: bytes, /) -> object: ...


def digest(tree: Tree) -> str:
    """Return the SHA-256 of a file's content, or of all that makes up a directory, in hex.

    For a directory these are, in order of paths: kinds, paths, executable bits, targets of links,
    and the digests of contents.
    """
    return combined(tree, file_digests(tree))


def file_digests(tree: Tree) -> list[str]:
    """Return the SHA-256 of the content of each file in a tree, in hex and in order."""
    return [digest_of_file(entry.source) for entry in tree if entry.kind == "file"]


# The same file is looked at more than once when a sweep is resumed, and may be large.
digest_once = lru_cache(maxsize=64)(digest)


def digest_of_file(path: str) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    fd = _open_file(path)
    try:
        if (known := _known.get(_identity(os.fstat(fd)))) is not None:
            return known
        hashing = sha256()
        while block := os.read(fd, _BLOCK):
            hashing.update(block)
            checkpoint(len(block))
    finally:
        os.close(fd)
    return hashing.hexdigest()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _remember(path: str, told: str) -> None:
    while len(_known) >= _REMEMBERED:
        _known.pop(next(iter(_known)), None)
    _known[_identity(os.stat(path))] = told


def combined(tree: Tree, contents: Iterable[str]) -> str:
    """Return what `digest` does, from the digests of the files in order."""
    digests = iter(contents)
    if tree[0].kind == "file":
        return next(digests)
    hashing = sha256()
    for entry in tree[1:]:
        detail = next(digests) if entry.kind == "file" else entry.target
        kind = "executable" if entry.executable else entry.kind
        # No field can hold a NUL.
        hashing.update(
            b"%b\0%b\0%b\0" % (kind.encode(), os.fsencode(entry.rel), os.fsencode(detail))
        )
    return hashing.hexdigest()


def copy(tree: Tree, place: str) -> None:
    """Copy a tree to a place that does not exist yet, by the kernel where it can.

    Modes and times are kept.

    Raises:
        OSError: it cannot be written or read; what was copied so far is removed.
    """
    _build(tree, place, lambda entry, path: _copy_file(entry, path, None))


def copy_and_digest(tree: Tree, place: str) -> str:
    """Copy a tree as `copy` does and return the digest of what was copied."""
    digests: list[str] = []

    def copy_one(entry: Entry, path: str) -> None:
        hashing = sha256()
        _copy_file(entry, path, hashing)
        digests.append(hashing.hexdigest())
        _remember(path, digests[-1])

    _build(tree, place, copy_one)
    return combined(tree, digests)


def link_or_copy(tree: Tree, place: str) -> None:
    """Make a tree of hard links to the files of `tree`, or of copies where there can be none."""

    def link_one(entry: Entry, path: str) -> None:
        try:
            os.link(entry.source, path)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            _copy_file(entry, path, None)

    _build(tree, place, link_one)


def _build(tree: Tree, place: str, make_file: Callable[[Entry, str], None]) -> None:
    def path_of(entry: Entry) -> str:
        return f"{place}/{entry.rel}" if entry.rel else place

    try:
        for entry in tree:
            if entry.kind == "directory":
                os.mkdir(path_of(entry), 0o700)
            elif entry.kind == "link":
                os.symlink(entry.target, path_of(entry))
            else:
                make_file(entry, path_of(entry))
        for entry in reversed(tree):  # at the end: nothing can be made in a read-only directory
            if entry.kind == "directory":
                os.utime(path_of(entry), ns=(entry.mtime_ns, entry.mtime_ns))
                os.chmod(path_of(entry), entry.mode)
    except FileExistsError:  # it is not ours
        raise
    except BaseException:  # a disk that is full needs the room, and so does who stopped this
        with suppress(OSError):
            remove(place)
        raise


def _open_file(path: str) -> int:
    # Where a pipe has taken the file's place, opening it must not wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StagingError(f"{path!r} is no longer a file")
    return fd


def _copy_file(entry: Entry, path: str, hashing: _Hashing | None) -> None:
    source = _open_file(entry.source)
    try:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if hashing is not None or not _clone(source, target):
                _copy_content(source, target, hashing)
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
            os.fchmod(target, entry.mode)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _clone(source: int, target: int) -> bool:
    """Copy by the kernel as far as it can; True where that was all of it."""
    if sys.platform != "linux":
        return False
    from fcntl import ioctl

    try:
        ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    else:
        return True
    try:
        while copied := os.copy_file_range(source, target, _KERNEL_BLOCK):
            checkpoint(copied)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    return False  # it may stop early; the plain copy goes on from there


def _copy_content(source: int, target: int, hashing: _Hashing | None) -> None:
    while block := os.read(source, _BLOCK):
        if hashing is not None:
            hashing.update(block)
        write(target, block)
        checkpoint(len(block))
