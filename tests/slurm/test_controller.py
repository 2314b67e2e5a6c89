"""The controller is away, hangs, or crashes while a sweep is out; a real one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POST,
    QUICK,
    InThread,
    began,
    executions,
    job_ids,
    put_sbatch,
    told,
    wait_until,
)


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


def until(go: Path) -> str:
    return f"until test -e '{go}'; do sleep 0.1; done; "


def attempts(root: Path) -> Counter[tuple[str, str]]:
    """Return how often each attempt of each run was executed, by the lines of `BEGIN`."""
    return Counter(
        (mark.relative_to(root / "runs").parts[0], attempt)
        for mark in (root / "runs").glob("**/began")
        for attempt in mark.read_text().split()
    )


@pytest.mark.long
@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_the_controller_is_away_for_longer_than_a_record_may_take(
    how: str, cluster: SlurmCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Several polls in a row say nothing, of runs that go on: nothing is made of that."""
    caplog.set_level("INFO", "multirun.runner")
    root, go = tmp_path / "s", tmp_path / "go"
    runner = SlurmRunner(**{**QUICK, "file_grace": 1.0}, command_timeout=2.0)
    sweep = InThread(root, BEGIN + until(go) + POST, 3, runner=runner)
    wait_until(began(root, 3), "three runs")
    wait_until(lambda: runner.calls["status"], "a first poll")
    if how == "stopped":
        cluster.stop_controller()
    else:
        cluster.pause_controller()
    # The last that was counted before may have been answered, and the last of all may go on. Each
    # of the five between them takes two seconds, which is time enough to give runs up for lost.
    asked = runner.calls["status"]
    wait_until(lambda: runner.calls["status"] >= asked + 6, "polls in vain")
    assert "does not tell about jobs" in caplog.text
    assert "tells about jobs again" not in caplog.text
    if how == "stopped":
        cluster.start_controller()
    else:
        cluster.continue_controller()
    wait_until(lambda: "tells about jobs again" in caplog.text, "a poll that is answered")
    go.touch()
    done = sweep.result()
    assert done.results == [1, 1, 1], told(done)
    assert [run.attempts for run in done.runs] == [1, 1, 1]
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}


def remember(cluster: SlurmCluster, job: str) -> None:
    """Wait until the controller has written down what it knows now; it does so after a change."""
    saved = cluster.root / "state" / "job_state"
    before = saved.stat().st_mtime_ns if saved.exists() else 0
    cluster.run("scontrol", "update", f"jobid={job}", "comment=test")
    wait_until(lambda: saved.exists() and saved.stat().st_mtime_ns != before, "a state on disk")


def test_the_controller_crashes_while_runs_go_on(cluster: SlurmCluster, tmp_path: Path) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    sweep = InThread(root, BEGIN + until(go) + POST, 3)
    wait_until(began(root, 3), "three runs")
    (job,) = job_ids(root)
    remember(cluster, job)
    cluster.kill_controller()
    cluster.start_controller()
    assert {cluster.state(f"{job}_{task}") for task in range(3)} == {"RUNNING"}
    go.touch()
    done = sweep.result()
    assert done.results == [1, 1, 1], told(done)
    assert [run.attempts for run in done.runs] == [1, 1, 1]
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}


@pytest.mark.long
@pytest.mark.parametrize("when", ["before runs begin", "when runs have begun"])
def test_the_controller_crashes_and_gives_the_ids_of_a_sweep_to_others(
    when: str, cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes back with the state from before sbatch, as where it had not saved any since."""
    root, state = tmp_path / "s", cluster.root / "state"
    before, pid = cluster.root / "before", cluster.root / "run" / "slurmctld.pid"
    early = when == "before runs begin"
    wait = "" if early else f"until test -e '{root}/runs/000000/began'; do sleep 0.1; done"
    place = put_sbatch(
        tmp_path,
        f'cp -r {state} {before}; $real "$@" >"$0.said" || exit\n{wait}\n'
        f'kill -9 $(cat {pid}); rm -r {state}; mv {before} {state}; cat "$0.said"',
    )
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    partition = ("scontrol", "update", "partitionname=main")
    if early:
        cluster.run(*partition, "state=down")
    slow = f'test "$MULTIRUN_ATTEMPT" -gt 1 || {{ {until(tmp_path / "go")}}}; '
    # One run, so that its job is called by the very id that others are given within file_grace.
    sweep = InThread(root, BEGIN + slow + POST, options={"file_grace": 8.0})
    try:
        wait_until(lambda: job_ids(root), "the answer of sbatch")
        wait_until(lambda: cluster.pid("slurmctld") is None, "the end of the controller")
    finally:
        cluster.start_controller()
        cluster.run(*partition, "state=up")
    (job,) = job_ids(root)
    others = [cluster.submit("true", "--hold")]
    while int(others[-1]) < int(job):  # what it last saved may be older still
        others.append(cluster.submit("true", "--hold"))
    assert others[-1] == job
    done = sweep.result()
    assert done.results == [2], told(done)
    assert set(attempts(root).values()) == {1}
    assert cluster.state(job) == "PENDING"  # nothing was done to what is not ours
    (tmp_path / "go").touch()
