"""What the tests of the benchmarks share: a tiny measurement, and what must be true of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PEERS = {"B2", "B3", "B4", "B5", "B12", "B14"}
# The other sides of those rows, which `./dev test` installs; the tests of core do without.
INSTALLED = (BENCHMARKS.parent / ".venv-bench" / "bin" / "python").exists()


def tried(program: str, *arguments: str, output: Path) -> list[dict[str, Any]]:
    """Return the rows that a tiny measurement has written."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / program, *arguments, "--quick", "--json", output],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(output.read_text("utf-8"))
    assert told["machine"]["cpus"] >= 1
    rows: list[dict[str, Any]] = told["rows"]
    for row in rows:
        assert any(line.startswith(row["id"] + " ") for line in done.stdout.splitlines())
    return rows


def check(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["id"] in PEERS and not INSTALLED and row["problem"] is not None:
            assert row["problem"].startswith("not installed: ")
            continue
        assert row["problem"] is None
        assert row["id"] == "B6m" or row["figure"]["min"] > 0
        assert all(seconds > 0 for side in "ab" for seconds in row[side]["seconds"])
        assert len(row["a"]["seconds"]) == len(row["b"]["seconds"]) == 1
