"""Drop what finished runs left in their directories, but for what is still wanted of it."""
# ruff: noqa: PTH106
# Every run may be thinned, and pathlib would take longer than the system calls.

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from multirun_core._model.run import STDERR, STDOUT
from multirun_core._model.status import RunStatus
from multirun_core._staging.files import is_directory, names_in, open_up, remove
from multirun_core._staging.names import ATTEMPT, PARAMS, PRIVATE, RESULTS

Keep: TypeAlias = Literal["all", "failed", "results"]


def drops(keep: Keep, status: RunStatus) -> bool:
    """Whether the directory of a run that has ended so is to be thinned."""
    if keep == "all":
        return False
    return status == "success" or (keep == "results" and status == "failure")


def thin(directory: str | Path, *, results: bool, output: bool) -> None:
    """Remove a run's directory, or what is in it besides its results and its output.

    Calling it again completes what a killed process began. `params.json` goes first: a directory
    without one was thinned, or is being so. Results that stay are not touched at any moment.

    Args:
        directory: the run directory; where there is none, nothing is to be done.
        results: whether the files with its results stay.
        output: whether what it printed stays.

    Raises:
        OSError: something cannot be removed; the first such error, when all else has been.
    """
    directory = str(directory)
    if not is_directory(directory):
        return
    open_up(directory)
    there = names_in(directory)
    wanted = {*(RESULTS if results else ()), *((STDOUT, STDERR) if output else ())}
    stays = wanted.intersection(there)
    failed: OSError | None = None
    for name in sorted(there, key=lambda name: name != PARAMS):
        try:
            if name in stays:
                continue
            if name == PRIVATE and stays and is_directory(f"{directory}/{name}"):
                _thin_private(f"{directory}/{name}")
            else:
                remove(f"{directory}/{name}")
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    if not stays:
        os.rmdir(directory)


def _thin_private(private: str) -> None:
    """Leave the number of the attempt alone: by it, orphans of earlier ones know that they are."""
    for name in names_in(private):
        if name != ATTEMPT:
            remove(f"{private}/{name}")
    with suppress(OSError):
        os.rmdir(private)  # it is empty where there was one attempt only


def was_thinned(directory: str | Path) -> bool:
    """Whether the directory of a run that was executed is gone, or was thinned."""
    return not os.path.lexists(f"{directory}/{PARAMS}")
