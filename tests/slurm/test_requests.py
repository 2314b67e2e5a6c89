"""What the cluster can never give is told before anything is submitted; on real clusters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from multirun_slurm.runner import SlurmRunner
from multirun_slurm.scheduler import SlurmScheduler
from slurm_cluster import ClusterOptions, SlurmCluster, wait_until
from slurm_sweeps import BEGIN, POST, QUICK, call, job_ids, told

from multirun_core import Sweep, UsageError, multirun


def use(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    return use(slurm, monkeypatch)


def sweep_of(
    root: Path, runner: SlurmRunner, count: int = 1, script: str = BEGIN + POST, **more: Any
) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=["sh", "-c", script],
        output_path=root,
        runner=runner,
        progress=False,
        **more,
    )


def test_what_resources_ask_for_is_held_against_the_cluster(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    def needs(params: Mapping[str, Any]) -> dict[str, Any]:
        return {"cpus": 1000 if params["n"] == 1 else 1}

    runner = SlurmRunner(**QUICK)
    sweep = sweep_of(tmp_path / "s", runner, 2, resources=needs)
    assert [(run.status, run.reason) for run in sweep.runs] == [
        ("success", None),
        ("failure", "submit"),
    ], told(sweep)
    assert "needs 1000 CPUs on one node" in (sweep.runs[1].message or "")
    assert runner.calls["submit"] == 1


def test_the_time_that_follows_from_timeout_is_held_against_the_partition(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    runner = SlurmRunner(**QUICK, partition="short", timeout=600)
    (run,) = sweep_of(tmp_path / "s", runner).runs
    assert (run.status, run.reason, run.attempts) == ("failure", "submit", 0)
    assert "the time that follows from timeout is 00:12:00, but partition 'short' allows" in (
        run.message or ""
    )
    assert runner.calls["submit"] == 0


def test_more_time_for_a_further_attempt_is_held_against_the_partition(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    runner = SlurmRunner(
        **QUICK, partition="short", time=1, timeout=1, retries=1, retry_scale={"time": 2}
    )
    (run,) = sweep_of(tmp_path / "s", runner, script="sleep 300").runs
    assert (run.reason, run.attempts) == ("submit", 1)
    assert "with what retry_scale adds: time is 00:02:00" in (run.message or "")
    assert runner.calls["submit"] == 1


def test_a_pack_asks_for_no_more_than_a_node_has_by_default(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Its runs ask for no memory: what the partition then gives for each CPU, or job, counts."""
    fat = ("fat Nodes=ALL DefMemPerCPU=4000", "job Nodes=ALL DefMemPerNode=30000")
    cluster = use(make_slurm(ClusterOptions(nodes=1, partitions=fat)), monkeypatch)
    asked = {}
    for partition in ("fat", "job"):
        root = tmp_path / partition
        sweep = call(root, BEGIN + POST, 60, options={"partition": partition, "pack": 60})
        assert sweep.results == [1] * 60, told(sweep)
        (job,) = job_ids(root)
        asked[partition] = cluster.show(job)["TRES"]
    assert asked["fat"].startswith("cpu=25,mem=100000M")
    assert asked["job"].startswith("cpu=3,mem=90000M")


MOST = {
    "memory": "maxmempernode=500",
    "cpus": "maxcpuspernode=2",
    "by_cpu": "maxmempercpu=100",
}


@pytest.fixture
def sparing(cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Yield a cluster with partitions that limit what a job may have of a node."""
    try:
        for name, most in MOST.items():
            cluster.run("scontrol", "create", f"partitionname={name}", "nodes=ALL", most)
        yield cluster
    finally:
        cluster.cancel_all()
        for name in MOST:
            cluster.run("scontrol", "delete", f"partitionname={name}", check=False)


def test_more_of_a_node_than_a_partition_gives_to_a_job_is_refused(
    sparing: SlurmCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is refused is what the cluster leaves waiting for ever."""
    scheduler = SlurmScheduler()
    waits = {
        sparing.submit("true", "-p", "memory", "--mem=501"): "more memory on a node",
        sparing.submit("true", "-p", "cpus", "-n9"): "no nodes that could hold it",
    }
    monkeypatch.setenv("SBATCH_MEM_PER_NODE", "100")  # options go before it
    for given, words in (
        ({"partition": "memory", "mem": 501}, "gives no more than 500 MiB .MaxMemPerNode."),
        ({"partition": "cpus", "ntasks": 9}, "together have room for 8"),
    ):
        with pytest.raises(UsageError, match=words):
            call(tmp_path / "refused", POST, options=given)

    def told() -> dict[str, str]:
        states = scheduler.states(sparing.run(*scheduler.status(list(waits))).stdout)
        return {job: state.message or "" for job, state in states.items() if state.hopeless}

    wait_until(
        lambda: all(words in told().get(job, "") for job, words in waits.items()),
        lambda: f"{waits}, but it says {told()}",
    )


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({"partition": "memory", "mem": "100M"}, "cpu=5,mem=500M"),
        ({"partition": "cpus", "mem": "10M"}, "cpu=2,mem=20M"),
        ({"partition": "by_cpu", "mem": "200M"}, "cpu=64,mem=6400M"),
        ({"partition": "by_cpu", "mem_per_cpu": "250M"}, "cpu=63,mem="),
    ],
)
def test_a_pack_asks_for_no_more_than_a_partition_gives_to_a_job(
    sparing: SlurmCluster, tmp_path: Path, asked: dict[str, Any], got: str
) -> None:
    """Each of its runs would fit alone."""
    sweep = call(tmp_path / "s", BEGIN + POST, 40, options={**asked, "pack": 40})
    assert sweep.results == [1] * 40, told(sweep)
    (job,) = job_ids(tmp_path / "s")
    assert sparing.show(job)["TRES"].startswith(got)


def test_a_driver_that_is_sent_asks_for_no_more_than_a_partition_gives_to_a_job(
    sparing: SlurmCluster, tmp_path: Path
) -> None:
    runner = (
        "-r",
        "slurm",
        "-R",
        "driver=job",
        "-R",
        "partition=memory",
        "-R",
        "poll_interval=0.5",
    )
    sweep = ("-p", "n=0,1", "-o", str(tmp_path / "s"), "--", "sh", "-c", POST)
    sparing.run(sys.executable, "-m", "multirun_core", "run", *runner, *sweep)
    (job, *_) = sparing.jobs()
    assert sparing.show(job)["TRES"].startswith("cpu=1,mem=500M")
    wait_until(lambda: sparing.state(job) == "COMPLETED", lambda: f"{sparing.show(job)}")
    assert Sweep.open(tmp_path / "s").results == [1, 1]


@pytest.fixture
def no_jobs(
    accounting_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Yield what forbids to submit anything."""
    cluster = use(accounting_slurm, monkeypatch)

    def submit(count: int) -> None:
        cluster.run("sacctmgr", "-i", "modify", "user", "root", "set", f"MaxSubmitJobs={count}")

    yield lambda: submit(0)
    submit(-1)


def test_who_may_submit_nothing_is_told(no_jobs: Callable[[], None], tmp_path: Path) -> None:
    no_jobs()
    with pytest.raises(UsageError, match="takes no job of yours: MaxSubmitJobs"):
        call(tmp_path / "s", POST)


def test_who_may_submit_nothing_any_more_collects_what_is_there(
    no_jobs: Callable[[], None], tmp_path: Path
) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script = f"until test -e {go}; do sleep 0.1; done; {POST}"
    call(root, script, 2, options={"detach": True})
    no_jobs()
    go.touch()
    sweep = call(root, script, 2)
    assert sweep.results == [1, 1], told(sweep)


def test_what_a_qos_never_allows_is_refused_for_good(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """By the same words of sbatch's that it has where too many jobs are in the queue."""
    options = ClusterOptions(nodes=1, accounting=True, enforce="associations,limits,qos")
    strict = use(make_slurm(options), monkeypatch)
    limit = ("Flags=DenyOnLimit", "MaxTRESPerJob=cpu=2")
    strict.run("sacctmgr", "-i", "modify", "qos", "normal", "set", *limit)

    def refused() -> str:
        return strict.run("sbatch", "-c3", stdin="#!/bin/sh\ntrue\n", check=False).stderr

    wait_until(lambda: "policy" in refused(), refused)
    needs = {"per_run": lambda p: {"cpus_per_task": 2 + p["n"]}}
    sweep = call(tmp_path / "s", BEGIN + POST, 2, options=needs)
    assert [run.reason for run in sweep.runs] == [None, "submit"], told(sweep)
    assert "`sacctmgr show qos` lists the limits" in (sweep.runs[1].message or "")
    assert len(job_ids(tmp_path / "s")) == 1
