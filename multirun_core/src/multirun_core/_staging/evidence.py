"""Which attempts the private folder of a run directory tells of."""
# ruff: noqa: PTH116
# Every run is staged, and pathlib would take longer than the system calls.

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from multirun_core._staging.files import content, is_directory, names_in
from multirun_core._staging.names import ATTEMPT, ATTEMPTS, CLEARING


class AttemptsSeen(NamedTuple):
    """What the private folder of a run directory says.

    Attributes:
        present: the present attempt.
        since: when it was prepared, in nanoseconds; None for the first.
        clearing: the attempt before which the directory was being cleared, or None.
        moved: the last attempt that files were moved away from, or 0.
    """

    present: int
    since: int | None
    clearing: int | None
    moved: int


def attempts_seen(private: str) -> AttemptsSeen:
    """Look at the private folder of a run directory."""
    if not is_directory(private):
        return AttemptsSeen(1, None, None, 0)
    names = names_in(private)
    clearing = _numbers(name.removeprefix(CLEARING) for name in names if name.startswith(CLEARING))
    attempts = f"{private}/{ATTEMPTS}"
    moved = max(_numbers(names_in(attempts) if is_directory(attempts) else []), default=0)
    present, since = moved + 1, None
    said = content(f"{private}/{ATTEMPT}")
    if said is not None and len(said) < 20 and said.strip().isdigit():
        present, since = int(said), os.stat(f"{private}/{ATTEMPT}").st_mtime_ns
    return AttemptsSeen(present, since, min(clearing, default=None), moved)


def _numbers(names: Iterable[str]) -> list[int]:
    return [int(name) for name in names if name.isascii() and name.isdecimal()]
