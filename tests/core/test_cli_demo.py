from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import call
from multirun_core._cli.demo import histogram

from multirun_core import Sweep


@pytest.mark.timeout(180)
def test_the_demo_does_what_it_says(tmp_path: Path) -> None:
    done = call("demo", cwd=tmp_path, seconds=170)
    assert done.returncode == 0, done.stderr
    sweep = Sweep.open(tmp_path / "multirun-demo")
    assert sweep.statistics.success_count == 200
    assert all(50 < result["distance"] < 150 for result in sweep.results)
    for said in ("Distance in metres", "█", "mean ", "multirun-demo/runs/000000/projectile.py"):
        assert said in done.stdout
    shown = done.stdout.splitlines()
    table = [line.split() for line in shown[shown.index("The first 8 of 200 rows:") + 1 :]]
    assert next(words for words in table if words)[:5] == [
        "index", "speed", "angle", "wind", "status",
    ]  # fmt: skip
    assert "200 of 200 runs succeeded" in done.stderr
    # The lines that it shows work as they are.
    lines = [line[4:] for line in done.stdout.splitlines() if line.startswith("    ")]
    own = "\n".join(lines[lines.index("import random") :]).replace("range(200)", "range(2)")
    script = (tmp_path / "multirun-demo" / "runs" / "000000" / "projectile.py").read_text()
    (tmp_path / "projectile.py").write_text(script)
    again = subprocess.run(
        [sys.executable, "-c", own], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert 50 < float(again.stdout) < 150


def test_the_demo_takes_a_directory_and_refuses_a_full_one(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    done = call("demo", "-o", "full", cwd=tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr


def test_a_histogram_counts_all() -> None:
    lines = histogram([1.0, 1.0, 2.0, 13.0])
    assert len(lines) == 12
    words = [line.split() for line in lines]  # low, "to", high, and where there is any: bar, count
    assert [int(line[4]) for line in words if len(line) > 3] == [2, 1, 1]
    assert histogram([3.0, 3.0])[0].endswith(" 2")


def test_a_histogram_where_blocks_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr("sys.stdout", Ascii())
    lines = histogram([1.0, 2.0])
    monkeypatch.undo()
    assert all(line.isascii() for line in lines)
    assert "#" in lines[0]
