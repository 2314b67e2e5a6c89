"""Text of the driver in the form that the system, and so the launcher, has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def absolute(path: Path | str) -> bytes:
    """Return an absolute path as the system has it; ".." stays, for it may follow a link."""
    text = os.fsencode(path)
    return text if text.startswith(b"/") else os.path.join(os.getcwdb(), text)


def encoded(env: Mapping[Any, Any]) -> dict[bytes, bytes]:
    """Return an environment as the system has it."""
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
