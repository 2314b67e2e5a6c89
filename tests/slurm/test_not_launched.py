"""Nodes that take a job and cannot launch it: Slurm then says that the job was cancelled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_sweeps import BEGIN, POST, InThread, call, executions, told, wait_until
from sweeps import events

from multirun_core import Sweep

Make = Callable[[ClusterOptions], SlurmCluster]


def use(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    return cluster


def ends(root: Path) -> list[tuple[str | None, str]]:
    """Return how attempts ended that were not the last."""
    told = [event for event in events(root) if event["event"] == "end" and event.get("reason")]
    return [(event["reason"], event["message"]) for event in told]


def check(sweep: Sweep, root: Path) -> None:
    """See that the run was executed once, whatever went before."""
    assert [run.status for run in sweep.runs] == ["success"], told(sweep)
    assert dict(executions(root)) == {0: 1}


def failing(path: Path, where: str) -> str:
    """Write a prolog that fails where a test of shell says so; return the line of slurm.conf."""
    path.write_text(f"#!/bin/sh\n! {where}\n")
    path.chmod(0o755)
    return f"Prolog={path}"


def test_a_prolog_that_fails_costs_no_run(
    make_slurm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first node is drained for that; the run is tried again on another."""
    prolog = failing(tmp_path / "prolog", f"mkdir '{tmp_path}/once' 2>/dev/null")
    cluster = use(make_slurm(ClusterOptions(nodes=2, extra=(prolog,))), monkeypatch)
    root = tmp_path / "s"
    check(call(root, BEGIN + POST), root)
    ((reason, message),) = ends(root)
    assert reason == "launch"
    assert "could not be launched there" in message
    assert "drained" in " ".join(cluster.node_states().values())


@pytest.mark.parametrize(
    "where",
    [
        '[ "$SLURMD_NODENAME" = n1 ]',
        # One whose mates of the array go on on its node is missed only a minute later, when that
        # node says what it has: Slurm then says NODE_FAIL. That with the array's id: see below.
        pytest.param(
            "{{ [ $SLURM_JOB_ID != 1 ] && mkdir '{}/once' 2>/dev/null; }}", marks=pytest.mark.long
        ),
    ],
    ids=["for all", "for one"],
)
def test_a_prolog_that_fails_costs_no_run_of_an_array(
    where: str, make_slurm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prolog = failing(tmp_path / "prolog", where.format(tmp_path))
    cluster = use(make_slurm(ClusterOptions(nodes=2, extra=(prolog,))), monkeypatch)
    root = tmp_path / "s"
    sweep = call(root, BEGIN + POST, 4)
    assert [run.status for run in sweep.runs] == ["success"] * 4, told(sweep)
    assert dict(executions(root)) == dict.fromkeys(range(4), 1)
    found = ends(root)
    assert found
    assert {reason for reason, _ in found} <= {"launch", "node_fail"}, found
    assert all(message.startswith("Slurm says ") for _, message in found), found
    wait_until(
        lambda: sorted(cluster.node_states().values()) == ["drained", "idle"], "a drained node"
    )


def test_an_array_of_which_slurm_gives_up_all_for_one_task_is_tried_again(
    make_slurm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That which has the id of the array; what has begun of the others is ended."""
    once = f"[ $SLURM_JOB_ID = 1 ] && mkdir '{tmp_path}/once' 2>/dev/null"
    (tmp_path / "prolog").write_text(f"#!/bin/sh\n! {{ {once}; }}\n")
    (tmp_path / "prolog").chmod(0o755)
    options = ClusterOptions(nodes=2, extra=(f"Prolog={tmp_path / 'prolog'}",))
    use(make_slurm(options), monkeypatch)
    root = tmp_path / "s"
    slow = 'test "$MULTIRUN_ATTEMPT" -gt 1 || exec sleep 300; '
    sweep = call(root, BEGIN + slow + POST, 4)
    assert sweep.results == [2] * 4, told(sweep)
    found = ends(root)
    assert {reason for reason, _ in found} == {"launch", "node_fail"}, found
    assert any("with all of its array" in message for _, message in found), found


def test_a_job_that_is_held_since_it_was_not_launched_is_told_of_and_can_be_released(
    make_slurm: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So Slurm does with those that may be queued again, which ours may only where it is said."""
    prolog = failing(tmp_path / "prolog", f"mkdir '{tmp_path}/once' 2>/dev/null")
    cluster = use(make_slurm(ClusterOptions(nodes=2, extra=(prolog,))), monkeypatch)
    root = tmp_path / "s"
    sweep = InThread(root, BEGIN + POST, options={"sbatch_args": ["--requeue"]})
    words = "cannot start: it could not be launched and is held now"
    wait_until(lambda: words in caplog.text, lambda: f"a word of it: {caplog.text}")
    (job,) = cluster.jobs()
    cluster.run("scontrol", "release", job)
    check(sweep.result(), root)


def test_a_slurmd_without_its_directory_costs_no_run(
    make_slurm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = use(make_slurm(ClusterOptions(nodes=1)), monkeypatch)
    root, spool = tmp_path / "s", cluster.root / "spool" / "n1"
    shutil.rmtree(spool)
    options = {"infrastructure_retries": 50, "retry_delay": 1.0}
    sweep = InThread(root, BEGIN + POST, options=options)
    wait_until(lambda: (root / "runs").exists() and ends(root), "an attempt in vain")
    spool.mkdir()
    check(sweep.result(), root)
    assert {reason for reason, _ in ends(root)} == {"launch"}


def test_who_cancels_a_job_that_waits_has_it_cancelled(
    make_slurm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no node, and no signal either."""
    cluster = use(make_slurm(ClusterOptions(nodes=1)), monkeypatch)
    sweep = InThread(tmp_path / "s", POST, options={"sbatch_args": ["--hold"]})
    wait_until(cluster.jobs, "the job")
    cluster.run("scancel", *cluster.jobs())
    done = sweep.result()
    assert [(run.status, run.reason) for run in done.runs] == [("failure", "cancelled")], told(done)
