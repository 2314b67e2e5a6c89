"""Text of the driver in the form that the system, and so the launcher, has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def absolute(path: Path | str) -> bytes:
    """Return an absolute path as the system has it; ".." stays, for it may follow a link."""
    return _absolute(os.fsencode(path))


def _absolute(text: bytes) -> bytes:
    return text if text.startswith(b"/") else os.path.join(os.getcwdb(), text)


def encoded(env: Mapping[Any, Any]) -> dict[bytes, bytes]:
    """Return an environment as the system has it."""
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


def order(
    argv: Sequence[str],
    cwd: Path | str,
    env: Mapping[str, str],
    stdout: str,
    stderr: str,
    limit: float | None,
    grace: float,
) -> tuple[Any, ...]:
    """Return what the launcher is told of a run; marshal takes no subclass of float."""
    words = [*argv, cwd, stdout, stderr, *env.keys(), *env.values()]
    data = _all_encoded(words)
    count, variables = len(argv), len(argv) + 3
    values = variables + len(env)
    return (
        data[:count],
        _absolute(data[count]),
        dict(zip(data[variables:values], data[values:], strict=True)),
        _absolute(data[count + 1]),
        _absolute(data[count + 2]),
        None if limit is None else float(limit),
        float(grace),
    )


def _all_encoded(words: list[Any]) -> list[bytes]:
    """Return each word as the system has it; all at once where that can be told apart again."""
    try:
        data = os.fsencode("\0".join(words)).split(b"\0")
    except TypeError:  # a path, say
        data = []
    return data if len(data) == len(words) else [os.fsencode(word) for word in words]
