"""`multirun demo`."""

from __future__ import annotations

import random
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multirun_core._cli.common import DIRECTORY, Command

if TYPE_CHECKING:
    from multirun_core._sweep.sweep import Sweep

_HELP = """Run a small Monte Carlo study of 200 runs: how far does a ball fly against drag and wind?

Shows the table and the spread of the result, where everything is, and how to do the same yourself.

\b
Example:
  multirun demo -o demo
"""
_RUNS = 200
_ROWS = 8
_BINS = 12
_BAR = 40
_SCRIPT = "projectile.py"
_SAME = """\
import random
import statistics
from multirun_core import multirun

sweep = multirun(
    runs=[
        {{
            "speed": random.gauss(38, 1.5),  # m/s
            "angle": random.gauss(42, 2),    # degrees
            "wind": random.gauss(0, 3),      # m/s
        }}
        for _ in range({runs})
    ],
    cmd=["python", "projectile.py"],
    input_files=["projectile.py"],
)
print(statistics.fmean(result["distance"] for result in sweep.results))
# sweep.to_dataframe() is the whole table, with pandas
"""


@click.command("demo", cls=Command, help=_HELP)
@click.option(
    "-o",
    "--output",
    type=DIRECTORY,
    metavar="DIR",
    help="New directory; by default multirun-demo in the current one.",
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show the bar anyway, or nothing; by default a bar on a terminal.",
)
def command(output: Path | None, progress: bool | None) -> int:
    """Run a small Monte Carlo study to see what it is like."""
    from multirun_core._cli.summary import carry_out
    from multirun_core._model.files import FileResource
    from multirun_core._sweep.api import start

    script = Path(__file__).with_name("demo_script.py")
    click.echo(
        f"{_RUNS} throws of a ball with random speed, angle and wind: one process and one "
        "directory each."
    )

    def work() -> Sweep:
        sweep = start(
            runs=_throws(),
            cmd=[sys.executable, _SCRIPT],
            output_path=output or _new_directory(),
            input_files=[FileResource(script, "shared", _SCRIPT)],
            runner="local",
            runner_options={"max_parallel": "auto"},
            progress=progress,
        )
        _show(sweep)
        return sweep

    return carry_out(work, progress=progress, say_path=False)


def _throws() -> list[dict[str, float]]:
    # The same throws at every demo, so that people can compare.
    dice = random.Random(1)  # noqa: S311 - no cryptography
    return [
        {
            "speed": round(dice.gauss(38, 1.5), 3),
            "angle": round(dice.gauss(42, 2), 3),
            "wind": round(dice.gauss(0, 3), 3),
        }
        for _ in range(_RUNS)
    ]


def _new_directory() -> Path:
    path, number = Path("multirun-demo"), 1
    while path.exists():
        number += 1
        path = Path(f"multirun-demo-{number}")
    return path


def _show(sweep: Sweep) -> None:
    from multirun_core._cli.results import print_table
    from multirun_core._cli.summary import short_path
    from multirun_core._sweep.table import build_columns

    columns = build_columns(sweep.runs)
    wanted = ["index", "speed", "angle", "wind", "status", "distance", "height"]
    click.echo(f"\nThe first {_ROWS} of {len(sweep)} rows:")
    print_table({name: columns[name] for name in wanted if name in columns}, limit=_ROWS)
    values: list[Any] = [value for value in columns.get("distance", []) if value is not None]
    if len(values) > 1:
        click.echo(f"\nDistance in metres, {len(values)} throws:")
        click.echo("\n".join(histogram(values)))
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        click.echo(f"mean {mean:.2f}, standard deviation {spread:.2f}")
    where = short_path(sweep.path)
    took = sum(run.cpu_seconds or 0.0 for run in sweep.runs)
    click.echo(
        f"\nAll of it is in {where}: runs/000000/ and so on have parameters, results and output"
        f" ({took:.1f} s of CPU time in all).\n"
        f"The script to copy from: {short_path(sweep.runs[0].cwd / _SCRIPT)}\n"
        "The same from Python:\n"
    )
    click.echo("".join(f"    {line}\n" for line in _SAME.format(runs=_RUNS).splitlines()))


def histogram(values: list[float]) -> list[str]:
    """Return lines that show how values are spread."""
    low, high = min(values), max(values)
    width = (high - low) / _BINS or 1.0
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, int((value - low) / width))] += 1
    block, parts = _blocks()
    lines: list[str] = []
    for number, count in enumerate(counts):
        eighths = round(count / max(counts) * _BAR * 8)
        bar = block * (eighths // 8) + parts[eighths % 8]
        start = low + number * width
        lines.append(f"{start:8.1f} to {start + width:6.1f}  {bar} {count or ''}".rstrip())
    return lines


def _blocks() -> tuple[str, list[str]]:
    """Return what bars are drawn with: a whole block and its parts, as far as can be encoded."""
    parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    try:
        "█▏".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#", [""] * 8
    return "█", parts
