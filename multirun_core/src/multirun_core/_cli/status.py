"""`multirun status`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multirun_core._cli.common import DIRECTORY, Command, one_line
from multirun_core._display.pace import duration_text, rate_text

if TYPE_CHECKING:
    from multirun_core._sweep.sweep import Sweep

_HELP = """Show how many runs of the sweep in DIR have which status, and who works on it.

\b
Examples:
  multirun status study
  multirun status study --watch
  multirun status study --json | jq .failure
"""
_WINDOW_SECONDS = 600.0
_STATUSES = ("success", "failure", "skipped", "running", "pending")


@click.command("status", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option(
    "--watch",
    "-w",
    is_flag=True,
    help="Go on until the sweep has ended: redraw on a terminal, else a line at each change.",
)
def command(path: Path, as_json: bool, watch: bool) -> int:
    """Show how far a sweep is."""
    from multirun_core._sweep.sweep import Sweep

    if watch:
        from multirun_core._cli.watch import watch_status

        watch_status(path, as_json=as_json)
        return 0
    told = tell_status(Sweep.open(path), time.time())
    click.echo(json.dumps(told, indent=1) if as_json else as_text(told))
    return 0


def tell_status(sweep: Sweep, now: float) -> dict[str, Any]:
    """Return the state of a sweep as JSON has it."""
    statistics = sweep.statistics
    driver = sweep.driver
    told: dict[str, Any] = {
        "path": str(sweep.path),
        "total": statistics.total_count,
        "complete": statistics.complete_count,
        **{status: getattr(statistics, f"{status}_count") for status in _STATUSES},
        "driver": None,
        "runs_per_second": None,
        "seconds_left": None,
    }
    if driver is not None:
        told["driver"] = {
            "host": driver.host,
            "pid": driver.pid,
            "alive": driver.alive,
            "finished": driver.closed,
            "sent": _sent(sweep.path) if driver.alive is False else [],
        }
    remaining = statistics.total_count - statistics.complete_count
    if remaining and driver is not None and driver.alive is not False:
        rate = _rate(sweep, now)
        if rate:
            told["runs_per_second"] = rate
            told["seconds_left"] = remaining / rate
    return told


def _sent(path: Path) -> list[str]:
    """Return what the drivers are called that are to drive a sweep and may not have begun."""
    from multirun_core._sweep.layout import JOBS
    from multirun_core._sweep.sent import sent_drivers

    # So that no other sweep's runner need be made for this.
    return sent_drivers(path) if (path / JOBS).is_dir() else []


def is_over(told: dict[str, Any]) -> bool:
    """Whether nobody works on a sweep, or is to."""
    driver = told["driver"]
    return driver is None or (driver["alive"] is False and not driver["sent"])


def _rate(sweep: Sweep, now: float) -> float | None:
    """Return how many runs have ended per second in the last ten minutes."""
    recent = [
        run for run in sweep.runs if run.ended is not None and run.ended > now - _WINDOW_SECONDS
    ]
    if not recent:
        return None
    begun = min(run.started if run.started is not None else now for run in recent)
    return len(recent) / max(0.001, now - max(begun, now - _WINDOW_SECONDS))


def as_text(told: dict[str, Any]) -> str:
    """Return the state of a sweep for people."""
    lines = [f"{told['path']}: {told['complete']} of {told['total']} runs complete"]
    width = len(str(told["total"]))
    lines += [f"  {status:8} {told[status]:{width}}" for status in _STATUSES if told[status]]
    lines.append(f"driver: {_driver_text(told)}")
    if told["runs_per_second"]:
        lines.append(
            f"pace: {rate_text(told['runs_per_second'])}, "
            f"about {duration_text(told['seconds_left'])} left"
        )
    return "\n".join(one_line(line) for line in lines)


def _driver_text(told: dict[str, Any]) -> str:
    driver = told["driver"]
    if driver is None:
        return "none yet"
    who = f"process {driver['pid']} on {driver['host']}"
    if driver["alive"]:
        return f"{who} is at work"
    if driver["alive"] is None:
        return f"{who} may be at work; only that host can tell"
    end = "ended" if driver["finished"] else "died"
    if driver["sent"]:
        what = f"{', '.join(driver['sent'])} is to drive this sweep and may not have begun"
        return f"{who} has {end}; {what} (multirun resume finds out, multirun cancel ends it)"
    left = told["total"] - told["success"]
    hint = f"; multirun resume carries on with {left} runs" if left else ""
    return f"{who} has {end}{hint}"


def as_line(told: dict[str, Any]) -> str:
    """Return the state of a sweep as one line."""
    parts = [f"{told['complete']}/{told['total']} done"]
    for status, word in (("failure", "failed"), ("skipped", "skipped"), ("running", "running")):
        if told[status]:
            parts.append(f"{told[status]} {word}")
    if told["runs_per_second"]:
        parts.append(rate_text(told["runs_per_second"]))
        parts.append(f"about {duration_text(told['seconds_left'])} left")
    driver = told["driver"]
    if driver is None or driver["alive"] is False:
        parts.append(f"driver: {_driver_text(told)}")
    return one_line(", ".join(parts))
