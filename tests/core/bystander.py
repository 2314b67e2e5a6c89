"""Somebody who is at work in a run's directory and has nothing to do with the run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps import wait_until


def terminal(pid: int) -> int:
    """Return the number of a process's controlling terminal, 0 for none, see proc(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[4])


@contextmanager
def at_a_terminal(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program with a terminal, as of a person who has gone to a directory."""
    ours, theirs = os.openpty()
    words = ["setsid", "--ctty", "sleep", "300"]
    with subprocess.Popen(words, cwd=folder, stdin=theirs) as person:
        os.close(theirs)
        try:
            wait_until(lambda: terminal(person.pid))
            yield person
        finally:
            person.kill()
            os.close(ours)


@contextmanager
def another_user(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of another user; takes root."""
    words = ["sleep", "300"]
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    with subprocess.Popen(words, cwd=folder, **nobody) as other:  # type: ignore[call-overload]
        try:
            yield other
        finally:
            other.kill()
