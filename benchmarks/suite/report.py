"""The table, and the same as JSON."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from suite.measure import Measured, Sample, Side

_HEAD = ("id", "what", "A / B", "[min-max]", "A, B per unit", "must", "aim", "verdict")


def say(text: str) -> None:
    """Tell how far it is, or what is to be known, apart from the table."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def as_table(measured: Iterable[Measured], *, judge: bool) -> str:
    """Return the table.

    Args:
        measured: the rows.
        judge: whether the sizes are such that the figures say something.
    """
    lines = [_HEAD, *(_cells(one, judge=judge) for one in measured)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in lines
    ]
    told.insert(1, "  ".join("-" * width for width in widths))
    problems = [f"{one.row.id}: {one.problem}" for one in measured if one.problem]
    return "\n".join([*told, *problems]) + "\n"


def as_markdown(measured: Iterable[Measured], machine: Mapping[str, Any]) -> str:
    """Return a page with the table, and what machine the figures are of."""
    lines = [_HEAD, tuple("---" for _ in _HEAD), *(_cells(one, judge=True) for one in measured)]
    rows = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    load = " ".join(f"{one:.1f}" for one in machine["load"])
    what = (
        f"{machine['time']}, commit {machine['commit']}",
        f"{machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_bytes'] / 2**30:.0f} GiB",
        f"{machine['system']}, {machine['libc']}, Python {machine['python']}",
        f"{machine['file_system']}; load at the start {load}",
    )
    return (
        "# Figures\n\n"
        "Written by `python benchmarks/run.py --markdown benchmarks/figures.md`; what the rows\n"
        f"are is in [README.md](README.md).\n\n{'; '.join(what)}.\n\n{rows}"
    )


def as_json(measured: Iterable[Measured], *, judge: bool) -> list[dict[str, Any]]:
    """Return the rows with all their samples; times in seconds for one unit of the work."""
    return [
        {
            "id": one.row.id,
            "what": one.row.what,
            "figure": _figure_json(one),
            "must": one.row.must,
            "aim": one.row.aim,
            "verdict": verdict(one, judge=judge),
            "problem": one.problem,
            "a": _side_json(one.row.a, one.a),
            "b": _side_json(one.row.b, one.b),
        }
        for one in measured
    ]


def verdict(one: Measured, *, judge: bool) -> str:
    """Return what the figure says about the two bounds."""
    row = one.row
    if one.problem:
        return "not measured"
    if row.must is None and row.aim is None:
        return "report"
    if not judge:
        return "tried"
    if row.aim is not None and one.median <= row.aim:
        return "aim met"
    if row.must is None:
        return "aim missed"
    return "must met" if one.median <= row.must else "MISSED"


def _cells(one: Measured, *, judge: bool) -> tuple[str, ...]:
    row = one.row
    figures = ("-", "-", "-")
    if not one.problem:
        unit = f" {row.unit}" if row.unit else ""
        figures = (
            f"{one.median:.2f}{unit}",
            f"[{min(one.figures):.2f}-{max(one.figures):.2f}]",
            f"{_time(one.a)}, {_time(one.b)}",
        )
    bounds = ("" if bound is None else f"{bound:g}" for bound in (row.must, row.aim))
    return (row.id, row.what, *figures, *bounds, verdict(one, judge=judge))


def _time(samples: list[Sample]) -> str:
    seconds = statistics.median(sample.seconds for sample in samples)
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _figure_json(one: Measured) -> dict[str, Any] | None:
    if not one.figures:
        return None
    return {
        "median": one.median,
        "min": min(one.figures),
        "max": max(one.figures),
        "unit": one.row.unit or "ratio",
    }


def _side_json(side: Side, samples: list[Sample]) -> dict[str, Any]:
    return {
        "name": side.name,
        "units": side.units * side.times,
        "seconds": [sample.seconds for sample in samples],
        "cpu_seconds": [sample.cpu_seconds for sample in samples],
        "told": [sample.told for sample in samples if sample.told],
    }
