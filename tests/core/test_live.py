"""Sweeps that go on while their user works with them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from sweeps import PROGRAM, executions, processes_with, wait_until

from multirun_core import (
    ParallelLocalRunner,
    ParamError,
    RunnerClosedError,
    RunsFailedError,
    Sweep,
    SweepExistsError,
    UsageError,
    multirun,
    multirunAsync,
)

SQUARE = ["sh", "-c", "echo $((MULTIRUN_PARAM_N * MULTIRUN_PARAM_N)) > results.json"]


def begin(root: Path, numbers: Any = (), cmd: list[str] | None = None, **keywords: Any) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in numbers],
        cmd=cmd or SQUARE,
        output_path=root,
        runner=ParallelLocalRunner(max_parallel=2, grace=0.2),
        progress=False,
        wait=False,
        **keywords,
    )


def test_runs_come_as_they_end(tmp_path: Path) -> None:
    with begin(tmp_path / "s", range(10)) as sweep:
        seen = [run.result for run in sweep.as_completed()]
    assert sorted(seen) == [n * n for n in range(10)]
    assert sweep.statistics.success_count == 10
    assert Sweep.open(tmp_path / "s").results == [n * n for n in range(10)]


def test_what_ends_is_handed_out_before_the_others_end(tmp_path: Path) -> None:
    cmd = ["sh", "-c", "until test -e ../../go$MULTIRUN_PARAM_N; do sleep 0.01; done"]
    root = tmp_path / "s"
    with begin(root, [0, 1], cmd) as sweep:
        ends = sweep.as_completed()
        (root / "go1").touch()
        assert next(ends).index == 1
        assert sweep.runs[0].status in ("pending", "running")
        (root / "go0").touch()
        assert next(ends).index == 0
        assert next(ends, None) is None


def test_runs_can_be_added_meanwhile(tmp_path: Path) -> None:
    """What an optimiser does: each end decides what comes next."""
    found: list[int] = []
    with begin(tmp_path / "s") as sweep:
        sweep.add({"n": 1})
        for run in sweep.as_completed():
            found.append(run.result)
            if len(found) < 8:
                sweep.add({"n": run.params["n"] + 1})
    assert found == [n * n for n in range(1, 9)]
    opened = Sweep.open(tmp_path / "s")
    assert opened.results == found
    assert [run.index for run in opened.runs] == list(range(8))


def test_an_added_run_is_written_down_before_it_starts(tmp_path: Path) -> None:
    with begin(tmp_path / "s", cmd=["sh", "-c", "grep -c '\"run\"' ../../journal/*"]) as sweep:
        run = sweep.add({"n": 5})
        assert next(sweep.as_completed()) is run
    assert int(run.stdout.read_text()) >= 1


def test_a_resumed_sweep_takes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("MARKS", str(marks))
    root = tmp_path / "s"
    with begin(root, cmd=PROGRAM) as sweep:
        for n in (3, 4, 4):
            sweep.add({"n": n})
    with begin(root, cmd=PROGRAM, resume=True) as sweep:
        runs = [sweep.add({"n": n}) for n in (4, 5, 4, 4)]
        assert sorted(run.index or 0 for run in sweep.as_completed()) == [1, 2, 3, 4]
        assert [run.result for run in runs] == [{"twice": 2 * n} for n in (4, 5, 4, 4)]
    assert len(sweep) == 5
    assert sum(executions(marks).values()) == 5
    assert sweep.runs[0].status == "success"


def test_after_the_end_nothing_can_be_added(tmp_path: Path) -> None:
    sweep = begin(tmp_path / "s", [1])
    sweep.wait()
    sweep.wait()
    with pytest.raises(RunnerClosedError):
        sweep.add({"n": 2})
    assert [run.result for run in sweep.as_completed()] == [1]
    opened = Sweep.open(tmp_path / "s")
    with pytest.raises(RunnerClosedError, match="wait=False"):
        opened.add({"n": 2})
    assert [run.index for run in opened.as_completed()] == [0]


def test_wrong_parameters_and_wrong_calls(tmp_path: Path) -> None:
    with begin(tmp_path / "s") as sweep:
        with pytest.raises(ParamError, match="run 0, parameter 'n'"):
            sweep.add({"n": {1, 2}})
        sweep.add({"n": 1})
    assert len(sweep) == 1
    with pytest.raises(SweepExistsError):
        begin(tmp_path / "s")


def test_an_error_in_the_body_cancels(tmp_path: Path) -> None:
    root = tmp_path / "s"
    stubborn = ["sh", "-c", "trap '' TERM; sleep 300; sleep 300"]

    def body() -> None:
        with begin(root, range(5), stubborn):
            wait_until(lambda: len(list(root.glob("runs/*/stdout.txt"))) == 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics.failure_count == 2
    assert Sweep.open(root).statistics.skipped_count == 3


def test_cancel_ends_the_iteration_too(tmp_path: Path) -> None:
    with begin(tmp_path / "s", range(5), ["sleep", "300"]) as sweep:
        threading.Timer(0.3, sweep.cancel).start()
        assert {run.reason for run in sweep.as_completed()} == {"cancelled"}
        sweep.wait()
    assert sweep.statistics.complete_count == 5


def test_check_raises_at_the_end(tmp_path: Path) -> None:
    sweep = begin(tmp_path / "s", [1], ["false"], check=True)
    with pytest.raises(RunsFailedError):
        sweep.wait()


def test_over_the_failure_budget_the_rest_is_handed_out_as_skipped(tmp_path: Path) -> None:
    with begin(tmp_path / "s", range(20), ["false"], max_failures=0) as sweep:
        ends = [run.status for run in sweep.as_completed()]
    assert len(ends) == 20
    assert "skipped" in ends


@pytest.mark.asyncio
async def test_the_same_in_an_event_loop(tmp_path: Path) -> None:
    def call(name: str, **keywords: Any) -> Any:
        return multirunAsync(
            runs=[{"n": 1}],
            cmd=SQUARE,
            output_path=tmp_path / name,
            progress=False,
            wait=False,
            **keywords,
        )

    async with await call("a") as sweep:
        found = []
        async for run in sweep.as_completed():
            found.append(run.result)
            if len(found) < 5:
                sweep.add({"n": run.params["n"] + 1})
    assert found == [1, 4, 9, 16, 25]
    with pytest.raises(UsageError, match="finished"):
        sweep.wait()
    with pytest.raises(SweepExistsError):
        await call("a")
    with pytest.raises(KeyError):
        async with await call("b") as sweep:
            raise KeyError
    assert Sweep.open(tmp_path / "b").statistics.complete_count == 1


@pytest.mark.asyncio
async def test_a_sweep_in_a_thread_followed_from_a_loop(tmp_path: Path) -> None:
    with begin(tmp_path / "s", range(4)) as sweep:
        async with asyncio.timeout(30):
            found = [run.result async for run in sweep.as_completed()]
    assert sorted(found) == [0, 1, 4, 9]
