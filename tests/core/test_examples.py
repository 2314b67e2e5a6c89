"""The examples are run as a user would run them, and their numbers are compared with theory."""

from __future__ import annotations

import gzip
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multirun_core import Sweep

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, output: Path) -> tuple[Sweep, list[list[str]]]:
    """Return the sweep and the words of each line that the example printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name / "sweep.py", output],
        cwd=output.parent,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Sweep.open(output), [line.split() for line in done.stdout.splitlines()]


def test_montecarlo_agrees_with_the_closed_form(tmp_path: Path) -> None:
    sweep, printed = run_example("montecarlo", tmp_path / "a study")
    assert [run.status for run in sweep.runs] == ["success"] * 60
    ranges: dict[float, list[float]] = {0.0: [], 0.01: []}
    for run in sweep.runs:
        speed, angle = run.params["speed"], math.radians(run.params["angle_deg"])
        ranges[run.params["drag"]].append(run.result["range_m"])
        if run.params["drag"] == 0:
            assert run.result["range_m"] == pytest.approx(
                speed**2 * math.sin(2 * angle) / 9.81, rel=1e-5
            )
            assert run.result["time_s"] == pytest.approx(
                2 * speed * math.sin(angle) / 9.81, rel=1e-5
            )
    assert all(a > b > a / 2 for a, b in zip(*ranges.values(), strict=True))
    for drag, words in zip(ranges, printed[-3:-1], strict=True):
        mean = sum(ranges[drag]) / 30
        assert words[:3] == [f"{drag:.3f}", "30", f"{mean:.2f}"]


def test_ngspice_agrees_with_theory(tmp_path: Path) -> None:
    assert shutil.which("ngspice"), (
        "this test runs ngspice; ./dev test installs it, or: sudo apt-get install ngspice"
    )
    sweep, printed = run_example("ngspice", tmp_path / "filter $HOME;")
    assert sweep.statistics.success_count == 12
    table = [[float(word) for word in words] for words in printed[-13:-1]]
    assert [(run.params["resistance"], run.params["capacitance"]) for run in sweep.runs] == [
        (r, c) for r, c, _, _ in table
    ]
    for resistance, capacitance, measured, _ in table:
        assert measured == pytest.approx(1 / (2 * math.pi * resistance * capacitance), rel=1e-3)


def test_shell_script_packs_and_reports(tmp_path: Path) -> None:
    sweep, printed = run_example("shell", tmp_path / "packed")
    sizes: dict[tuple[int, int], int] = {}
    for run in sweep.runs:
        lines, level = run.params["lines"], run.params["level"]
        text = "".join(f"{number}\n" for number in range(1, lines + 1)).encode()
        packed = (run.cwd / "data.txt.gz").read_bytes()
        assert gzip.decompress(packed) == text
        assert run.result == {"bytes": len(text), "packed_bytes": len(packed)}
        assert [str(lines), str(level), str(len(text)), str(len(packed))] in printed
        sizes[lines, level] = len(packed)
    assert len(sizes) == 6
    assert all(size < 4 * lines for (lines, _), size in sizes.items())


def test_an_optimiser_steers_a_sweep(tmp_path: Path) -> None:
    sweep, printed = run_example("optuna", tmp_path / "search")
    assert [run.status for run in sweep.runs] == ["success"] * 40
    lowest = min(run.result["height"] for run in sweep.runs)
    assert printed[-2][:4] == ["lowest", "of", "40:", f"{lowest:.4f}"]
    # Better than the best of as many points that are chosen blindly (about 1.5 at the median).
    assert lowest < 1.0
    for run in sweep.runs:
        x, y = run.params["x"], run.params["y"]
        assert run.result["height"] == pytest.approx((1 - x) ** 2 + 100 * (y - x * x) ** 2)
