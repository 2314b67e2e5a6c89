"""What several commands share: their class, types of their options, and how text is shown."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any, Literal

import click

from multirun_core._cli.program import debug_option, tell
from multirun_core._display.stream import SafeStream, one_line

__all__ = [
    "DIRECTORY",
    "Command",
    "on_terminal",
    "one_line",
    "parse_indices",
    "parse_only",
    "parse_rerun",
    "parse_seconds",
    "seconds_of",
    "tell",
]

DIRECTORY: click.Path = click.Path(path_type=Path, file_okay=False)
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|min|m|h|d|)", re.IGNORECASE)


class Command(click.Command):
    """A command with `--debug` besides its own options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(debug_option())


def parse_seconds(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> float | str | None:
    """Convert the value of an option that is a duration."""
    if value is None:
        return None
    try:
        return seconds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def seconds_of(value: str) -> float | str:
    """Convert a duration, such as 90, 1.5h or 1h30m, to seconds; "5x median" stays as it is.

    Raises:
        ValueError: it is none.
    """
    if "median" in value:
        return value
    total, position = 0.0, 0
    text = value.strip()
    while match := _DURATION.match(text, position):
        total += float(match[1]) * _UNITS[match[2].lower()]
        position = match.end()
    if position < len(text) or not total or not math.isfinite(total):
        raise ValueError(
            f"{value!r} is no duration over 0; write 90, 90s, 15m or 1h30m, or 5x median"
        )
    return total


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return SafeStream(sys.stdout).isatty()


def parse_indices(texts: tuple[str, ...] | list[str]) -> list[int]:
    """Return the indices that texts such as `3`, `1,2` and `5-9` name, in order, each once.

    Raises:
        click.BadParameter: a text is none of these.
    """
    found: dict[int, None] = {}
    for text in texts:
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", part)
            if match is None:
                raise click.BadParameter(
                    f"{text!r} names no runs; write their indices as in 3 or 1,2,5-9"
                )
            first = int(match[1])
            last = int(match[2] or first)
            if last < first or last - first > 10_000_000:
                raise click.BadParameter(f"{part!r} is no range; write the lower index first")
            found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)


def parse_rerun(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> Literal["failed", "all"] | list[int] | None:
    """Convert the value of `--rerun`."""
    if value is None or value == "failed" or value == "all":
        return value  # type: ignore[return-value] # pyright: ignore
    return parse_indices([value])


def parse_only(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> frozenset[int] | None:
    """Convert the value of `--only`."""
    if value is not None and value.startswith("@"):
        try:
            value = Path(value[1:]).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"cannot read {value[1:]!r}: {error}") from error
    return None if value is None else frozenset(parse_indices([value]))
