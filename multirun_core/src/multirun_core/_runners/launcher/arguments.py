"""Text of the driver in the form that the system, and so the launcher, has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def absolute(path: Path | str) -> bytes:
    """Return an absolute path as the system has it; ".." stays, for it may follow a link."""
    text = os.fsencode(path)
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
    return (
        [os.fsencode(word) for word in argv],
        absolute(cwd),
        encoded(env),
        absolute(stdout),
        absolute(stderr),
        None if limit is None else float(limit),
        float(grace),
    )
