"""In which line of a TOML file a key is, which the parser of the standard library does not tell."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

Key: TypeAlias = tuple[str | int, ...]
"""The names, and positions in lists, that lead to a value."""


def line_of(text: str, key: Key) -> int | None:
    """Return the number of the line where the statement begins that gives this key.

    The file is parsed again and again, each time up to a further line, and looked at for the key:
    so the parser itself says what a line means. It is for messages about files of human size.
    """
    lines = text.split("\n")
    begins = 1
    for number in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:number]) + "\n")
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a statement
        if key in _keys(data):
            return begins
        begins = number + 1
    return None


def _keys(value: Any, key: Key = ()) -> Iterator[Key]:
    yield key
    if isinstance(value, dict):
        for name, part in cast("dict[str, Any]", value).items():
            yield from _keys(part, (*key, name))
    elif isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for position, part in enumerate(items):
            yield from _keys(part, (*key, position))
