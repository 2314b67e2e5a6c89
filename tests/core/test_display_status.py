"""`displayStatus` in a terminal, of a real runner and of a sweep that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from display_tools import frames, in_terminal, python

OF_A_RUNNER = """
import asyncio
from multirun_core import ParallelLocalRunner, displayStatus

async def main():
    runner = ParallelLocalRunner(max_parallel=2)
    for _ in range(3):
        runner.add(["sleep", "0.5"])
    await asyncio.gather(runner.gather(), displayStatus(runner))

asyncio.run(main())
"""
OF_A_SWEEP = """
import asyncio
from multirun_core import ParallelLocalRunner, displayStatus, multirun

sweep = multirun(
    runs=[{"n": n} for n in range(3)],
    cmd=["sleep", "0.5"],
    output_path="s",
    runner=ParallelLocalRunner(max_parallel=2),
    progress=False,
    wait=False,
)
asyncio.run(displayStatus(sweep))
sweep.wait()
"""


@pytest.mark.parametrize("program", [OF_A_RUNNER, OF_A_SWEEP], ids=["runner", "sweep"])
def test_a_bar_is_shown_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [line for line in frames(in_terminal(python(program))) if line.strip()]
    assert "━" in shown[-1]
    assert "3/3" in shown[-1]
    assert any("3/3" not in line for line in shown)
