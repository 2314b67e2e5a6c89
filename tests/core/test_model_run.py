from __future__ import annotations

import itertools
import json
import socket
from pathlib import Path
from typing import Any, get_args

import pytest
from multirun_core._model.status import STATUSES, TERMINAL, check_move

from multirun_core import (
    ExitStatus,
    FileResource,
    InvalidTransitionError,
    Run,
    RunStatistics,
    RunStatus,
    StagingError,
)

ALLOWED = {
    ("pending", "running"),
    ("pending", "skipped"),
    ("pending", "failure"),
    ("running", "success"),
    ("running", "failure"),
    ("running", "pending"),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(STATUSES, STATUSES)))
def test_moves_of_status(old: RunStatus, new: RunStatus) -> None:
    seen: list[RunStatus] = []
    run = Run(status=old)
    run.observer = lambda _, previous: seen.append(previous)
    if old == new:
        run.status = new
        assert seen == []
    elif (old, new) in ALLOWED:
        run.status = new
        assert run.status == new
        assert seen == [old]
    else:
        with pytest.raises(InvalidTransitionError, match=f"from {old!r} to {new!r}"):
            run.status = new
        assert run.status == old
        assert seen == []
    assert run.done == (run.status in ("skipped", "success", "failure"))


def test_statuses_are_those_of_the_type() -> None:
    assert set(STATUSES) == set(get_args(RunStatus))
    assert set(STATUSES) > TERMINAL
    with pytest.raises(InvalidTransitionError, match="nonsense"):
        check_move("pending", "nonsense")  # type: ignore[arg-type]
    with pytest.raises(InvalidTransitionError, match="it is final"):
        check_move("success", "pending")


def test_statistics() -> None:
    counts: dict[RunStatus, int] = {"pending": 1, "running": 2, "success": 4, "skipped": 16}
    assert RunStatistics.of(counts) == RunStatistics(
        skipped_count=16,
        pending_count=1,
        running_count=2,
        success_count=4,
        failure_count=0,
        complete_count=20,
        total_count=23,
    )
    assert RunStatistics.of({}) == RunStatistics()


@pytest.mark.parametrize(
    ("end", "ok", "cause"),
    [
        (ExitStatus(code=0), True, None),
        (ExitStatus(code=3), False, "exit"),
        (ExitStatus(code=-9), False, "signal"),
        (ExitStatus(code=None), False, "lost"),
        (ExitStatus(code=0, reason="timeout"), False, "timeout"),
        (ExitStatus(code=-9, reason="out_of_memory"), False, "out_of_memory"),
        (ExitStatus(code=None, reason="submit"), False, "submit"),
    ],
)
def test_verdicts(end: ExitStatus, ok: bool, cause: str | None) -> None:
    assert end.ok is ok
    assert end.cause == cause
    run = Run()
    run.take(end)
    assert (run.exit_code, run.reason) == (end.code, cause)
    assert run.host is None  # it never was started


def test_facts_of_an_attempt() -> None:
    run = Run()
    assert run.duration is None
    run.take(ExitStatus(code=0, started=100.0, ended=102.5, cpu_seconds=1.5, max_rss_bytes=4096))
    assert run.duration == 2.5
    assert (run.started, run.ended, run.cpu_seconds, run.max_rss_bytes) == (100, 102.5, 1.5, 4096)
    assert run.host == socket.gethostname()
    run.take(ExitStatus(code=None, started=100.0, ended=99.0, host="node1", message="gone"))
    assert run.duration == 0  # a clock was set back
    assert (run.host, run.message, run.cpu_seconds) == ("node1", "gone", None)


def test_a_run_without_a_sweep() -> None:
    run = Run(cmd=["a", "b"], cwd=Path("/some where"))
    assert (run.task, run.status, run.index, run.attempts) == (None, "pending", None, 0)
    assert run.cmd == ["a", "b"]
    assert run.cwd == Path("/some where")
    assert run.stdout == Path("/some where/stdout.txt")
    assert run.stderr == Path("/some where/stderr.txt")
    assert run.params == {}
    assert run.params_json == "{}"
    assert run.environment == {}
    assert run.result is None
    assert repr(run) == "<Run: pending>"
    run.cmd.append("c")
    assert run.cmd == ["a", "b"]
    assert Run().cmd == []
    assert Run().cwd == Path()
    run.status = "failure"
    run.reason = "submit"
    assert repr(run) == "<Run: failure (submit)>"
    assert repr(Run(index=3)) == "<Run 3: pending>"


def test_parameters_are_a_new_dict_each_time() -> None:
    run = Run(params=json.dumps({"a": [1]}))
    run.params["a"].append(2)
    assert run.params == {"a": [1]}


def test_the_specified_way_to_make_a_run() -> None:
    run = Run(None, "running")
    assert run.status == "running"


def test_the_keeper_is_told_before_the_observer() -> None:
    told: list[Any] = []

    class Sweep:
        def changed(self, run: Run, previous: RunStatus) -> None:
            told.append(("keeper", run.status, previous))

        def directory(self, run: Run) -> Path:
            return Path(f"/sweep/{run.index}")

        def command(self, run: Run) -> list[str]:
            return ["cmd", str(run.index)]

        def environment(self, run: Run) -> dict[str, str]:
            return {"MULTIRUN_INDEX": str(run.index)}

        def result(self, run: Run) -> Any:
            return [run.index]

    run = Run(index=5, keeper=Sweep())  # type: ignore[arg-type]
    run.observer = lambda run, previous: told.append(("observer", run.status, previous))
    run.status = "running"
    assert told == [("keeper", "running", "pending"), ("observer", "running", "pending")]
    assert run.cwd == Path("/sweep/5")
    assert run.cmd == ["cmd", "5"]
    assert run.environment == {"MULTIRUN_INDEX": "5"}
    assert run.result == [5]


def test_file_resources() -> None:
    plain = FileResource("data/mesh file.dat")
    assert (plain.path, plain.linkage, plain.rename) == (Path("data/mesh file.dat"), "shared", None)
    assert plain.name == Path("mesh file.dat")
    assert FileResource(Path("a"), "copy", "sub/b").name == Path("sub/b")
    assert FileResource(path="a", linkage="link", rename=Path("c")).name == Path("c")
    assert FileResource("a") == FileResource(Path("a"))
    with pytest.raises(StagingError, match=r"'hardlink'.*'copy', 'shared', 'link'"):
        FileResource("a", "hardlink")  # type: ignore[arg-type]
