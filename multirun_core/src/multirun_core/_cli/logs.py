"""`multirun logs`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from multirun_core._cli.common import DIRECTORY, Command, tell

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._sweep.sweep import Sweep

_HELP = """Show what the run INDEX of the sweep in DIR has printed on its standard output.

\b
Examples:
  multirun logs study 3
  multirun logs study 3 --stderr
  multirun logs study 3 --follow
"""
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_CHUNK = 1 << 16


@click.command("logs", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.argument("index", type=click.IntRange(min=0))
@click.option("--stderr", "of_stderr", is_flag=True, help="Its standard error instead.")
@click.option("--follow", "-f", is_flag=True, help="Go on as it prints, until it has ended.")
def command(path: Path, index: int, of_stderr: bool, follow: bool) -> int:
    """Show what a run has printed."""
    run = _find(path, index)
    file = run.stderr if of_stderr else run.stdout
    if follow:
        _follow(path, index, file)
        return 0
    if not _copy(file):
        tell(_nothing(run, of_stderr))
    return 0


def _find(path: Path, index: int) -> Run:
    from multirun_core._sweep.sweep import Sweep
    from multirun_core.errors import UsageError

    sweep: Sweep = Sweep.open(path)
    if index >= len(sweep):
        raise UsageError(f"{path} has no run {index}; it has {len(sweep)}, numbered from 0")
    return sweep.runs[index]


def _nothing(run: Run, of_stderr: bool) -> str:
    from multirun_core._staging.thin import was_thinned

    name, other = ("error", "") if of_stderr else ("output", " --stderr")
    if run.attempts == 0:
        why = "it was not started" if run.done else "it has not been started yet"
        return f"multirun: run {run.index} has printed nothing: {why}"
    if run.done and was_thinned(run.cwd):
        return f"multirun: the output of run {run.index} was not kept"
    hint = f"; look at its standard error with{other}" if other and run.stderr.exists() else ""
    return f"multirun: run {run.index} has printed nothing on its standard {name}{hint}"


def _copy(path: Path) -> bool:
    """Copy a file to standard output; False where there is none."""
    try:
        with path.open("rb") as file:
            return _pass_on(file) > 0
    except FileNotFoundError:
        return False


def _pass_on(file: IO[bytes]) -> int:
    out = sys.stdout.buffer
    total = 0
    while data := file.read(_CHUNK):
        out.write(data)
        total += len(data)
    out.flush()
    return total


def _follow(path: Path, index: int, stream: Path) -> None:
    """Pass on what a run prints until it has ended, or its driver is gone."""
    file: IO[bytes] | None = None
    look_at = 0.0
    try:
        while True:
            now = time.monotonic()
            over = False
            if now >= look_at:
                run = _find(path, index)
                over = run.done or not _driver_alive(path)
                # Reading a large sweep takes a while; it should not become the main occupation.
                look_at = time.monotonic() + max(_LOOK_SECONDS, 10 * (time.monotonic() - now))
            # Only after that look, so that nothing printed before the end is missed.
            file = _reopened(file, stream)
            if file is not None:
                _pass_on(file)
            if over:
                return
            time.sleep(_POLL_SECONDS)
    finally:
        if file is not None:
            file.close()


def _driver_alive(path: Path) -> bool:
    from multirun_core._sweep import segment
    from multirun_core._sweep.layout import JOURNAL

    writer = segment.last_writer(path / JOURNAL)
    return writer is not None and writer.alive is not False


def _reopened(file: IO[bytes] | None, path: Path) -> IO[bytes] | None:
    """Return the open file, or the new one that a further attempt has begun in its place."""
    try:
        if file is not None and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        new = path.open("rb")
    except FileNotFoundError:
        return file
    if file is not None:
        _pass_on(file)
        file.close()
    return new
