"""What no option may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from multirun_core.errors import UsageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What the runner says to sbatch itself; two of a kind would fight.
_OWN = (
    "--array", "-a", "--wrap", "--parsable", "--output", "-o", "--error", "-e", "--input", "-i",
    "--chdir", "-D", "--job-name", "-J", "--wait", "-W", "--test-only", "--open-mode",
    "--clusters", "-M", "--signal", "--help", "-h", "--usage",
    "--version", "-V", "--quiet", "-Q", "--ignore-pbs", "--hetjob",
)  # fmt: skip


def check_text(name: str, given: Any) -> None:
    """Refuse an empty text, or control characters, in an option or in one of a list.

    Raises:
        UsageError: names the option.
    """
    texts = cast("Sequence[Any]", given if isinstance(given, (list, tuple)) else (given,))
    for text in texts:
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
    if given is None:
        return
    if isinstance(given, bool) or not hasattr(given, "__index__") or given < 1:
        raise UsageError(f"{name} is {given!r}; it must be a whole number, 1 or more")


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
