"""The benchmarks are run once at a tiny size, only to see that they work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_tools import BENCHMARKS, check, tried

LOCAL = (*(f"B{number}" for number in range(1, 12)), "B16")

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
