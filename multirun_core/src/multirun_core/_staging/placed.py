"""The inputs of a sweep as they lie in each of its run directories."""
# ruff: noqa: PTH102, PTH116, PTH211
# Every run is staged, and pathlib would take longer than the system calls.

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from multirun_core._staging.content import copy, digest
from multirun_core._staging.files import move, new_part
from multirun_core._staging.names import SHARED
from multirun_core._staging.store import InputRecord
from multirun_core._staging.tree import Tree, glance, scan, total_size
from multirun_core.errors import StagingError


class PlacedInputs:
    """Puts inputs into run directories, and tells whether they are as it put them there.

    Attributes:
        copies: what is copied, by its name in a run directory.
        links: what links lead to, likewise.
        parents: the directories above inputs, outer ones first, as keys.
    """

    def __init__(self, root: str, records: Sequence[InputRecord]) -> None:
        """Prepare for that.

        Args:
            root: the sweep's directory.
            records: what `store_inputs` returned.
        """
        self.copies = {record.name: record for record in records if record.linkage == "copy"}
        self.links = {r.name: _link_text(r) for r in records if r.linkage != "copy"}
        self.parents = _parents([record.name for record in records])
        self._root = root
        self._outside = [record for record in records if record.linkage == "link"]
        self._stored: dict[str, Tree] = {}

    def check_there(self) -> None:
        """Make sure that what lies outside of the sweep is there.

        Raises:
            StagingError: it is not; says which.
        """
        for record in self._outside:
            try:
                os.stat(record.path)
            except (FileNotFoundError, NotADirectoryError):
                raise StagingError(
                    f"input {record.name!r}: {record.path!r}, which runs link to, does not exist "
                    "any more; put it back and resume the sweep"
                ) from None

    def put(self, directory: str) -> None:
        """Put in place what is missing; what is there is as it should be."""
        for name in self.parents:
            with suppress(FileExistsError):
                os.mkdir(f"{directory}/{name}")
        for name, target in self.links.items():
            with suppress(FileExistsError):
                os.symlink(target, f"{directory}/{name}")
        for name, record in self.copies.items():
            place = f"{directory}/{name}"
            if not os.path.lexists(place):
                aside = new_part(directory)
                copy(self._stored_tree(record), aside)
                move(aside, place)

    def made(self, rel: str, target: str) -> bool:
        """Whether a link at `rel` to `target` is one as we make them, perhaps of an older set."""
        shared = "../" * (2 + rel.count("/")) + f"{SHARED}/"
        return target == self.links.get(rel) or target.startswith(shared)

    def looks_whole(self, rel: str, path: str) -> bool:
        """Whether a copy is as it was put there, by size and time."""
        stored = self._stored_tree(self.copies[rel])
        try:
            return glance(scan(path, follow=False)) == glance(stored)
        except StagingError:
            return False

    def is_whole(self, rel: str, path: str) -> bool:
        """Whether a copy is as it was put there, by its content."""
        record = self.copies[rel]
        stored = self._stored_tree(record)
        try:
            there = scan(path, follow=False)
            return (
                there[0].kind == stored[0].kind
                and there[0].executable == stored[0].executable
                and total_size(there) == record.size
                and digest(there) == record.sha256
            )
        except (OSError, StagingError):
            return False  # the program left something there that cannot be read

    def _stored_tree(self, record: InputRecord) -> Tree:
        tree = self._stored.get(record.name)
        if tree is None:
            path = f"{self._root}/{record.stored}"
            os.lstat(path)  # where the sweep's own copy is gone, this says so plainly
            tree = self._stored[record.name] = scan(path, follow=False)
        return tree


def _link_text(record: InputRecord) -> str:
    if record.linkage == "link":
        return record.path
    return "../" * (2 + record.name.count("/")) + str(record.stored)


def _parents(names: Sequence[str]) -> dict[str, None]:
    parents: dict[str, None] = {}
    for name in names:
        parts = name.split("/")
        parents.update(dict.fromkeys("/".join(parts[:n]) for n in range(1, len(parts))))
    return parents
