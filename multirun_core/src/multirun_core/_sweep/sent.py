"""Drivers that were sent to drive a sweep elsewhere and may not have begun."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from multirun_core._sweep.choosing import runner_of
from multirun_core._sweep.layout import JOBS, absolute
from multirun_core._sweep.manifest import Manifest
from multirun_core.errors import (
    RunnerLookupError,
    RunnerOptionError,
    SweepError,
    SweepLockedError,
    UsageError,
)


def sent_drivers(path: str | os.PathLike[str]) -> list[str]:
    """Return what the drivers are called that were sent elsewhere and may not have begun.

    Args:
        path: the sweep's directory.
    """
    root = absolute(path)
    # Of what cannot be made here, or no more as it was, nobody can tell.
    with suppress(SweepError, RunnerLookupError, RunnerOptionError, UsageError):
        return runner_of(root, Manifest.read(root))[0].sent_drivers(root)
    return []


def check_none_sent(root: Path) -> None:
    """Make sure that no driver waits elsewhere; only while the sweep is claimed can none be sent.

    Raises:
        SweepLockedError: one does, or may.
    """
    if not (root / JOBS).is_dir():  # so that no other sweep's runner need be made for this
        return
    if sent := sent_drivers(root):
        raise SweepLockedError(
            f"{root}: {', '.join(sent)} is to drive this sweep and may not have begun; end that "
            "with multirun cancel, then try again"
        )
