"""What a cluster with accounts, limits, licenses and GPUs makes of the options; a real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from multirun_core.errors import UsageError
from multirun_slurm.job import JobOptions, sbatch_arguments
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_fixtures import Clusters
from slurm_sweeps import BEGIN, POST, QUICK, InThread, call, executions, told, wait_until

pytestmark = pytest.mark.long  # MariaDB and slurmdbd alone take ten seconds to start

# Slurm only looks whether they are devices.
GPUS = ("/dev/null", "/dev/zero")


@pytest.fixture
def cluster(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """Yield two nodes with two GPUs each, on which limits of accounts are enforced."""
    options = ClusterOptions(
        nodes=2,
        accounting=True,
        enforce="associations,limits,qos",
        gpus=GPUS,
        node="Feature=ib",
        extra=("Licenses=matlab:4",),
    )
    for cluster in clusters.lend(options):
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        yield cluster


def sacctmgr(cluster: SlurmCluster, *words: str) -> None:
    cluster.run("sacctmgr", "-i", *words)


def test_each_option_reaches_the_job(cluster: SlurmCluster) -> None:
    sacctmgr(cluster, "add", "account", "physics")
    sacctmgr(cluster, "add", "qos", "high")
    sacctmgr(cluster, "add", "user", "root", "account=physics", "qos=high,normal")
    reserved = ("reservationname=course", "users=root", "starttime=now", "duration=60")
    cluster.run("scontrol", "create", "reservation", *reserved, "nodes=n1", "flags=ignore_jobs")
    asked = [
        (JobOptions(
            account="physics", qos="high", reservation="course", constraint="ib", exclude=["n2"],
            licenses="matlab:2", ntasks=3, cpus_per_task=2, exclusive=True, nice=7,
        ), {
            "Account": "physics", "QOS": "high", "Reservation": "course", "Features": "ib",
            "ExcNodeList": "n2", "Licenses": "matlab:2", "NumTasks": "3", "CPUs/Task": "2",
            "OverSubscribe": "NO", "Nice": "7",
        }),
        (JobOptions(nodes="1-2", ntasks_per_node=4, gpus=2, nodelist="n2", mem_per_gpu="100M"), {
            "NumNodes": "1-2", "NtasksPerN:B:S:C": "4:0:*:*", "TresPerJob": "gres:gpu:2",
            "ReqNodeList": "n2", "MemPerTres": "gres:gpu:100",
        }),
        (JobOptions(gres=["gpu:1"], mem_per_cpu="50M"), {
            "TresPerNode": "gres:gpu:1", "MinMemoryCPU": "50M",
        }),
    ]  # fmt: skip
    try:
        for options, fields in asked:
            shown = cluster.show(cluster.submit("true", "--hold", *sbatch_arguments(options)))
            assert {name: shown.get(name) for name in fields} == fields, shown
    finally:
        cluster.cancel_all()
        cluster.run("scontrol", "delete", "reservationname=course")


def test_runs_with_gpus_see_those_that_they_were_given(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """Two on each of two nodes, for four runs at once."""
    there = f"touch '{tmp_path}'/$MULTIRUN_PARAM_N; "
    there += f"until test $(ls '{tmp_path}' | grep -c '^[0-9]$') = 4; do sleep 0.1; done; "
    script = there + "printf '\"%s %s\"' $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES > results.json"
    sweep = call(tmp_path / "s", script, 4, options={"gpus": 1})
    assert sorted(sweep.results) == ["n1 0", "n1 1", "n2 0", "n2 1"], told(sweep)


def test_gpus_of_a_run_are_on_one_node_unless_it_says_otherwise(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """One is free on each of two nodes: Slurm would take both, and the run would see but one."""
    script = "printf '\"%s %s\"' $SLURM_JOB_NUM_NODES $CUDA_VISIBLE_DEVICES > results.json"
    held = [cluster.submit("sleep 300", "--gpus=1", "-w", node) for node in cluster.nodes]
    for job in held:
        cluster.wait_state(job, "RUNNING")
    two = call(tmp_path / "two", script, options={"gpus": 2, "nodes": 2})
    assert two.results == ["2 0"] or two.results == ["2 1"], told(two)
    asked = InThread(tmp_path / "asked", script, options={"gpus": 2})
    needed = InThread(tmp_path / "needed", script, resources=lambda _: {"gpus": 2})

    def waiting() -> str:
        return cluster.run("squeue", "-h", "--states=all", "-o", "%T %r %j %D").stdout

    wait_until(lambda: len(re.findall("PENDING (Res|Prio)", waiting())) == 2, waiting, within=30)
    cluster.run("scancel", *held)
    for sweep in (asked.result(), needed.result()):
        assert sweep.results == ["1 0,1"], told(sweep)

    with pytest.raises(UsageError, match="needs 3 GPUs on one node, but no node of partition"):
        call(tmp_path / "refused", script, options={"gpus": 3})
    sweep = call(tmp_path / "three", script, resources=lambda _: {"gpus": 3})
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "submit")], told(sweep)


def test_more_runs_than_an_account_may_submit_go_out_one_after_another(
    cluster: SlurmCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By what was read of the limits, so that sbatch has nothing to refuse."""
    sacctmgr(cluster, "modify", "user", "root", "set", "MaxSubmitJobs=3")

    def enforced() -> bool:
        held = ["sbatch", "--hold", "--array=0-3"]
        done = cluster.run(*held, stdin="#!/bin/sh\ntrue\n", check=False)
        cluster.cancel_all()
        return "MaxSubmitJob" in done.stderr

    try:
        wait_until(enforced, "a limit that holds")
        with pytest.raises(UsageError, match=r"5 runs .* no more than 3 jobs .* 2 do not fit"):
            call(tmp_path / "detached", POST, 5, options={"detach": True})
        runner = SlurmRunner(**QUICK)
        sweep = call(tmp_path / "s", BEGIN + POST, 8, runner=runner)
    finally:
        sacctmgr(cluster, "modify", "user", "root", "set", "MaxSubmitJobs=-1")
    assert sweep.results == [1] * 8, told(sweep)
    assert dict(executions(tmp_path / "s")) == dict.fromkeys(range(8), 1)
    assert runner.max_jobs == 3
    assert "takes no more jobs" not in caplog.text


def test_a_qos_may_give_a_job_more_nodes_than_its_partition_does(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    sacctmgr(cluster, "add", "qos", "wide", "flags=PartitionMaxNodes")
    sacctmgr(cluster, "modify", "user", "root", "set", "qos+=wide")
    cluster.run("scontrol", "create", "partitionname=few", "nodes=ALL", "maxnodes=1")
    script = 'echo "$SLURM_JOB_NUM_NODES" > results.json'
    given = {"partition": "few", "nodes": 2, "qos": "wide"}
    try:
        sweep = call(tmp_path / "s", script, options=given)
        assert sweep.results == [2], told(sweep)
    finally:
        cluster.cancel_all()
        cluster.run("scontrol", "delete", "partitionname=few")
        sacctmgr(cluster, "delete", "qos", "wide")
