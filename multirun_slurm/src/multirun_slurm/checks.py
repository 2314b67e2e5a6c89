"""What no option may be."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from multirun_core._convert import accepts, type_text
from multirun_core._model import resources
from multirun_core.errors import UsageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What the runner says to sbatch itself; two of a kind would fight.
_OWN = (
    "--array", "-a", "--wrap", "--parsable", "--output", "-o", "--error", "-e", "--input", "-i",
    "--chdir", "-D", "--job-name", "-J", "--wait", "-W", "--test-only", "--open-mode",
    "--clusters", "-M", "--signal", "--help", "-h", "--usage",
    "--version", "-V", "--quiet", "-Q", "--ignore-pbs", "--hetjob",
)  # fmt: skip


# What to write, where the name of a type would not say it.
_WANTED = {
    "sbatch_args": "a list such as ['--mail-type=END']",
    "setup": "a list of lines such as ['module load gcc']",
    "preload": "a list of modules such as ['numpy']",
    "signal": "a text such as 'USR1@60'",
    "poll_interval": "'auto' or seconds over 0",
    "pack": "'auto' or a whole number, 1 or more",
    "retry_scale": "a mapping from 'mem' or 'time' to a factor over 1, such as {'mem': 2}",
    "per_run": "a function from a run's parameters to options of that run",
    "env": "a mapping from names to texts, such as {'OMP_NUM_THREADS': '1'}",
    "time": "minutes, a text such as '1:30:00', or a timedelta",
}
_NAMES = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


def check_types(options: Any) -> None:
    """Refuse options that are not of their type; what a default is needs no check.

    Args:
        options: of a dataclass.

    Raises:
        UsageError: says which option, its value, and what it may be.
    """
    types = _types(options.__class__)
    for field in fields(options):
        given = getattr(options, field.name)
        if given is field.default:
            continue
        annotation = types[field.name]
        if not accepts(annotation, given):
            wanted = _WANTED.get(field.name) or _wanted(annotation)
            raise UsageError(f"{field.name} is {given!r}; it must be {wanted}")


def is_over(bound: float, given: Any) -> bool:
    """Whether a value is a finite number over a bound."""
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        return False
    return bound < number < math.inf


def check_text(name: str, given: Any) -> None:
    """Refuse an empty text, or control characters, in an option or in one of a list.

    Raises:
        UsageError: names the option.
    """
    several = accepts(list[str], given)
    for text in given if several else (given,):
        if isinstance(text, str) and (not text.strip() or _CONTROL.search(text)):
            raise UsageError(
                f"{name} is {given!r}; it can be neither empty nor hold control characters such as "
                "a newline"
            )


def check_count(name: str, given: Any) -> None:
    """Refuse what is no whole number of 1 or more; None is none given.

    Raises:
        UsageError: names the option.
    """
    if given is not None:
        resources.check_count(name, given, least=1)


def check_own(argument: str) -> None:
    """Refuse an argument of sbatch that is the runner's own.

    Raises:
        UsageError: names it.
    """
    name = argument.partition("=")[0]
    # sbatch takes long names that are cut short, and values right behind short ones.
    cut = name.startswith("--") and len(name) > 3 and any(own.startswith(name) for own in _OWN)
    short = re.match(r"-[A-Za-z]", argument)
    if cut or (short is not None and short[0] in _OWN):
        raise UsageError(
            f"sbatch_args holds {argument!r}, which the runner sets itself; leave it out"
        )


@functools.cache
def _types(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _wanted(annotation: Any) -> str:
    """Return a type in words: "a whole number or a text"."""
    members = (
        get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    )
    words: list[str] = []
    for one in members:
        if get_origin(one) is Literal:
            words += [repr(word) for word in get_args(one)]
        elif one is not type(None):
            words.append(_NAMES.get(one) or ("a list" if get_args(one) else type_text(one)))
    return " or ".join(words)
