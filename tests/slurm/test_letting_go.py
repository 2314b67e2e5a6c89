"""Sweeps that go on without the process that began them; on a real cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POST,
    SLOW,
    began,
    call,
    clients,
    executions,
    put_sbatch,
    start_driver,
    told,
    wait_until,
)
from sweeps import events

from multirun_core import Sweep, UsageError


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


def until(go: Path) -> str:
    return f"until test -e {go}; do sleep 0.1; done; "


def test_a_detached_call_returns_and_a_resume_collects(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script, options = BEGIN + until(go) + POST, {"detach": True}
    sweep = call(root, script, 5, options=options)
    assert {run.status for run in sweep.runs} == {"pending"}, told(sweep)
    assert events(root)[-1]["outcome"] == "detached"
    assert sweep.detached
    assert len(cluster.jobs()) >= 1
    go.touch()
    # What no run could ask for any more is no obstacle to finding those that are out.
    sweep = call(root, script, 5, options={**options, "nodes": 99})
    assert sweep.results == [1] * 5, told(sweep)
    assert dict(executions(root)) == dict.fromkeys(range(5), 1)


def test_what_does_not_fit_is_not_detached(cluster: SlurmCluster, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"10 runs .* 4 jobs .* 6 do not fit"):
        call(tmp_path / "s", POST, 10, options={"detach": True, "max_jobs": 4})
    assert cluster.jobs() == []


def test_runs_that_share_no_job_are_counted_so_before_they_are_detached(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    options = {"detach": True, "max_jobs": 4, "pack": 4}
    two_nodes = {"per_run": lambda params: {"nodes": 2}}
    with pytest.raises(UsageError, match=r"8 runs .* in 8 jobs, .* 4 jobs .* 4 do not fit"):
        call(tmp_path / "alone", POST, 8, options={**options, **two_nodes})
    assert cluster.jobs() == []
    sweep = call(tmp_path / "packed", POST, 8, options=options)
    assert sweep.detached


def test_jobs_that_are_in_the_queue_are_counted_before_others_are_detached(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    small = make_slurm(ClusterOptions(nodes=1, max_jobs=12))
    for name, value in small.env.items():
        monkeypatch.setenv(name, value)
    small.submit("true", "--hold", "--array=0-7")
    with pytest.raises(UsageError, match=r"5 runs .* no more than 3 jobs .* 2 do not fit"):
        call(tmp_path / "s", POST, 5, options={"detach": True})
    assert call(tmp_path / "few", POST, 3, options={"detach": True}).detached


def test_an_interrupt_can_leave_the_jobs_alone(cluster: SlurmCluster, tmp_path: Path) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script, options = BEGIN + until(go) + POST, {"on_interrupt": "detach"}
    driver = start_driver(root, script, 3, options=options)
    wait_until(began(root, 3), "three runs")
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(60) == -signal.SIGINT
    assert [run.status for run in Sweep.open(root).runs] == ["pending"] * 3
    assert len(cluster.jobs()) >= 1
    go.touch()
    sweep = call(root, script, 3, options=options)
    assert sweep.results == [1] * 3, told(sweep)
    assert dict(executions(root)) == dict.fromkeys(range(3), 1)


@pytest.mark.parametrize(
    "throttle",
    [pytest.param({}, marks=pytest.mark.long), {"max_running": 2}],
    ids=["running", "pending too"],
)
def test_an_interrupt_leaves_nothing_in_the_queue(
    throttle: dict[str, int], cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    driver = start_driver(root, BEGIN + "sleep 300", 4, options={**throttle, "grace": 1.0})
    out = throttle.get("max_running", 4)
    wait_until(began(root, out), "runs")
    for node in cluster.nodes:  # what pends would start and leave as soon as the others end
        cluster.set_node(node, "drain")
    assert cluster.run("squeue", "-h", "-r", "-o", "%t").stdout.split().count("PD") == 4 - out
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(60) == -signal.SIGINT
    assert cluster.jobs() == []
    runs = Sweep.open(root).runs
    assert sorted(run.status for run in runs) == ["failure"] * out + ["skipped"] * (4 - out)
    assert {run.reason for run in runs} == {"cancelled"}
    assert sum(executions(root).values()) == out


def test_an_interrupt_while_sbatch_is_under_way_leaves_nothing_in_the_queue(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in cluster.nodes:
        cluster.set_node(node, "drain")
    place = put_sbatch(tmp_path, SLOW["before it says the id"])
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    driver = start_driver(tmp_path / "s", "echo", 2)
    wait_until((place / "sbatch.slow").exists, "an array that was accepted")
    assert cluster.jobs() != []
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(60) == -signal.SIGINT
    assert (cluster.jobs(), clients(tmp_path)) == ([], [])
    assert {run.status for run in Sweep.open(tmp_path / "s").runs} == {"skipped"}


def test_the_driver_is_a_job_itself(cluster: SlurmCluster, tmp_path: Path) -> None:
    root = tmp_path / "s w"
    script = BEGIN + 'test "$A" = "b c" || exit 5; ' + POST
    sweep = call(root, script, 4, options={"driver": "job"}, env={"A": "b c"})
    assert {run.status for run in sweep.runs} == {"pending"}, told(sweep)
    wait_until(
        lambda: events(root)[-1].get("outcome") == "done",
        lambda: f"all runs: {[path.read_text() for path in root.glob('jobs/*/out')]}",
    )
    sweep = Sweep.open(root)
    assert sweep.results == [1] * 4, told(sweep)
    assert (root / "journal" / "0002.jsonl").exists()
    assert list(root.glob("jobs/*/driver")) == []  # none that may yet begin


@pytest.mark.parametrize("how", ["scancel", pytest.param("its time limit", marks=pytest.mark.long)])
def test_a_driver_that_is_a_job_leaves_the_runs_alone_when_it_is_told_to_end(
    how: str, cluster: SlurmCluster, tmp_path: Path
) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script = BEGIN + until(go) + POST
    call(root, script, 3, options={"driver": "job", "signal": "USR1@60"})
    (driver,) = cluster.jobs()
    wait_until(began(root, 3), "three runs")
    scripts = {path.parent: path.read_text() for path in root.glob("jobs/*/script")}
    told = {(place / "asked").exists(): "--signal" in text for place, text in scripts.items()}
    assert told == {True: False, False: True}  # it would end the driver
    if how == "scancel":
        cluster.run("scancel", driver)
    else:
        cluster.end_in(driver)
    cluster.wait_state(driver, "CANCELLED", "TIMEOUT")
    wait_until(lambda: not cluster.processes_of(driver), "the end of the driver")
    said = "".join(path.read_text() for path in root.glob("jobs/*/out"))
    assert (events(root)[-1]["event"], events(root)[-1].get("outcome")) == ("close", "detached")
    assert "letting go of the runs under way, which go on" in said
    assert [run.status for run in Sweep.open(root).runs] == ["pending"] * 3
    assert len(cluster.jobs()) >= 1
    go.touch()
    sweep = call(root, script, 3)
    assert sweep.results == [1] * 3, told(sweep)
    assert dict(executions(root)) == dict.fromkeys(range(3), 1)


@pytest.mark.parametrize("driver_dies", [False, pytest.param(True, marks=pytest.mark.long)])
def test_cancel_returns_when_the_jobs_are_gone_whatever_becomes_of_the_driver(
    driver_dies: bool, cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    driver = start_driver(root, "trap '' TERM; " + BEGIN + "sleep 300", 2, options={"grace": 4.0})
    wait_until(began(root, 2), "runs")
    cancel = subprocess.Popen(
        [sys.executable, "-m", "multirun_core", "cancel", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with cancel:
        assert cancel.stderr is not None
        assert "waiting until they have ended" in cancel.stderr.readline()
        assert cluster.jobs() != []
        if driver_dies:
            driver.kill()
        said = cancel.communicate(timeout=100)
    assert (cancel.returncode, cluster.jobs()) == (0, []), said
    assert ("2 run(s) ended from here" in said[0]) == driver_dies, said
    assert [(run.status, run.reason) for run in Sweep.open(root).runs] == [
        ("failure", "cancelled")
    ] * 2
    driver.wait(60)


def test_cancel_ends_the_jobs_of_a_driver_that_is_a_job_and_that_job(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    call(root, BEGIN + "sleep 300", 2, options={"driver": "job", "grace": 1.0})
    (driver,) = cluster.jobs()
    wait_until(began(root, 2), "runs")
    said = cluster.run(sys.executable, "-m", "multirun_core", "cancel", str(root))
    assert "has cancelled all runs that had not ended" in said.stdout
    assert set(cluster.jobs()) <= {driver}
    assert {run.reason for run in Sweep.open(root).runs} == {"cancelled"}
    cluster.wait_state(driver, "FAILED")  # not all of its runs have succeeded
    assert events(root)[-1]["outcome"] == "cancelled"
