"""A file or directory tree as a list of entries, without reading the files in it."""
# ruff: noqa: PTH114, PTH115, PTH116, PTH120
# A tree may hold many files, and pathlib would take longer than these system calls.

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Literal, TypeAlias

from multirun_core._threads import checkpoint
from multirun_core.errors import StagingError


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link of a tree.

    Attributes:
        rel: its path in the tree; "" for the tree's root.
        kind: "file", "directory" or "link".
        source: where it is now.
        mode: its permission bits.
        size: bytes of a file; 0 otherwise.
        mtime_ns: when it was modified.
        mark: its device, inode and change time: a file with the same mark has the same content.
        target: where a link leads to.
    """

    rel: str
    kind: Literal["file", "directory", "link"]
    source: str
    mode: int
    size: int = 0
    mtime_ns: int = 0
    mark: tuple[int, int, int] = (0, 0, 0)
    target: str = ""

    @property
    def executable(self) -> bool:
        """Whether a file may be executed by its owner."""
        return self.kind == "file" and bool(self.mode & stat.S_IXUSR)


Tree: TypeAlias = tuple[Entry, ...]


def scan(path: str, *, follow: bool = True) -> Tree:
    """Look at a file or a whole directory.

    Args:
        path: the file or directory.
        follow: whether links are looked into: one that stays inside the tree remains a link, one
            that leads out of it stands for what it leads to. Otherwise all links remain links.

    Returns:
        Its entries, sorted by path, the root first.

    Raises:
        StagingError: something in it cannot be copied; names all such things.
    """
    return _Scan(path, follow).tree()


class _Scan:
    def __init__(self, path: str, follow: bool) -> None:
        self.path = path
        self.follow = follow
        self.real = os.path.realpath(path) if follow else path
        self.entries: list[Entry] = []
        self.problems: list[str] = []
        # Directories still to be read: path in the tree, place, the directories that links led to.
        self.open: list[tuple[str, str, frozenset[tuple[int, int]]]] = []

    def tree(self) -> Tree:
        self._add("", self.path, frozenset())
        while self.open:
            checkpoint()
            rel, place, followed = self.open.pop()
            try:
                with os.scandir(place) as found:
                    names = [entry.name for entry in found]
            except OSError as error:
                self._refuse(place, error)
                continue
            for name in names:
                self._add(f"{rel}/{name}" if rel else name, f"{place}/{name}", followed)
        if self.problems:
            raise StagingError("; ".join(sorted(self.problems)))
        return tuple(sorted(self.entries, key=lambda entry: os.fsencode(entry.rel)))

    def _add(self, rel: str, place: str, followed: frozenset[tuple[int, int]]) -> None:
        try:
            found = os.lstat(place)
            if stat.S_ISLNK(found.st_mode) and (rel or not self.follow):
                target = self._inner_target(rel, place) if self.follow else os.readlink(place)
                if target is not None:
                    self.entries.append(
                        Entry(rel, "link", place, 0o777, target=target, mark=_mark(found))
                    )
                    return
            if stat.S_ISLNK(found.st_mode):
                found = os.stat(place)
                if stat.S_ISDIR(found.st_mode):
                    followed = self._once_more(place, found, followed)
        except (OSError, StagingError) as error:
            self._refuse(place, error)
            return
        if stat.S_ISDIR(found.st_mode):
            self.entries.append(_entry(rel, "directory", place, found))
            self.open.append((rel, place, followed))
        elif not stat.S_ISREG(found.st_mode):
            self._refuse(place, "is neither a file nor a directory")
        elif not os.access(place, os.R_OK):
            self._refuse(place, "cannot be read by this user")
        else:
            self.entries.append(_entry(rel, "file", place, found))

    def _inner_target(self, rel: str, place: str) -> str | None:
        """Return what a link inside the copied tree says; None where it leads out of the tree."""
        real = os.path.realpath(place, strict=True)
        if real != self.real and not real.startswith(self.real.rstrip("/") + "/"):
            return None
        here = os.path.dirname(rel)
        said = os.readlink(place)
        steps = said.split("/")
        climbs = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
        plain = (
            not said.startswith("/")
            and ".." not in steps[climbs:]
            and climbs <= (here.count("/") + 1 if here else 0)
            and os.path.realpath(os.path.dirname(place)) == os.path.normpath(f"{self.real}/{here}")
        )
        # A link that is absolute, or takes a detour, would not lead to the same place in a copy.
        return said if plain else os.path.relpath(real, f"{self.real}/{here}")

    @staticmethod
    def _once_more(
        place: str, found: os.stat_result, followed: frozenset[tuple[int, int]]
    ) -> frozenset[tuple[int, int]]:
        identity = (found.st_dev, found.st_ino)
        if identity in followed:
            raise StagingError("is a link that leads in a circle")
        return followed | {identity}

    def _refuse(self, place: str, why: str | Exception) -> None:
        if isinstance(why, FileNotFoundError):
            dangling = os.path.islink(place)
            why = f"is a link to {os.readlink(place)!r}, " if dangling else ""
            why += "which does not exist" if dangling else "has vanished"
        elif isinstance(why, OSError):
            why = f"cannot be read: {why.strerror}"
        self.problems.append(f"{place!r} {why}")


def _entry(
    rel: str, kind: Literal["file", "directory"], place: str, found: os.stat_result
) -> Entry:
    size = found.st_size if kind == "file" else 0
    mode = found.st_mode & 0o777
    return Entry(rel, kind, place, mode, size, found.st_mtime_ns, _mark(found))


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return (found.st_dev, found.st_ino, found.st_ctime_ns)


def total_size(tree: Tree) -> int:
    """Return the bytes in all files of a tree."""
    return sum(entry.size for entry in tree)


def glance(tree: Tree) -> list[tuple[object, ...]]:
    """Return what tells a changed tree from the same one without reading any file."""
    return [
        (entry.rel, entry.kind, entry.executable, entry.target)
        + ((entry.size, entry.mtime_ns) if entry.kind == "file" else ())
        for entry in tree
    ]
