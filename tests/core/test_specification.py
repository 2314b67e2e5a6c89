"""The names of the specification, to the letter; what is added are further keywords."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from inrun_programs import run_directory

from multirun_core import (
    AbstractRunner,
    FileLinkage,
    FileResource,
    ParallelLocalRunner,
    Run,
    RunStatistics,
    RunStatus,
    displayStatus,
    getRunParams,
    multirun,
    multirunAsync,
    postRunResults,
)

EITHER, KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
NONE = inspect.Parameter.empty

SWEEP = [
    ("runs", KEYWORD, NONE),
    ("cmd", KEYWORD, NONE),
    ("output_path", KEYWORD, None),
    ("input_files", KEYWORD, None),
    ("runner", KEYWORD, None),
]
ADD = [("self", EITHER, NONE), ("cmd", EITHER, NONE), ("cwd", EITHER, Path())]
SELF = [("self", EITHER, NONE)]
COUNTS = ["skipped", "pending", "running", "success", "failure", "complete", "total"]

# Of each callable, its parameters: name, kind and default.
SIGNATURES: list[tuple[Callable[..., Any], list[tuple[str, Any, Any]]]] = [
    (multirun, SWEEP),
    (multirunAsync, SWEEP),
    (displayStatus, [("runner", EITHER, NONE)]),
    (getRunParams, []),
    (postRunResults, [("results", EITHER, NONE)]),
    (
        FileResource,
        [("path", EITHER, NONE), ("linkage", EITHER, "shared"), ("rename", EITHER, None)],
    ),
    (Run, [("task", EITHER, None), ("status", EITHER, "pending")]),
    (RunStatistics, [(f"{name}_count", EITHER, 0) for name in COUNTS]),
    (ParallelLocalRunner, [("max_parallel", KEYWORD, 4)]),
    (AbstractRunner.add, ADD),
    (AbstractRunner.gather, SELF),
    (AbstractRunner.computeStatistics, SELF),
    (ParallelLocalRunner.add, ADD),
    (ParallelLocalRunner.gather, SELF),
    (ParallelLocalRunner.computeStatistics, SELF),
]


@pytest.mark.parametrize(
    ("what", "expected"), SIGNATURES, ids=[what.__qualname__ for what, _ in SIGNATURES]
)
def test_signatures(what: Callable[..., Any], expected: list[tuple[str, Any, Any]]) -> None:
    found = list(inspect.signature(what).parameters.values())
    told = [(one.name, one.kind, one.default) for one in found]
    assert told[: len(expected)] == expected
    further = found[len(expected) :]
    assert all(one.kind == KEYWORD and one.default is not NONE for one in further), further


def test_both_ways_of_calling_take_the_same() -> None:
    assert (
        inspect.signature(multirun).parameters.keys()
        == inspect.signature(multirunAsync).parameters.keys()
    )


def test_what_is_awaited() -> None:
    asynchronous = [multirunAsync, displayStatus, AbstractRunner.gather, ParallelLocalRunner.gather]
    assert [what for what, _ in SIGNATURES if inspect.iscoroutinefunction(what)] == asynchronous


def test_what_a_runner_must_have() -> None:
    assert AbstractRunner.__abstractmethods__ == {"add", "gather", "computeStatistics"}
    assert issubclass(ParallelLocalRunner, AbstractRunner)


def test_words() -> None:
    assert get_args(FileLinkage) == ("copy", "shared", "link")
    assert get_args(RunStatus) == ("skipped", "pending", "running", "success", "failure")
    assert FileResource("a/b").name == Path("b")
    assert FileResource("a/b", "copy", "c/d").name == Path("c/d")


@pytest.mark.asyncio
async def test_a_slot_that_is_held_and_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner, other = ParallelLocalRunner(max_parallel=1), ParallelLocalRunner(max_parallel=1)
    assert runner.runs == []
    assert runner.semaphore is not None
    async with runner.semaphore:
        run = runner.add(["sh", "-c", "pwd > here"])
        for _ in range(3):  # had it a slot, it would end no later than these
            other.add(["true"])
        await other.gather()
        assert run.status == "pending"
        assert runner.runs == [run]
    await asyncio.gather(displayStatus(runner=runner), runner.gather())
    assert run.status == "success"
    assert (tmp_path / "here").read_text() == f"{tmp_path}\n"


def test_results_by_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = run_directory(tmp_path)
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(directory))
    postRunResults(results=1)
    assert (directory / "results.json").read_text().strip() == "1"


def test_without_a_runner_four_runs_go_on_at_once_here(tmp_path: Path) -> None:
    script = (
        "touch on; until test $(ls ../*/on | wc -l) -ge 4 || test -e ../../all; do sleep 0.02; "
        "done; touch ../../all; test $(ls ../*/on | wc -l) -le 4; status=$?; rm on; exit $status"
    )
    runs = [{"n": n} for n in range(8)]
    sweep = multirun(
        runs=runs, cmd=["sh", "-c", script], output_path=tmp_path / "s", progress=False
    )
    assert sweep.statistics.success_count == 8
    assert sweep.manifest["runner"]["name"] == "local"
