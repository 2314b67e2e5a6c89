"""The sweep's own copies of its inputs, and the records of them.

Each set of inputs is one numbered folder in `shared/`: programs find their modules and data beside
a file that a link leads to, so the files of a set stay together. A set is built aside and renamed,
and is never changed after that: where an input changes between two drivers of a sweep, a new set
is made, and links in finished runs go on to show what those ran with.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from multirun_core._model.files import FileLinkage
from multirun_core._staging.content import copy_and_digest, digest, digest_once, link_or_copy
from multirun_core._staging.files import new_part, remove, remove_parts
from multirun_core._staging.inputs import Input
from multirun_core._staging.names import SHARED
from multirun_core._staging.tree import Tree, glance, scan, total_size
from multirun_core._threads import checkpoint
from multirun_core.errors import StagingError


@dataclass(frozen=True, slots=True)
class InputRecord:
    """What is known for good about one input of a sweep.

    Attributes:
        name: its path in the run directory.
        linkage: how runs see it.
        path: where it came from, absolute.
        kind: "file" or "directory".
        size: bytes, of all files in a directory that was copied; 0 for one that is linked to.
        sha256: digest of a copied file or directory, see `tree.digest`; None for `link`.
        mtime_ns: when a `link` was modified, in nanoseconds since the epoch; else None.
        stored: the sweep's own copy, relative to the sweep's directory; None for `link`.
    """

    name: str
    linkage: FileLinkage
    path: str
    kind: Literal["file", "directory"]
    size: int
    sha256: str | None = None
    mtime_ns: int | None = None
    stored: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object; names that are no UTF-8 need `ensure_ascii`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> InputRecord:
        """Read what `to_json` wrote, by this or a later version."""
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})


def stored_names(root: Path, records: Iterable[InputRecord]) -> set[str]:
    """Return the names of the inputs of which the sweep's own copy is there."""
    return {
        record.name
        for record in records
        if record.stored is not None and os.path.lexists(root / record.stored)
    }


def store_inputs(
    root: Path, inputs: Sequence[Input], known: Sequence[InputRecord] = ()
) -> list[InputRecord]:
    """Make the sweep's own copies of inputs to be copied or shared, and return all records.

    Killed at any moment, it can simply be called again. What is there with the same content is
    used as it is. The records must be written down before a run is staged by them.

    Args:
        root: the sweep's directory; `shared/` is made in it.
        inputs: what `check_inputs` returned.
        known: the records that an earlier driver of the sweep wrote down.

    Raises:
        StagingError: an input has vanished, or was changed while it was copied.
        OSError: there is no room, or it cannot be written or read.
    """
    wanted = [_Wanted(root, item, known) for item in inputs if item.linkage != "link"]
    stored = {}
    if wanted:
        shared = root / SHARED
        shared.mkdir(exist_ok=True)
        remove_parts(str(shared))
        number = _matching_set(shared, wanted) or _make_set(shared, wanted)
        stored = {item.name: item.record(f"{SHARED}/{number}") for item in wanted}
    return [stored.get(item.name) or record_link(item) for item in inputs]


class _Wanted:
    """An input that the sweep is to hold a copy of."""

    def __init__(self, root: Path, item: Input, known: Sequence[InputRecord]) -> None:
        self.root = root
        self.item = item
        self.name = item.name
        self.known = next((r for r in known if r.name == item.name and r.sha256 is not None), None)
        self.tree: Tree | None = None  # None: the original is gone
        self._digest: str | None = None
        self._size = 0
        if os.path.lexists(item.source):
            self.tree = scan_input(item)
        elif self.known is not None:
            self._digest, self._size = self.known.sha256, self.known.size
        else:
            raise StagingError(f"input {item.name!r}: {str(item.source)!r} does not exist any more")

    @property
    def sha256(self) -> str:
        if self._digest is None:
            assert self.tree is not None  # noqa: S101 - set where there is no tree
            self._digest = digest_once(self.tree)
        return self._digest

    def held_at(self, place: Path) -> Tree | None:
        """Return the copy at `place` if there is one of the same content."""
        if not os.path.lexists(place):
            return None
        try:
            copied = scan(str(place), follow=False)
            if self._known_at(place) and self.tree and glance(copied) == glance(self.tree):
                return copied
            return copied if digest(copied) == self.sha256 and self._same_use(copied) else None
        except (OSError, StagingError):
            return None  # it was damaged

    def _known_at(self, place: Path) -> bool:
        """Whether the copy at `place` is recorded to have been made from this very content."""
        known = self.known
        return (
            known is not None
            and known.sha256 == self.sha256
            and place == self.root / str(known.stored)
        )

    def _same_use(self, copied: Tree) -> bool:
        """The digest of a single file does not say whether it can be executed."""
        return self.tree is None or copied[0].executable == self.tree[0].executable

    def copy_to(self, place: Path) -> None:
        """Copy the original."""
        if self.tree is None:
            raise StagingError(
                f"input {self.name!r}: {str(self.item.source)!r} does not exist any more, and the "
                "sweep's own copy of it is gone or damaged; put the file back"
            )
        before = self.tree
        try:
            self._digest = copy_and_digest(before, str(place))
            unchanged = glance(scan(str(self.item.source))) == glance(before)
        except (FileNotFoundError, StagingError):
            unchanged = False
        if not unchanged:
            raise StagingError(
                f"input {self.name!r}: {str(self.item.source)!r} was changed while it was copied; "
                "try again when nothing writes to it"
            )

    def record(self, folder: str) -> InputRecord:
        tree = self.tree
        return InputRecord(
            name=self.name,
            linkage=self.item.linkage,
            path=str(self.item.source),
            kind="directory" if self._is_directory() else "file",
            size=self._size if tree is None else total_size(tree),
            sha256=self.sha256,
            stored=f"{folder}/{self.name}",
        )

    def _is_directory(self) -> bool:
        if self.tree is not None:
            return self.tree[0].kind == "directory"
        return self.known is not None and self.known.kind == "directory"


def scan_input(item: Input) -> Tree:
    """Look at an original.

    Raises:
        StagingError: something in it cannot be copied.
    """
    try:
        return scan(str(item.source))
    except StagingError as error:
        raise StagingError(f"input {item.name!r} cannot be copied as a whole: {error}") from None


def _sets(shared: Path) -> list[int]:
    """Return the numbers of the sets there are, the newest first."""
    names = (path.name for path in shared.iterdir())
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _matching_set(shared: Path, wanted: Sequence[_Wanted]) -> int | None:
    for number in _sets(shared):
        if all(item.held_at(shared / str(number) / item.name) for item in wanted):
            return number
    return None


def _make_set(shared: Path, wanted: Sequence[_Wanted]) -> int:
    numbers = _sets(shared)
    aside = Path(new_part(str(shared)))
    try:
        aside.mkdir()
        for item in wanted:
            place = aside / item.name
            place.parent.mkdir(parents=True, exist_ok=True)
            held = (item.held_at(shared / str(number) / item.name) for number in numbers)
            copied = next((tree for tree in held if tree is not None), None)
            if copied is None:
                item.copy_to(place)
            else:
                link_or_copy(copied, str(place))
        number = max(numbers, default=0) + 1
        checkpoint()
        aside.rename(shared / str(number))
    except BaseException:
        with suppress(OSError):
            remove(str(aside))
        raise
    return number


def record_link(item: Input) -> InputRecord:
    """Describe an original that runs link to.

    Raises:
        StagingError: it is gone.
    """
    try:
        found = item.source.stat()
    except FileNotFoundError:
        raise StagingError(
            f"input {item.name!r}: {str(item.source)!r} does not exist any more"
        ) from None
    is_directory = item.source.is_dir()
    return InputRecord(
        name=item.name,
        linkage="link",
        path=str(item.source),
        kind="directory" if is_directory else "file",
        size=0 if is_directory else found.st_size,
        mtime_ns=found.st_mtime_ns,
    )
