"""The benchmarks are run once at a tiny size, only to see that they work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PEERS = {"B2", "B3", "B4", "B5"}  # whose other side may not be installed


def tried(program: str, *arguments: str, output: Path) -> list[dict[str, Any]]:
    """Return the rows that a tiny measurement has written."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / program, *arguments, "--quick", "--json", output],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(output.read_text("utf-8"))
    assert told["machine"]["cpus"] >= 1
    rows: list[dict[str, Any]] = told["rows"]
    for row in rows:
        assert any(line.startswith(row["id"] + " ") for line in done.stdout.splitlines())
    return rows


def test_every_row_can_be_measured(tmp_path: Path) -> None:
    rows = tried("run.py", output=tmp_path / "all rows.json")
    assert [row["id"] for row in rows] == [
        *("B1", "B2", "B3", "B4", "B5", "B6", "B6m", "B7", "B8", "B8v", "B9", "B10"),
        *("B16", "B16s"),
    ]
    for row in rows:
        if row["id"] in PEERS and row["problem"] is not None:
            assert row["problem"].startswith("not installed: ")
            continue
        assert row["problem"] is None
        assert row["id"] == "B6m" or row["figure"]["min"] > 0
        assert all(seconds > 0 for side in "ab" for seconds in row[side]["seconds"])
        assert len(row["a"]["seconds"]) == len(row["b"]["seconds"]) == 1


def test_a_program_that_fails_is_a_failure_and_no_figure(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\n[ "$1" = -c ] || { echo "no such luck" >&2; exit 3; }\n')
    broken.chmod(0o755)
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", "B3", "--quick", "--peers", broken],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "B3: joblib: exit status 3: no such luck" in done.stdout


@pytest.mark.long
def test_commits_can_be_compared(tmp_path: Path) -> None:
    rows = tried("regress.py", "HEAD", "HEAD", output=tmp_path / "commits.json")
    assert [row["id"] for row in rows] == ["B1", "B7", "B8", "B9", "B10"]
    assert all(row["figure"]["min"] > 0 for row in rows)
