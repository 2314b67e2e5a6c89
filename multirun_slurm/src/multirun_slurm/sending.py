"""The driver of a sweep as a job of its own, as text: for login nodes that end long processes."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._model.resources import Resources
from multirun_core._runners.scheduler.submission import Submission
from multirun_core.backends import Job
from multirun_core.errors import UsageError

from multirun_slurm.arguments import effective
from multirun_slurm.fitting import chosen
from multirun_slurm.job import JobOptions

if TYPE_CHECKING:
    from multirun_slurm.limits import Limits

MARK = "MULTIRUN_SLURM_DRIVER"
"""Holds the directory of the submission by which this process drives a sweep as a job."""

_PATIENCE = 240  # seconds for a driver that holds the sweep to close its segment of the journal
_MOST_SECONDS = 7 * 86400.0
_MEMORY_MIB = 1 << 10

ONLY = "only"
"""The file beside the script that holds the runs to execute, where they were chosen."""


def submission_of(place: Path) -> Submission:
    """Return the submission of a driver, by its directory in `jobs/`."""
    return Submission(f"driver-{place.name}", place, pack=1, runs=1)


def own_place(root: Path) -> Path | None:
    """Return the directory of the submission by which this process drives a sweep as a job.

    None where it is no such job, or that of another sweep.
    """
    place = Path(os.environ.get(MARK, ""))
    return place if place.parent.parent == root else None


def driver_job(
    root: Path,
    submission: Submission,
    options: JobOptions,
    cluster: Limits,
    *,
    default: str | None = None,
    chosen_only: bool = False,
) -> Job:
    """Return the job that drives a sweep.

    Args:
        root: the sweep's directory.
        submission: how it is to be submitted.
        options: what its runs ask for: the driver goes where they go.
        cluster: what it allows.
        default: what SBATCH_PARTITION says, which counts where no option does.
        chosen_only: whether it executes what the file `ONLY` beside its script says, and not all
            that has not succeeded.

    Raises:
        UsageError: only the script that began the sweep can carry on with it.
    """
    _check_resumable(root)
    directory = submission.directory
    asked = effective(options)
    own = JobOptions(
        partition=asked.partition,
        account=asked.account,
        qos=asked.qos,
        reservation=asked.reservation,
    )
    segments = f"{shlex.quote(str(root / 'journal'))}/[0-9]*.jsonl"
    places = chosen(own, cluster.partitions, default)
    minutes = min([cluster.minutes or math.inf, *(one.minutes for one in places)])
    most = [max((node.memory_mib for node in one.usable), default=_MEMORY_MIB) for one in places]
    command = [sys.executable, "-m", "multirun_core", "resume", str(root)]
    command += ["--only", f"@{directory / ONLY}"] if chosen_only else []
    body = "\n".join(
        [
            "mr_waited=0",
            "mr_closed() {",  # of the newest segment: somebody may have resumed the sweep
            f"    for mr_segment in {segments}; do :; done",
            """    tail -n 1 "$mr_segment" | grep -q '"event": "close"'""",
            "}",
            "until mr_closed; do",
            f'    [ "$mr_waited" -lt {_PATIENCE} ] || break',
            "    sleep 1",
            "    mr_waited=$((mr_waited + 1))",
            "done",
            f"{MARK}={shlex.quote(str(directory))}",
            f"export {MARK}",
            f"exec {shlex.join(command)}",
        ]
    )
    return Job(
        name=submission.name,
        directory=str(directory),
        tasks=None,
        body=body,
        needs=Resources(cpus=1, memory_bytes=min([_MEMORY_MIB, *most]) << 20),
        seconds=min(_MOST_SECONDS, minutes * 60.0),
        options=own,
    )


def _check_resumable(root: Path) -> None:
    manifest: dict[str, Any] = json.loads((root / "multirun.json").read_bytes())
    why = None
    if "name" not in manifest["runner"]:
        why = 'give the runner by its name, runner="slurm", with runner_options'
    elif manifest["limits"].get("resources") or manifest["limits"].get("collect") is True:
        why = "a function that only the script has says what runs need, or collects results"
    if why is not None:
        raise UsageError(
            f"driver='job': the sweep cannot be carried on by its directory alone: {why}"
        )
