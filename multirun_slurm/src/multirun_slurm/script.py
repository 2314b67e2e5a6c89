"""The batch script of a job or array, as text: no value ever reaches the shell unquoted."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from multirun_core._model.resources import Resources
from multirun_core._runners.scheduler.command import Job

from multirun_slurm.arguments import on_one_node
from multirun_slurm.job import JobOptions, sbatch_arguments

UNREACHABLE = 74
"""Exit status of a job whose node does not see the directory of its submission (EX_IOERR)."""

PATIENCE = 60
"""Seconds for which a job waits until that directory is seen: some file systems are late."""

_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_~*\[\]-]+")
_MIB = 1 << 20


def request(options: JobOptions, needs: Resources, seconds: float | None) -> JobOptions:
    """Return what a job asks for: what its runs need, and the options for all else."""
    if needs.cpus is not None and options.cpus != needs.cpus:
        options = replace(options, cpus_per_task=needs.cpus, ntasks=None, ntasks_per_node=None)
    if needs.memory_bytes is not None:
        mebibytes = -(-needs.memory_bytes // _MIB)
        options = replace(options, mem=mebibytes, mem_per_cpu=None, mem_per_gpu=None)
    if needs.gpus is not None and not _asks_gpus(options, needs.gpus):
        options = replace(options, gpus=needs.gpus or None)
    if seconds is not None:
        options = replace(options, time=max(1, -int(-seconds // 60)))
    return on_one_node(options)


def arguments(options: JobOptions, job: Job, signal: str | None = None) -> list[str]:
    """Return the arguments of sbatch, without the script.

    Args:
        options: what a run asks for.
        job: the job or array.
        signal: such as "USR1@60", for the script; None for none.
    """
    own = [
        f"--job-name={job.name}",
        # What runs print goes to their directories, what the script says to that of the job. A
        # file or directory that a node cannot reach would end the job without a word.
        "--output=/dev/null",
        "--chdir=/",
        # Another attempt is for the driver to begin, in a directory that was put in order.
        "--no-requeue",
    ]
    if job.tasks is not None:
        throttle = "" if job.throttle is None else f"%{job.throttle:d}"
        own.append(f"--array=0-{job.tasks - 1:d}{throttle}")
    if signal is not None:
        own.append(f"--signal=B:{signal}")
    return [*own, *sbatch_arguments(request(options, job.needs, job.seconds))]


def render(options: JobOptions, job: Job, signal: str | None = None) -> str:
    """Return the text of the script.

    Args:
        options: what a run asks for.
        job: the job or array; its `body` is shell text already and stands as it is.
        signal: such as "USR1@60", for the script; None for none.
    """
    lines = ["#!/bin/sh"]
    lines += [f"#SBATCH {directive(argument)}" for argument in arguments(options, job, signal)]
    lines += [
        f"mr_here={shlex.quote(job.directory)}",
        "mr_task=${SLURM_ARRAY_TASK_ID:-0}",
        "mr_restart=${SLURM_RESTART_COUNT:-0}",
        "mr_waited=0",
        'until { true >>"$mr_here/out"; } 2>/dev/null; do',
        f'    [ "$mr_waited" -lt {PATIENCE} ] || exit {UNREACHABLE}',
        "    sleep 1",
        "    mr_waited=$((mr_waited + 1))",
        "done",
        'exec >>"$mr_here/out" 2>&1 </dev/null',
        "MULTIRUN_NODE=${SLURMD_NODENAME:-}",
        "export MULTIRUN_NODE",
        job.body,
    ]
    return "\n".join(lines) + "\n"


def directive(argument: str) -> str:
    """Return an argument as it stands in a `#SBATCH` line.

    sbatch splits these lines by rules of its own, tried out with 22.05: quotes hold together what
    is between them, a backslash there keeps the next character from meaning anything, and outside
    of quotes `#` begins a comment.

    Raises:
        ValueError: it holds a newline, with which no line can be continued.
    """
    if "\n" in argument or "\0" in argument:
        raise ValueError(f"{argument!r} cannot stand in a line of the script")
    if _PLAIN.fullmatch(argument):
        return argument
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _asks_gpus(options: JobOptions, count: int) -> bool:
    """Whether the options ask for so many GPUs already, such as "a100:2" for 2."""
    return str(options.gpus or 0).rpartition(":")[2] == str(count)
