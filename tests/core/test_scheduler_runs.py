"""Runs as jobs of a queue system: batching, verdicts, ends; with a small one of real jobs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from multirun_core._model.run import Run
from multirun_core._runners.scheduler import batching, here
from multirun_core._runners.scheduler.command import Job, Refusal
from multirun_core._runners.scheduler.submission import Work
from multirun_core._transport.local import LocalTransport
from queue_tools import Queue, QueueRunner

from multirun_core import BackendError, Sweep, _threads, multirun

POST = 'echo "$MULTIRUN_PARAM_N" > part && mv part results.json'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "the queue's $HOME"


def call(
    tmp_path: Path, runner: QueueRunner, count: int, script: str = POST, **more: object
) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=["sh", "-c", script],
        output_path=tmp_path / "s w",
        runner=runner,
        progress=False,
        **more,  # type: ignore[arg-type]
    )


def test_runs_that_are_ready_together_are_one_submission(tmp_path: Path, home: Path) -> None:
    runner = QueueRunner(home)
    sweep = call(tmp_path, runner, 20)
    assert sweep.results == list(range(20))
    assert [run.attempts for run in sweep.runs] == [1] * 20
    assert Queue(home).calls()["submit"] <= 2
    assert runner.calls["submit"] == Queue(home).calls()["submit"]


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour be two seconds."""
    for name, seconds in (("PATIENCE_SECONDS", 2.0), ("MOST_PAUSE_SECONDS", 0.2)):
        monkeypatch.setattr(batching, name, seconds)


def test_a_queue_that_takes_nothing_for_long_though_nothing_is_out_is_an_error(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    runner = QueueRunner(home)
    (home / "limit").write_text("0.5")
    with pytest.raises(BackendError, match=r"the queue: jobs were refused .* too many jobs"):
        call(tmp_path, runner, 30)
    assert [run.status for run in Sweep.open(tmp_path / "s w").runs] == ["pending"] * 30
    assert 5 < Queue(home).calls()["submit"] < 30  # not until each has had its turn
    (home / "limit").unlink()
    assert call(tmp_path, QueueRunner(home), 30, resume=True).results == list(range(30))


def test_an_array_that_is_too_large_is_halved(tmp_path: Path, home: Path) -> None:
    """For good; a single task that is refused so has no smaller one."""

    class Small(Queue):
        def submit(self, job: Job, script: str) -> Sequence[str]:
            if (job.tasks or 1) > 6 or job.needs.cpus == 9:
                return ["sh", "-c", "echo too large >&2; exit 1"]
            return super().submit(job, script)

        def refusal(self, code: int, printed: str, complained: str) -> Refusal:
            found = super().refusal(code, printed, complained)
            return replace(found, oversized="too large" in complained)

    runner = QueueRunner(home)
    runner.scheduler = Small(home)
    sweep = call(
        tmp_path, runner, 20, resources=lambda params: {"cpus": 9 if params["n"] == 7 else 1}
    )
    assert [run.index for run in sweep.runs if run.status == "failure"] == [7]
    assert (sweep.runs[7].reason, sweep.runs[7].message) == ("submit", "too large")
    assert [run.attempts for run in sweep.runs if run.index != 7] == [1] * 19
    assert runner.scheduler.array_limit == 4  # of 19, of 9
    assert runner.calls["submit"] == 2 + 5 + 1


def test_a_run_that_is_refused_for_long_keeps_no_other_back(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others are taken meanwhile, it is for what it asks for."""
    impatient(monkeypatch)

    class Choosy(Queue):
        def submit(self, job: Job, script: str) -> Sequence[str]:
            if job.needs.cpus == 9:
                return ["sh", "-c", "echo too many >&2; exit 1"]
            return super().submit(job, script)

    runner = QueueRunner(home)
    runner.scheduler = Choosy(home)
    sweep = call(tmp_path, runner, 3, resources=lambda params: {"cpus": 1 if params["n"] else 9})
    assert [run.reason for run in sweep.runs] == ["submit", None, None]
    assert "no job of ours in the queue: too many" in (sweep.runs[0].message or "")


@pytest.mark.asyncio
async def test_a_record_is_looked_for_in_directories_that_were_just_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may say of a name what it knew before; for a list it asks anew."""
    work = Work(Run(), 1, tmp_path, asyncio.get_running_loop().create_future())
    work.claim.mkdir(parents=True)
    seen: list[object] = []
    listed = os.listdir

    def list_it(path: Path) -> list[str]:
        seen.append(path)
        return listed(path)

    monkeypatch.setattr(os, "listdir", list_it)

    def read(_directory: Path, _attempt: int) -> None:
        seen.append("the record")

    monkeypatch.setattr(here, "read_end", read)
    (found,) = await here.Here(LocalTransport(), _threads.Work()).evidence([work])
    assert seen == [work.claim.parent, work.claim, "the record"]
    assert found.claimed
