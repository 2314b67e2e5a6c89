"""The benchmarks are run once at a tiny size, only to see that they work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_tools import BENCHMARKS, check, tried

sys.path.append(str(BENCHMARKS))
from suite.measure import Bench, Measured, Row, Side
from suite.report import as_markdown, verdict

LOCAL = (*(f"B{number}" for number in range(1, 12)), "B16")

SIDES = {"a": (4.0,), "b": (2.0,)}
MACHINE = dict.fromkeys(
    ("time", "commit", "cpus", "cpu", "system", "libc", "python", "file_system"), "some"
)

pytestmark = pytest.mark.timeout(180)  # they start hundreds of programs, beside other tests


def test_every_row_can_be_measured(tmp_path: Path) -> None:
    rows = tried("run.py", *LOCAL, output=tmp_path / "all rows.json")
    assert [row["id"] for row in rows] == [
        *("B1", "B2", "B3", "B4", "B5", "B6", "B6m", "B7", "B8", "B8v", "B9", "B10"),
        *("B11", "B11n", "B16", "B16s"),
    ]
    check(rows)


def test_very_many_runs_can_be_driven(tmp_path: Path) -> None:
    output = tmp_path / "scale.json"
    arguments = ["30", "60", "--slots", "20", "--seconds", "0.01", "--json", output]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "scale.py", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(output.read_text("utf-8"))["measured"]
    assert [one["runs"] for one in measured] == [30, 60]
    assert all(one["cpu_seconds"] > 0 < one["journal_bytes"] for one in measured)
    assert len(done.stdout.splitlines()) == 3


def test_a_program_that_fails_is_a_failure_and_no_figure(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\n[ "$1" = -c ] || { echo "no such luck" >&2; exit 3; }\n')
    broken.chmod(0o755)
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", "B3", "--quick", "--peers", broken],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 1
    assert "B3: joblib: exit status 3: no such luck" in done.stdout


@pytest.mark.long
def test_commits_can_be_compared(tmp_path: Path) -> None:
    rows = tried("regress.py", "HEAD", "HEAD", output=tmp_path / "commits.json")
    assert [row["id"] for row in rows] == ["B1", "B7", "B8", "B9", "B10"]
    assert all(row["figure"]["min"] > 0 for row in rows)


def a_side(name: str, *seconds: float, place: Path, missing: str | None = None) -> Side:
    """Return a side that says that it took so long, once after the other, and leaves a trace."""
    (place / f"{name}.seconds").write_text("".join(f"{one}\n" for one in seconds))
    script = (
        f'cd "{place}" && echo {name} >>order && line=$(head -n 1 {name}.seconds) && '
        f"sed -i 1d {name}.seconds && "
        'printf \'{"seconds": %s, "rows": %s}\' "$line" "${line%%.*}"'
    )
    command = ["sh", "-c", script]
    return Side(name=name, command=lambda _: command, inside=True, missing=missing)


def compared(place: Path, *rows: Row, rounds: int, warm_up: int = 1) -> list[Measured]:
    (place / "work").mkdir()
    return Bench(place / "work", lambda _: None).compare(rows, rounds=rounds, warm_up=warm_up)


def test_sides_alternate_after_a_round_that_does_not_count(tmp_path: Path) -> None:
    a = a_side("a", 99, 2, 30, 8, place=tmp_path)
    b = a_side("b", 1, 1, 10, 2, place=tmp_path)
    row = Row(id="X1", what="a / b", a=a, b=b, must=3.0, aim=2.5)
    (measured,) = compared(tmp_path, row, rounds=3)
    assert measured.figures == [2.0, 3.0, 4.0]
    assert measured.median == 3.0
    assert (tmp_path / "order").read_text().split() == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert verdict(measured, judge=True) == "must met"
    told = as_markdown([measured], {"load": [0.5], "memory_bytes": 2**30, **MACHINE})
    assert "| X1 | a / b | 3.00 | [2.00-4.00] | 8.00 s, 2.00 s | 3 | 2.5 | must met |\n" in told
    assert "load at the start 0.5" in told


@pytest.mark.parametrize(
    ("must", "aim", "expected"),
    [
        (3.0, 2.0, "aim met"),
        (2.0, 1.9, "must met"),
        (1.9, 1.0, "MISSED"),
        (None, 1.9, "aim missed"),
        (None, None, "report"),
    ],
)
def test_what_a_figure_says_of_the_bounds(
    must: float | None, aim: float | None, expected: str, tmp_path: Path
) -> None:
    sides = {name: a_side(name, *took, place=tmp_path) for name, took in SIDES.items()}
    row = Row(id="X1", what="a / b", **sides, must=must, aim=aim)
    (measured,) = compared(tmp_path, row, rounds=1, warm_up=0)
    assert verdict(measured, judge=True) == expected


def test_sides_that_do_not_do_the_same_give_no_figure(tmp_path: Path) -> None:
    sides = {name: a_side(name, *took, place=tmp_path) for name, took in SIDES.items()}
    row = Row(id="X1", what="a / b", **sides, same="rows")
    (measured,) = compared(tmp_path, row, rounds=1, warm_up=0)
    assert measured.problem == "rows differ: 2, 4"


def test_ours_is_run_also_where_the_other_is_not_installed(tmp_path: Path) -> None:
    lacking = a_side("b", 1, place=tmp_path, missing="b (apt-get install b)")
    row = Row(id="X1", what="a / b", a=a_side("a", 1, place=tmp_path), b=lacking)
    (measured,) = compared(tmp_path, row, rounds=1, warm_up=0)
    assert measured.problem == "not installed: b (apt-get install b)"
    assert (tmp_path / "order").read_text() == "a\n"
    broken = Side(name="broken", command=lambda _: ["sh", "-c", "echo why >&2; exit 3"])
    (tmp_path / "work").rmdir()
    (measured,) = compared(tmp_path, Row(id="X2", what="", a=broken, b=lacking), rounds=1)
    assert measured.problem == "broken: exit status 3: why"
