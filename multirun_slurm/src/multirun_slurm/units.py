"""Times and sizes as Slurm writes them, in both directions."""

from __future__ import annotations

import math
import operator
import re
from datetime import timedelta
from typing import SupportsIndex

from multirun_core._model.resources import parse_size
from multirun_core.errors import UsageError

_NUMBER = re.compile(r"\d{1,12}(?:\.\d{0,12})?\Z", re.ASCII)
_UNLIMITED = frozenset({"unlimited", "infinite"})
_MIB = 1 << 20
# No job is given that much; a number so large was meant as bytes.
_MOST_MIB = 1 << 26
_MOST_DIGITS = 4000  # that int() takes


def parse_minutes(text: str) -> float | None:
    """Return a time of Slurm's in minutes; infinity where it says that there is no limit.

    It knows the six forms of sbatch(1): "M", "M:S", "H:M:S", "D-H", "D-H:M" and "D-H:M:S".

    Returns:
        None where the text is no time.
    """
    text = text.strip()
    if text.lower() in _UNLIMITED:
        return math.inf
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if len(parts) > 3 or not all(_NUMBER.match(p) for p in (*parts, days if dash else "0")):
        return None
    numbers = [float(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0.0, 0.0][:3]
        return float(days) * 1440 + hours * 60 + minutes + seconds / 60
    if len(numbers) == 3:
        return numbers[0] * 60 + numbers[1] + numbers[2] / 60
    return numbers[0] + (numbers[1] / 60 if len(numbers) == 2 else 0.0)


def minutes_of(name: str, given: float | str | timedelta) -> int:
    """Return what an option that is a time means in whole minutes, Slurm's unit, rounded up.

    Args:
        name: of the option, for the message.
        given: minutes, a text as `parse_minutes` takes it, or a timedelta.

    Raises:
        UsageError: it is no time over 0, or no limit, which a sweep cannot plan with.
    """
    if isinstance(given, timedelta):
        minutes: float | None = given.total_seconds() / 60
    elif isinstance(given, str):
        minutes = parse_minutes(given)
    else:
        minutes = _number(given)
    if minutes is None or not 0 < minutes < math.inf:
        raise UsageError(
            f"{name} is {given!r}; it must be a time over 0: minutes, a text such as '1:30:00' or "
            "'2-12:00' (days-hours:minutes), or a timedelta"
        )
    # A hair over a whole minute is that of the floating point.
    return math.ceil(round(minutes, 6))


def mebibytes_of(name: str, given: int | str) -> int:
    """Return what an option that is an amount of memory means in MiB, rounded up.

    Args:
        name: of the option, for the message.
        given: a number of MiB, as for sbatch; or text with a unit, such as "500M" or "4GiB".

    Raises:
        UsageError: it is no amount over 0, or so large that bytes were meant.
    """
    number = _whole(given)
    if number is None:
        try:
            return -(-parse_size(_with_unit(given)) // _MIB)
        except UsageError:
            raise UsageError(
                f"{name} is {given!r}, which is no amount of memory; write a number of MiB, or "
                "such as '500M' or '4GiB'"
            ) from None
    if not 0 < number < _MOST_MIB:
        raise UsageError(
            f"{name} is {given!r}; a number means MiB here, as for sbatch, and must be between 1 "
            f"and {_MOST_MIB}; write such as '500M' or '4GiB' to say the unit"
        )
    return number


def minutes_text(minutes: float) -> str:
    """Return a time for people and for Slurm: `1-02:30:00`."""
    if minutes == math.inf:
        return "UNLIMITED"
    seconds = round(minutes * 60)
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def _number(given: float) -> float | None:
    try:
        return None if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(given: object) -> int | None:
    """Return a whole number, that of a text without a unit too; None for all else."""
    if isinstance(given, str):
        text = given.strip()
        return int(text) if len(text) <= _MOST_DIGITS and text.isdecimal() else None
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        return None
    return operator.index(given)


def _with_unit(given: object) -> str:
    """Return a text that has a unit; without one, sizes would be bytes."""
    return given if isinstance(given, str) and re.search("[A-Za-z]", given) else ""
