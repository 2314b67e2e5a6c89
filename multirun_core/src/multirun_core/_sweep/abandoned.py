"""Ending what a driver that has died has left running, without executing anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from multirun_core._display.reporter import Reporter
from multirun_core._sweep.choosing import runner_of
from multirun_core._sweep.conduct import Conductor
from multirun_core._sweep.facade import run_blocking
from multirun_core._sweep.history import History
from multirun_core._sweep.layout import absolute
from multirun_core._sweep.manifest import Manifest
from multirun_core._sweep.resuming import call_of

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._sweep.sweep import Sweep


def left_running(path: str | os.PathLike[str], indices: Sequence[int] | None = None) -> list[Run]:
    """Return the runs that may be alive though their driver is not: those with a handle.

    Args:
        path: the sweep's directory.
        indices: only these; None for all.
    """
    runs = History.read(absolute(path)).runs
    return [
        run
        for run in runs
        if run.handle is not None
        and run.status in ("pending", "running")
        and (indices is None or run.index in indices)
    ]


def end_left(
    path: str | os.PathLike[str],
    indices: Sequence[int] | None = None,
    *,
    take_over: bool = False,
    progress: bool | None = None,
) -> Sweep:
    """End the runs that a driver which has died has left, and write down how they ended.

    What had ended by itself before is recorded as it ended. Runs that were never begun stay as they
    are: a resume executes them. Drivers that were sent and have not begun are ended first.

    Args:
        path: the sweep's directory.
        indices: only these runs, and no driver; None for all.
        take_over: do so although another driver may be alive.
        progress: see `multirun`.

    Returns:
        The sweep.

    Raises:
        SweepError: its runner cannot be made here, or cannot end what it left; or another driver
            is alive.
        BackendError: the backend cannot be reached, so that nobody knows.
    """
    root = absolute(path)
    manifest = Manifest.read(root)
    runner, record = runner_of(root, manifest)
    left = left_running(root, indices)
    call = replace(
        call_of(root, manifest, runner, record, runner.policy),
        rerun=frozenset(run.index for run in left if run.index is not None),
        max_failures=None,
        take_over=take_over,
        ends_only=True,
        ends_drivers=indices is None and bool(runner.sent_drivers(root)),
    )
    reporter = Reporter(progress)
    return run_blocking(Conductor(call, reporter), reporter)
