"""Carrying on with a sweep: what is executed, what stays, who may."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import segment
from multirun_core._sweep.control import request_cancel
from multirun_core._sweep.resuming import resume
from sweeps import PROGRAM, events, executions, processes_with, successes, wait_until

from multirun_core import (
    ParallelLocalRunner,
    Run,
    RunStatistics,
    Sweep,
    SweepError,
    SweepExistsError,
    SweepLockedError,
    SweepNotFoundError,
    UsageError,
    multirun,
)


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("MARKS", str(folder))
    return folder


def call(root: Path, numbers: Any, **keywords: Any) -> Sweep:
    keywords.setdefault("resume", True)
    return multirun(
        runs=[{"n": n} for n in numbers],
        cmd=PROGRAM,
        output_path=root,
        runner=ParallelLocalRunner(max_parallel=2),
        progress=False,
        **keywords,
    )


def test_the_same_call_can_simply_be_made_again(tmp_path: Path, marks: Path) -> None:
    for _ in range(3):
        sweep = call(tmp_path / "s", range(4))
        assert sweep.results == [{"twice": 2 * n} for n in range(4)]
    assert executions(marks) == Counter(range(4))


def test_a_refined_grid_runs_only_its_new_points(tmp_path: Path, marks: Path) -> None:
    call(tmp_path / "s", [0, 2, 4])
    sweep = call(tmp_path / "s", [4, 3, 2, 1, 0])
    assert [run.params["n"] for run in sweep.runs] == [0, 2, 4, 3, 1]
    assert sweep.results == [{"twice": 2 * n} for n in [0, 2, 4, 3, 1]]
    assert executions(marks) == Counter(range(5))


def test_equal_parameters_are_told_apart_by_their_order(tmp_path: Path, marks: Path) -> None:
    call(tmp_path / "s", [7, 7])
    sweep = call(tmp_path / "s", [7, 7, 7])
    assert len(sweep) == 3
    assert executions(marks) == Counter(range(3))


def test_runs_that_are_absent_now_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def runs(numbers: Any, **keywords: Any) -> Sweep:
        return multirun(
            runs=[{"n": n} for n in numbers],
            cmd=["sh", "-c", "exit $MULTIRUN_PARAM_N"],
            output_path=tmp_path / "s",
            resume=True,
            **keywords,
        )

    runs([0, 1, 0])
    sweep = runs([0])
    assert "2 run(s) of this sweep are not among those given now" in capsys.readouterr().err
    assert [run.status for run in sweep.runs] == ["success", "failure", "success"]
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]


def flaky(root: Path, numbers: Iterable[int] = range(6), **keywords: Any) -> Sweep:
    """Runs 0 to 5; the odd ones fail at their first attempt."""
    return multirun(
        runs=[{"n": n} for n in numbers],
        cmd=["sh", "-c", "exit $((MULTIRUN_PARAM_N % 2 * (MULTIRUN_ATTEMPT == 1)))"],
        output_path=root,
        progress=False,
        **keywords,
    )


def test_what_failed_is_executed_again(tmp_path: Path) -> None:
    assert flaky(tmp_path / "s").statistics.failure_count == 3
    sweep = flaky(tmp_path / "s", resume=True)
    assert sweep.statistics.success_count == 6
    assert [run.attempts for run in sweep.runs] == [1, 2] * 3


@pytest.mark.parametrize(
    ("rerun", "attempts"),
    [("failed", [1, 2, 1, 2, 1, 2]), ("all", [2] * 6), ([0, 1], [2, 2, 1, 1, 1, 1])],
)
def test_rerun(tmp_path: Path, rerun: Any, attempts: list[int]) -> None:
    root = tmp_path / "s"
    flaky(root)
    sweep = flaky(root, rerun=rerun)
    assert [run.attempts for run in sweep.runs] == attempts
    opened = Sweep.open(root)
    assert [run.attempts for run in opened.runs] == attempts
    assert opened.statistics == sweep.statistics
    with pytest.raises(UsageError, match="run 6; there are the runs 0 to 5"):
        flaky(root, rerun=[6])
    assert flaky(root, resume=True).statistics.success_count == 6


def test_rerun_failed_leaves_what_never_ran(tmp_path: Path) -> None:
    root = tmp_path / "s"
    flaky(root, max_failures=0, runner=ParallelLocalRunner(max_parallel=1))
    sweep = flaky(root, rerun="failed")
    assert [run.status for run in sweep.runs] == ["success"] * 2 + ["skipped"] * 4
    assert sweep.runs[3].reason in ("excluded", "max_failures")


class Sender(ParallelLocalRunner):
    """Has sweeps driven elsewhere, or so it says."""

    only: str | None = "nothing"

    async def send_driver(self, env: Mapping[str, str], only: str | None) -> bool:
        self.only = only
        return True


@pytest.mark.parametrize(
    ("rerun", "numbers", "only"),
    [
        (None, range(6), None),
        (None, [0, 1, 4, 5, 3], None),
        (None, [3], "3"),
        (None, [1, 5, 9, 10, 11], "1,5-8"),
        ("failed", range(6), None),
        ("all", range(6), None),
        ("all", [4, 0, 1, 5], "0-1,4-5"),
        ([0, 1, 2, 5], range(6), "0-2,5"),
        ([5, 3, 1, 0], range(6), None),
    ],
)
def test_who_drives_elsewhere_is_told_the_runs_where_others_are_left(
    tmp_path: Path, rerun: Any, numbers: Iterable[int], only: str | None
) -> None:
    """Of which 1, 3 and 5 have failed."""
    root, runner = tmp_path / "s", Sender(max_parallel=2)
    flaky(root)
    sweep = flaky(root, numbers, runner=runner, resume=True, rerun=rerun)
    assert runner.only == only
    assert {run.attempts for run in sweep.runs[:6]} == {1}


@pytest.mark.parametrize(
    ("rerun", "only", "attempts"),
    [
        (None, {0, 1, 4, 5}, [1, 2, 1, 1, 1, 2]),
        ("failed", {3}, [1, 1, 1, 2, 1, 1]),
        ("all", {3, 4}, [1, 1, 1, 2, 2, 1]),
        ([1, 2], {2, 3}, [1, 1, 2, 1, 1, 1]),
    ],
)
def test_only_bounds_what_is_executed(
    tmp_path: Path, rerun: Any, only: set[int], attempts: list[int]
) -> None:
    root = tmp_path / "s"
    flaky(root, runner="local")
    sweep = resume(root, rerun=rerun, only=frozenset(only), progress=False)
    assert [run.attempts for run in sweep.runs] == attempts
    assert [run.status for run in sweep.runs] == [
        "failure" if index % 2 and attempts[index] == 1 else "success" for index in range(6)
    ]
    with pytest.raises(UsageError, match="only asks for run 6; there are the runs 0 to 5"):
        resume(root, only=frozenset({6}), progress=False)


def test_resume_by_the_directory_alone(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    (tmp_path / "in.txt").write_text("x")
    multirun(
        runs=[{"n": n} for n in range(3)],
        cmd=["sh", "-c", 'test "$MULTIRUN_ATTEMPT" = 2 && test "$SECRET" = s && cat in.txt'],
        output_path=root,
        input_files=[tmp_path / "in.txt"],
        env={"SECRET": "s"},
        runner_options={"max_parallel": 3},
        progress=False,
    )
    (tmp_path / "in.txt").unlink()
    with pytest.raises(SweepError, match="SECRET"):
        resume(root, progress=False)
    sweep = resume(root, progress=False, env={"SECRET": "s"})
    assert sweep.statistics.success_count == 3
    assert sweep.manifest["runner"] == {"name": "local", "options": {"max_parallel": 3}}
    with pytest.raises(SweepNotFoundError):
        resume(tmp_path / "absent", progress=False)


def test_resume_where_nothing_was_begun(tmp_path: Path, marks: Path) -> None:
    (tmp_path / "s" / "journal").mkdir(parents=True)
    assert call(tmp_path / "s", range(2)).statistics.success_count == 2
    assert call(tmp_path / "new", range(2)).statistics.success_count == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(SweepExistsError):
        call(tmp_path / "other", range(2))


DRIVER = """
import sys
from multirun_core import ParallelLocalRunner, multirun
multirun(
    runs=[{"n": n} for n in range(4)],
    cmd=["sh", "-c", "touch started; until test -e ../../go; do sleep 0.02; done; echo 1"],
    output_path=sys.argv[1],
    runner=ParallelLocalRunner(max_parallel=2, grace=0.5),
    progress=False,
    resume=True,
)
print("ended")
"""


@contextlib.contextmanager
def driver(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver in a process of its own whose first two runs are under way."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: len(list(root.glob("runs/*/started"))) == 2)
        yield process
    finally:
        process.kill()
        process.communicate()
        wait_until(lambda: not processes_with(str(root)), 10)


def same(root: Path, **keywords: Any) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(4)],
        cmd=["sh", "-c", "touch started; until test -e ../../go; do sleep 0.02; done; echo 1"],
        output_path=root,
        progress=False,
        resume=True,
        **keywords,
    )


def test_a_second_driver_is_refused_by_host_and_pid(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with driver(root) as first:
        host = re.escape(socket.gethostname())
        with pytest.raises(SweepLockedError, match=f"process {first.pid} on {host} is working"):
            same(root)
        assert segment.numbers(root / "journal") == [1]
        (root / "go").touch()
        assert first.communicate(timeout=30) == ("ended\n", "")
    assert same(root).statistics.success_count == 4


def test_after_sigkill_nothing_is_left_and_the_lock_is_recognised(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with driver(root) as first:
        first.kill()
        first.wait()
        wait_until(lambda: not processes_with(str(root)))
        opened = Sweep.open(root)
        assert opened.statistics == RunStatistics(pending_count=4, total_count=4)
        assert opened.driver is not None
        assert (opened.driver.pid, opened.driver.alive) == (first.pid, False)
        (root / "go").touch()
        sweep = same(root)
    assert sweep.statistics.success_count == 4
    assert [run.attempts for run in sweep.runs] == [2, 2, 1, 1]


def test_a_suspended_driver_that_was_superseded_writes_nothing_more(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with driver(root) as first:
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(SweepLockedError):
            same(root)
        (root / "go").touch()
        sweep = same(root, take_over=True)
        assert sweep.statistics.success_count == 4
        before = (root / "journal" / "0001.jsonl").read_bytes()
        first.send_signal(signal.SIGCONT)
        out, err = first.communicate(timeout=30)
        assert out == ""
        assert "SweepSupersededError" in err
        assert first.returncode == 1
        assert (root / "journal" / "0001.jsonl").read_bytes() == before
    assert Sweep.open(root).statistics.success_count == 4
    assert successes(root) == Counter(range(4))


def test_a_driver_on_another_host_is_respected_until_its_lease_is_over(
    tmp_path: Path, marks: Path
) -> None:
    root = tmp_path / "s"
    call(root, range(2))
    head = {
        "event": "driver",
        "process": {"host": "elsewhere.example", "boot": "b", "pid": 4711, "start": "1"},
    }
    path = segment.create(root / "journal", 2, head)
    with pytest.raises(
        SweepLockedError, match=r"process 4711 on elsewhere\.example may be working"
    ):
        call(root, range(3))
    long_ago = time.time() - segment.LEASE_SECONDS - 5
    os.utime(path, (long_ago, long_ago))
    assert call(root, range(3)).statistics.success_count == 3


def test_cancelling_from_another_process(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with driver(root) as first:
        told = request_cancel(root, [0, 3])
        assert str(first.pid) in told
        wait_until(lambda: Sweep.open(root).runs[0].status == "failure")
        assert Sweep.open(root).runs[1].status == "running"
        request_cancel(root, None)
        assert first.communicate(timeout=30) == ("ended\n", "")
    sweep = Sweep.open(root)
    assert {run.reason for run in sweep.runs} == {"cancelled"}
    assert sweep.runs[3].status == "skipped"
    with pytest.raises(SweepError, match="has ended"):
        request_cancel(root, None)
    with pytest.raises(SweepNotFoundError):
        request_cancel(tmp_path, None)


def test_cancelling_a_driver_that_is_dead_or_suspended(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with driver(root) as first:
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(SweepError, match="did not answer"):
            request_cancel(root, None, wait=0.3)
        assert not list((root / "journal").glob("cancel*"))
        first.kill()
        first.wait()
        with pytest.raises(SweepError, match="has died"):
            request_cancel(root, None)


def test_a_refused_resume_leaves_the_sweep_as_it_was(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    call(root, range(2))
    with pytest.raises(SweepError, match="the command was"):
        multirun(runs=[{"n": 0}], cmd=["true"], output_path=root, resume=True, progress=False)
    assert events(root)[-1]["event"] == "close"
    assert call(root, range(3)).statistics.success_count == 3
    assert executions(marks) == Counter(range(3))


class Waiting(ParallelLocalRunner):
    """Has a driver elsewhere that waits to drive, until it is ended."""

    waits = True
    early = False

    def submit(self, run: Run) -> None:
        self.early = self.early or self.waits
        super().submit(run)

    def sent_drivers(self, root: Path) -> list[str]:
        return ["job 7"] if self.waits else []

    async def end_drivers(self) -> None:
        self.waits = False


@pytest.mark.parametrize("live", [False, True])
def test_a_driver_that_waits_elsewhere_is_ended_before_the_sweep_is_driven_here(
    live: bool, tmp_path: Path
) -> None:
    runner = Waiting(max_parallel=2)
    sweep = flaky(tmp_path / "s", runner=runner, wait=not live)
    if live:
        sweep.wait()
    assert (runner.waits, runner.early) == (False, False)
