"""What a sweep, and the programs of its runs, are called on machines that do not see it."""

from __future__ import annotations

import re
import socket
import uuid
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multirun_core._model.run import Run

_PYTHONS = ("python", "python3")


def sweep_name(root: Path | None) -> str:
    """Return the name of a sweep's directory there: the same whenever it is resumed.

    Args:
        root: its directory here; None where runs belong to none.
    """
    if root is None:
        return f"bare-{uuid.uuid4().hex[:12]}"
    known = repr((socket.gethostname(), str(root), root.stat().st_ino))
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", root.name).strip("-.")[:40]
    return f"{plain or 'sweep'}-{sha256(known.encode()).hexdigest()[:12]}"


def command_of(run: Run, python: str | None) -> list[str]:
    """Return a run's command as it is carried out there.

    Args:
        run: the run.
        python: what stands for `python` there; None to leave it.
    """
    command = run.cmd
    if python is not None and command[0] in _PYTHONS:
        command[0] = python
    return command
