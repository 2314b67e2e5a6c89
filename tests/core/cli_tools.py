"""What the tests of the command line share: calling it as a shell would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = [sys.executable, "-m", "multirun_core"]


def call(*words: str, cwd: Path, text: str = "", env: dict[str, str] | None = None,
         seconds: float = 50.0) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run the program in a directory and wait for its end."""
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env={**os.environ, **(env or {})},
    )


def begin(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """Run the program without waiting."""
    return subprocess.Popen(
        [*PROGRAM, *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
