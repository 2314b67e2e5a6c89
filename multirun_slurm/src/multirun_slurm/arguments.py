"""What `sbatch_args` say that options say otherwise: sbatch goes by them, and so must checks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from multirun_core.errors import UsageError

from multirun_slurm.job import MIB, JobOptions
from multirun_slurm.units import mebibytes_of, parse_minutes

_SHORT = {
    "p": "partition", "A": "account", "q": "qos", "t": "time", "c": "cpus-per-task", "n": "ntasks",
    "N": "nodes", "G": "gpus", "O": "overcommit",
}  # fmt: skip
_LONG = (*_SHORT.values(), "ntasks-per-node", "mem", "mem-per-cpu", "mem-per-gpu")
_FLAGS = ("overcommit",)
# What says how GPUs and nodes go together.
_SPREAD = re.compile(r"-[wF]|--(?:node[lf]|gpus-|ntasks-per-g|spread)")
_MEMORY = re.compile(r"-G|--(?:g|me)")  # or GPUs, with which comes memory of their own


def effective(options: JobOptions) -> JobOptions:
    """Return what a job asks for, `sbatch_args` included.

    What is given there and means nothing here, such as a time that is no limit, is None.
    """
    changes: dict[str, Any] = {}
    for name, text in _given(options.sbatch_args):
        if name == "overcommit":  # tasks need no CPU each
            changes |= {"ntasks": None, "ntasks_per_node": None}
            continue
        option = name.replace("-", "_")
        if option in MIB:
            changes |= dict.fromkeys(MIB)
        changes[option] = _READ.get(option, _text)(text)
    return replace(options, sbatch_args=(), **changes) if changes else options


def on_one_node(options: JobOptions) -> JobOptions:
    """Return these for one node, where GPUs are asked for and nothing says how many nodes.

    `--gpus` is of the job: Slurm may take one here and one there, of which a process sees but one.
    """
    asked = effective(options)
    given = options.nodelist or ""
    several = len(given) > 1 if not isinstance(given, str) else re.search(r"[,\[/]", given)
    several = several or "*" in (asked.constraint or "")  # such as [rack1*2&rack2*1]
    spread = any(_SPREAD.match(argument) for argument in options.sbatch_args)
    if not asked.gpus or asked.nodes or (asked.ntasks or 1) > 1 or several or spread:
        return options
    return replace(options, nodes=1)


def leaves_memory(options: JobOptions) -> bool:
    """Whether a job asks for no memory, in whichever way, so that it gets the default."""
    given = options.gpus or options.gres or options.mem_per_gpu
    said = any(_MEMORY.match(argument) for argument in options.sbatch_args)
    return not (options.asks_memory or given or said)


def scaled(options: JobOptions, *, memory: float, time: float) -> JobOptions:
    """Return these with more memory and time, by factors, rounded up; what is not said stays."""
    asked = effective(options)
    if time > 1 and asked.minutes is not None:
        options = _more(options, "time", math.ceil(asked.minutes * time), "")
    for name in MIB if memory > 1 else ():
        if (given := getattr(asked, name)) is not None:
            options = _more(options, name, math.ceil(mebibytes_of(name, given) * memory), "M")
    return options


def _more(options: JobOptions, name: str, amount: int, unit: str) -> JobOptions:
    """Return these with another amount: as an option, or where `sbatch_args` say it, there."""
    changes: dict[str, Any] = {name: amount}
    if getattr(options, name) is not None:
        options = replace(options, **changes)
    if getattr(effective(options), name) == amount:
        return options
    last = f"--{name.replace('_', '-')}={amount}{unit}"
    return replace(options, sbatch_args=(*options.sbatch_args, last))


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield names and values as getopt_long(3) finds them: joined, apart, or names cut short."""
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("--"):
            word, equals, value = argument[2:].partition("=")
            name = _long(word)
        elif argument.startswith("-"):
            name, equals, value = _SHORT.get(argument[1:2]), argument[2:], argument[2:]
        else:
            continue
        if name is not None:
            yield name, value if equals or name in _FLAGS else next(rest, "")


def _long(word: str) -> str | None:
    if word in _LONG:
        return word
    found = [name for name in _LONG if len(word) > 1 and name.startswith(word)]
    return found[0] if len(found) == 1 else None


def _text(text: str) -> str | None:
    return text.strip() or None


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) else None


def _time(text: str) -> str | None:
    minutes = parse_minutes(text)
    return text if minutes is not None and 0 < minutes < math.inf else None


def _size(text: str) -> int | None:
    try:
        return mebibytes_of("mem", text)
    except UsageError:  # "0" is all that a node has
        return None


_READ: Mapping[str, Callable[[str], Any]] = {
    "time": _time,
    **dict.fromkeys(("cpus_per_task", "ntasks", "ntasks_per_node"), _count),
    **dict.fromkeys(MIB, _size),
}
