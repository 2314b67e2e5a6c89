"""Names in a sweep's directory, and writing a small file whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from multirun_core._runners.scheduler import JOBS as JOBS
from multirun_core._staging.names import RUNS as RUNS
from multirun_core._staging.names import SHARED
from multirun_core.errors import UsageError

FORMAT = 1
MANIFEST = "multirun.json"
JOURNAL = "journal"
OWN_NAMES = frozenset({MANIFEST, JOURNAL, SHARED, RUNS, JOBS})


def is_own(name: str) -> bool:
    """Whether a name in a sweep's directory is one that we write, finished or not."""
    return name in OWN_NAMES or name.startswith(f".{MANIFEST}.")


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that a later change of the current directory does not change.

    Raises:
        UsageError: it is relative, and the current directory has been removed.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    except FileNotFoundError:
        raise UsageError(
            f"{os.fspath(path)!r} is relative, and the current directory does not exist any more"
        ) from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file aside, flush it, and rename it into place.

    Raises:
        OSError: it cannot be written; the old file, if any, is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    flush_directory(path.parent)


def flush_directory(path: Path) -> None:
    """Make names in a directory survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
