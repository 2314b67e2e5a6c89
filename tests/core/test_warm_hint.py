"""Where warm Python would pay, a line at the end of a sweep says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from multirun_core._model.run import ExitStatus
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.warm import Hint

from multirun_core import ParallelLocalRunner, multirun

PYTHON = sys.executable
SCRIPT = [PYTHON, "body.py"]


def told(
    folder: Path, capsys: pytest.CaptureFixture[str], cmd: list[str], count: int = 20, **more: Any
) -> list[str]:
    """Carry out a sweep, and return the lines about warm Python."""
    (folder / "body.py").touch()
    progress = more.pop("progress", None)
    sweep = multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=cmd,
        input_files=[folder / "body.py"],
        output_path=folder / "sweep",
        runner=ParallelLocalRunner(**more),
        progress=progress,
    )
    assert sweep.statistics.success_count == count
    return [line for line in capsys.readouterr().err.splitlines() if "warm" in line]


@pytest.mark.parametrize("cmd", [SCRIPT, [PYTHON, "-m", "body"]])
def test_it_is_said_where_it_pays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cmd: list[str]
) -> None:
    (line,) = told(tmp_path, capsys, cmd)
    assert line.startswith("multirun: half of the 20 runs of Python took less than 0.")
    assert "warm=True (-R warm=true)" in line


@pytest.mark.parametrize(
    ("cmd", "more"),
    [
        (SCRIPT, {"warm": True}),
        (SCRIPT, {"warm": False}),
        (SCRIPT, {"preload": ["json"]}),
        (SCRIPT, {"progress": False}),
        (SCRIPT, {"count": 19}),
        (SCRIPT, {"env": {"PYTHONVERBOSE": "1"}}),
        (["true", "body.py"], {}),
        ([PYTHON, "-c", "pass"], {}),
    ],
)
def test_it_is_not_said_where_it_is_settled_or_of_no_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cmd: list[str], more: dict[str, Any]
) -> None:
    assert told(tmp_path, capsys, cmd, **more) == []


@pytest.mark.asyncio
async def test_what_runs_for_long_gains_nothing() -> None:
    launcher = await Launcher.start()
    try:
        for seconds, lines in ((0.4, 1), (0.6, 0)):
            hint = Hint()
            for _ in range(20):
                hint.note(
                    launcher, SCRIPT, {}, ExitStatus(code=0, started=10.0, ended=10 + seconds)
                )
                hint.note(launcher, SCRIPT, {}, ExitStatus(code=1, started=10.0, ended=10.0))
            assert len(hint.remarks()) == lines
            assert hint.remarks() == []  # the next sweep begins anew
    finally:
        await launcher.close()
