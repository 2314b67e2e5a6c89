"""Options of `multirun run` and `multirun resume` that rule what is executed: each takes effect."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import begin, call
from sweeps import processes_with, wait_until

from multirun_core import Sweep


def limits(path: Path) -> dict[str, object]:
    return dict(json.loads((path / "multirun.json").read_text())["limits"])


def test_limits_and_retries(tmp_path: Path) -> None:
    done = call(
        "run", "-p", "a=1", "-o", "again", "--retries", "1", "--timeout", "5x median",
        "--on-retry", "keep", "--", "sh", "-c", "touch $MULTIRUN_ATTEMPT; "
        "exit $((MULTIRUN_ATTEMPT == 1))", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [run.attempts for run in Sweep.open(tmp_path / "again").runs] == [2]
    kept = limits(tmp_path / "again")
    assert (kept["retries"], kept["timeout"], kept["on_retry"]) == (1, "5x median", "keep")
    assert (tmp_path / "again/runs/000000/1").exists()


def test_checkpoints(tmp_path: Path) -> None:
    done = call(
        "run", "-p", "a=1", "-o", "st", "--retries", "1", "--checkpoint", "c", "--checkpoint", "d",
        "--", "sh", "-c", "test -e c && ! test -e other || { touch c other; exit 1; }",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert limits(tmp_path / "st")["checkpoints"] == ["c", "d"]


def test_a_budget_of_failures(tmp_path: Path) -> None:
    words = ["-p", "a=1:4:1", "-o", "st", "--max-failures", "0", "-R", "max_parallel=1"]
    done = call("run", *words, "--", "false", cwd=tmp_path)
    assert done.returncode == 1
    statistics = Sweep.open(tmp_path / "st").statistics
    assert (statistics.failure_count, statistics.skipped_count) == (1, 3)


@pytest.mark.parametrize("command", ["run", "resume"])
def test_changes_are_accepted(tmp_path: Path, command: str) -> None:
    given = tmp_path / "in.txt"
    given.write_text("1")
    words = ["run", "-p", "a=1,2", "-i", "in.txt", "-o", "st", "--", "grep", "2", "in.txt"]
    assert call(*words, cwd=tmp_path).returncode == 1
    given.write_text("2")
    words = ["resume", "st"] if command == "resume" else ["run", "--resume", *words[1:]]
    refused = call(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--accept-changes" in refused.stderr
    accepted = call(*words[:1], "--accept-changes", *words[1:], cwd=tmp_path)
    assert accepted.returncode == 0, accepted.stderr
    assert Sweep.open(tmp_path / "st").statistics.success_count == 2


@pytest.fixture
def suspended(tmp_path: Path) -> Iterator[list[str]]:
    """What a driver that is suspended now was called with."""
    words = ["run", "-p", "a=1", "-o", "st", "--", "sh", "-c",
             "touch ../../begun; until test -e ../../go; do sleep 0.02; done"]  # fmt: skip
    driver = begin(*words, cwd=tmp_path)
    try:
        wait_until((tmp_path / "st" / "begun").exists)
        driver.send_signal(signal.SIGSTOP)
        (tmp_path / "st" / "go").touch()
        yield words
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
        wait_until(lambda: not processes_with(str(tmp_path / "st")))


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_sweep_is_taken_over(tmp_path: Path, suspended: list[str], command: str) -> None:
    words = ["resume", "st"] if command == "resume" else ["run", "--resume", *suspended[1:]]
    refused = call(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--take-over" in refused.stderr
    taken = call(*words[:1], "--take-over", *words[1:], cwd=tmp_path)
    assert taken.returncode == 0, taken.stderr
    assert Sweep.open(tmp_path / "st").statistics.success_count == 1
