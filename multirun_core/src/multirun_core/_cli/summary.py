"""The summary at the end of a sweep, and what its exit status is."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multirun_core._cli.common import on_terminal, one_line, tell
from multirun_core._display.pace import duration_text

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._sweep.sweep import Sweep

_FAILURES_SHOWN = 3
_LINES_SHOWN = 5
_TAIL_BYTES = 8192
_PARAMS_WIDTH = 100


def carry_out(
    work: Callable[[], Sweep], *, progress: bool | None = None, say_path: bool = True
) -> int:
    """Carry a sweep out, say what became of it, and return the exit status.

    Args:
        work: carries it out.
        progress: as given to it; without False it says itself how to carry on after a signal.
        say_path: whether to print the directory on standard output, for whoever it is piped to.
    """
    from multirun_core._sweep.facade import Interrupted

    try:
        sweep = work()
    except Interrupted as interrupted:
        if interrupted.sweep is not None:
            _finish(interrupted.sweep, say_path=say_path, hint=progress is False)
        return 128 + interrupted.signum
    return _finish(sweep, say_path=say_path)


def _finish(sweep: Sweep, *, say_path: bool, hint: bool = True) -> int:
    tell(summary(sweep, hint=hint))
    if say_path and not on_terminal():
        click.echo(sweep.path)
    statistics = sweep.statistics
    going = statistics.pending_count if sweep.detached else 0
    return 0 if statistics.success_count + going == statistics.total_count else 1


def summary(sweep: Sweep, *, hint: bool = True) -> str:
    """Return the lines for people: counts, directory, first failures; as a hint, how to resume."""
    statistics = sweep.statistics
    where = shlex.quote(short_path(sweep.path))
    if not statistics.total_count:
        return f"multirun: no runs, nothing to do; the sweep is {where}"
    counts = [f"{statistics.success_count} of {statistics.total_count} runs succeeded"]
    # Those that were cancelled tell nothing; whoever cancelled them knows why.
    failures = [run for run in sweep.failures if run.reason != "cancelled"]
    for count, word in (
        (len(failures), "failed"),
        (statistics.failure_count - len(failures), "cancelled"),
        (statistics.skipped_count, "skipped"),
        (
            statistics.pending_count + statistics.running_count,
            "left to go on" if sweep.detached else "not executed",
        ),
    ):
        if count:
            counts.append(f"{count} {word}")
    lines = [f"multirun: {', '.join(counts)}; see {where}"]
    for run in failures[:_FAILURES_SHOWN]:
        lines += _failure(run)
    if len(failures) > _FAILURES_SHOWN:
        rest = len(failures) - _FAILURES_SHOWN
        lines.append(f"  … and {rest} more that failed: multirun results {where}")
    if failures:
        lines.append(f"  To see more:   multirun logs --stderr {where} {failures[0].index}")
    if hint and statistics.success_count < statistics.total_count:
        lines.append(f"  To carry on:   multirun resume {where}")
    return "\n".join(lines)


def _failure(run: Run) -> list[str]:
    given = ", ".join(f"{name}={value!r}" for name, value in run.params.items())
    if len(given) > _PARAMS_WIDTH:
        given = given[: _PARAMS_WIDTH - 1] + "…"
    took = "" if run.duration is None else f" after {duration_text(run.duration)}"
    lines = [
        f"  run {run.index}" + (f" ({one_line(given)})" if given else "") + f": {why(run)}{took}"
    ]
    if run.reason != "submit":  # there, all that it says is the message
        lines += ["      " + line for line in last_lines(run.stderr)]
    return lines


def why(run: Run) -> str:
    """Say in a few words why a run failed or was skipped."""
    code = run.exit_code
    if run.reason == "signal" and code is not None and code < 0:
        try:
            said = f"ended by {signal.Signals(-code).name}"
        except ValueError:
            said = f"ended by signal {-code}"
    elif run.reason == "exit":
        said = f"exit status {code}"
    else:
        said = (run.reason or run.status).replace("_", " ")
    return f"{said} ({one_line(run.message)})" if run.message else said


def last_lines(path: Path, count: int = _LINES_SHOWN) -> list[str]:
    """Return the last lines of a file that may be long, or not there; safe for a terminal."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read(_TAIL_BYTES)
    except OSError:
        return []
    text = data.decode(errors="replace").expandtabs()
    lines = [one_line(line.rstrip())[:200] for line in text.split("\n")]
    return [line for line in lines if line][-count:]


def short_path(path: Path) -> str:
    """Return a path relative to the current directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
