"""An input file of a sweep, and how a run gets to see it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from multirun_core.errors import StagingError

FileLinkage: TypeAlias = Literal["copy", "shared", "link"]
LINKAGES: tuple[FileLinkage, ...] = get_args(FileLinkage)


@dataclass(slots=True)
class FileResource:
    """A file or directory that each run gets.

    Attributes:
        path: the existing file or directory; relative to the current directory of the call.
        linkage: how runs see it.
            "copy": a copy of their own, which they may change.
            "shared": a link to one copy that the sweep keeps for all runs.
            "link": a link to the given path itself.
        rename: name or relative path in the run directory; the file's own name by default.
    """

    path: Path
    linkage: FileLinkage = "shared"
    rename: str | Path | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        linkage: FileLinkage = "shared",
        rename: str | Path | None = None,
    ) -> None:
        if linkage not in LINKAGES:
            raise StagingError(
                f"input {os.fspath(path)!r}: linkage is {linkage!r}; it must be one of "
                + ", ".join(map(repr, LINKAGES))
            )
        self.path = Path(path)
        self.linkage = linkage
        self.rename = rename

    @property
    def name(self) -> Path:
        """The file's path in the run directory, relative to it."""
        return Path(self.path.name if self.rename is None else self.rename)
