"""What is done about sweeps so large that looking at all of their runs takes its time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from pathlib import Path

import pytest
from multirun_core._sweep import aside as module
from multirun_core._sweep import driver
from multirun_core._sweep.aside import aside, uncollected

from multirun_core import ExitStatus, Run, TaskRunner, multirunAsync

MANY = 10_000


def test_the_records_of_a_large_sweep_are_set_aside_for_as_long_as_it_goes_on() -> None:
    with aside(MANY):
        assert gc.get_freeze_count() > 0
        with aside(MANY):
            pass
        assert gc.get_freeze_count() > 0, "it was the other sweep that did it"
    assert gc.get_freeze_count() == 0
    with aside(MANY - 1):
        assert gc.get_freeze_count() == 0


def test_collections_are_put_off_and_come_back_as_they_were() -> None:
    with uncollected():
        with contextlib.suppress(ValueError), uncollected():
            raise ValueError
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled(), "who has switched them off wants that"
    finally:
        gc.enable()


class Instant(TaskRunner):
    """Has runs that are over at once, and looks at what is going on."""

    frozen = 0

    async def execute(self, run: Run) -> ExitStatus:
        self.frozen = max(self.frozen, gc.get_freeze_count())
        return ExitStatus(code=0)


def test_a_sweep_that_is_defined_step_by_step_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Instant(max_parallel=4)
    path = tmp_path / "sweep"
    count = 50
    monkeypatch.setattr(driver, "_DEFINED_AT_ONCE", 20)
    monkeypatch.setattr(module, "_LEAST_RUNS", count)
    sweep = asyncio.run(
        multirunAsync(
            runs=({"n": n} for n in range(count)),
            cmd=["true"],
            output_path=path,
            runner=runner,
            progress=False,
        )
    )
    assert sweep.statistics.success_count == count
    assert runner.frozen > count
    lines = [json.loads(line) for line in (path / "journal/0001.jsonl").read_bytes().splitlines()]
    events = [line["event"] for line in lines]
    assert [line["run"] for line in lines if line["event"] == "run"] == list(range(count))
    assert events.index("defined") < events.index("start"), "all is written down first"
    assert events[: events.index("defined")].count("run") == count
