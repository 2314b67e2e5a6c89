"""Drive very many runs that end by a clock through all of the driver; see README.md.

Usage: python benchmarks/scale.py [COUNT …] [--slots N] [--seconds S] [--keep WHAT] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from suite.beds import Beds
from suite.environment import make_environment
from suite.machine import facts
from suite.measure import SideError, run_inside
from suite.place import new_place
from suite.report import say
from suite.setup import ROOT, Setup, Sizes, program

_BOUND_SECONDS = 4 * 3600.0
_HEAD = (
    "runs",
    "time",
    "CPU a run",
    "memory a run",
    "journal a run",
    "loop late: median, 99 %, most",
)


def main() -> int:
    """Measure each number of runs, smallest first, and print a table."""
    asked = _arguments()
    measured: list[dict[str, Any]] = []
    with new_place(asked.place) as place:
        python = make_environment(place / "environment", ROOT)
        setup = Setup(python=python, sizes=Sizes(), kept=place, beds=Beds(place))
        machine = facts(setup, place)
        for count in sorted(asked.counts):
            say(f"{count} runs, {asked.slots} at once")
            folder = place / "sweep"
            amount = (str(count), str(asked.slots), str(asked.seconds), asked.keep, str(folder))
            try:
                measured.append(
                    run_inside([python, program("clock_runs.py"), *amount], _BOUND_SECONDS)
                )
            except SideError as error:
                say(f"{count} runs: {error}")
                return 1
            shutil.rmtree(folder)
    sys.stdout.write(_table(measured))
    if asked.json is not None:
        told = {"machine": machine, "measured": measured}
        asked.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0


def _table(measured: list[dict[str, Any]]) -> str:
    lines = [_HEAD, *(_cells(one) for one in measured)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        + "\n"
        for cells in lines
    )


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    runs, late = one["runs"], one["late"]
    return (
        f"{runs}",
        f"{one['seconds']:.1f} s",
        f"{one['cpu_seconds'] / runs * 1000:.3f} ms",
        f"{one['peak_bytes'] / runs / 1024:.2f} KiB",
        f"{one['journal_bytes'] / runs:.0f} B",
        ", ".join(f"{late[name] * 1000:.1f} ms" for name in ("median", "p99", "most")),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Drive very many runs that end by a clock.")
    parser.add_argument(
        "counts", nargs="*", type=int, metavar="COUNT", default=[10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--slots", type=int, default=1000, help="how many go on at once")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long a run takes")
    parser.add_argument(
        "--keep", default="all", help="whose directories stay: all, failed, results"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--place", type=Path, metavar="DIR", help="work below DIR, not on tmpfs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
