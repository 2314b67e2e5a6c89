"""Programs that the tests of `getRunParams` and `postRunResults` start as runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HOSTILE = "a b'c\"d$e;f*\n&ü"


def run_directory(parent: Path, params: dict[str, Any] | None = None) -> Path:
    """Make a run directory with a hostile name."""
    directory = parent / HOSTILE
    directory.mkdir()
    (directory / "params.json").write_text(json.dumps({} if params is None else params))
    return directory


def names(directory: Path) -> set[str]:
    """Return what was posted in a run directory, or left there."""
    return {path.name for path in directory.iterdir()} - {"params.json"}


def environment(directory: Path | None, attempt: int | None = None, **more: str) -> dict[str, str]:
    """Return the environment of a run's program."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MULTIRUN_")}
    if directory is not None:
        env["MULTIRUN_RUN_DIR"] = str(directory)
    if attempt is not None:
        env["MULTIRUN_ATTEMPT"] = str(attempt)
    return env | more


def start(program: str, *args: str, cwd: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start a program of a run."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(program: str, *args: str, cwd: Path, env: dict[str, str]) -> tuple[str, str]:
    """Run a program to its end, which must be a good one; return its output and errors."""
    with start(program, *args, cwd=cwd, env=env) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out, err
