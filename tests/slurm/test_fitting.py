"""What is refused because it could never start, and how much of a job a node holds: pure."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._model.run import Run
from multirun_core._runners.scheduler.submission import Demand
from multirun_core.errors import SubmitError, UsageError
from multirun_slurm.arguments import effective, scaled
from multirun_slurm.fitting import check, chosen, default_memory, longest
from multirun_slurm.job import JobOptions
from multirun_slurm.limits import Answers, Limits, read_partitions
from multirun_slurm.runner import SlurmRunner
from multirun_slurm.scheduler import SlurmScheduler
from slurm_cluster import SlurmCluster, wait_until
from slurm_sweeps import call, told

from multirun_core import Resources

CLUSTER = """\
main*|infinite|64|100000|2|(null)
main*|infinite|64|100000|1|(null)
main*|infinite|128|50000|4|(null)
short|1:00:00|16|32000|10|(null)
gpu|2-00:00:00|32|256000|3|gpu:a100:4(S:0-1),shard:8
closed|1:00|4|1000|0|(null)
"""
MIB = 1 << 20


def partitions_of(printed: str = CLUSTER) -> Limits:
    return Limits(partitions=read_partitions(printed))


def with_defaults(config: str = "", **defaults: str) -> Limits:
    """Return a cluster of which some partitions give memory to who asks for none."""
    rows = (f"PartitionName={name} {text}\n" for name, text in defaults.items())
    answers = Answers(
        config=f"SelectTypeParameters    = CR_CORE_MEMORY\nDefMemPerCPU = 100\n{config}",
        partitions=CLUSTER,
        defaults="".join(rows),
    )
    return answers.limits(JobOptions())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "nope"}, "no partition 'nope'; there are: closed, gpu, main, short"),
        ({"cpus_per_task": 129}, "but no node of partition 'main' has more than 128"),
        ({"cpus_per_task": 20, "partition": "short"}, "has more than 16; give fewer cpus_per_task"),
        ({"mem": "120G"}, "needs 122880 MiB on one node"),
        ({"mem_per_cpu": "2G", "cpus_per_task": 60}, "needs 122880 MiB"),
        ({"cpus_per_task": 100, "mem": "80G"}, "no node of partition 'main' has both"),
        ({"gpus": 1}, "needs 1 GPUs on one node, but no node of partition 'main' has more than 0; "
         "give fewer gpus, as many nodes as are to share them, or another partition; partition "
         "'gpu' would do"),
        ({"gpus": "a100:5", "partition": "gpu"}, "needs 5 GPUs on one node"),
        ({"gpus": "a100:3,v100:2", "partition": "gpu"}, "needs 5 GPUs on one node"),
        ({"sbatch_args": ["-G5"], "partition": "gpu"}, "needs 5 GPUs on one node"),
        ({"gpus": 5, "nodes": "1-1", "partition": "gpu"}, "needs 5 GPUs on one node"),
        ({"time": "1:00:01", "partition": "short"}, "time is 01:01:00, but partition 'short' all"),
        ({"time": "3-0", "partition": "short,gpu"}, "partition 'main' would do"),
        ({"ntasks_per_node": 20, "cpus_per_task": 10}, "needs 200 CPUs"),
        ({"nodes": 1, "ntasks": 200}, "needs 200 CPUs"),
        ({"ntasks": 705}, "705 tasks with 1 CPUs each, but all nodes of partition 'main' together"),
        ({"ntasks": 8, "cpus_per_task": 65}, "room for 4"),
        ({"ntasks": 4, "cpus_per_task": 65, "mem": "60G"}, "has both"),
        ({"ntasks": 8, "ntasks_per_node": 1}, "room for 7"),
        ({"ntasks": 600, "mem_per_cpu": "1G"}, "room for 384"),
        ({"sbatch_args": ["-p", "short"], "time": 90}, "partition 'short' allows 01:00:00"),
        ({"sbatch_args": ["--time=2:00:00"], "partition": "short"}, "time is 02:00:00"),
        ({"sbatch_args": ["-n1000"]}, "1000 tasks"),
        ({"sbatch_args": ["--mem", "900G"], "mem": "1G"}, "needs 921600 MiB"),
    ],
)  # fmt: skip
def test_what_could_never_start_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(JobOptions(**options), partitions_of())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cpus_per_task": 128},
        {"cpus_per_task": 64, "mem": 100_000},
        {"time": 10**6},
        {"partition": "short", "time": 60},
        {"partition": ["short", "gpu"], "time": "1-0", "cpus_per_task": 32},
        {"gpus": 4, "partition": "gpu"},
        {"gpus": "a100", "partition": "gpu"},
        {"gpus": 5, "nodes": "1-2", "partition": "gpu"},
        {"gpus": 5, "ntasks": 5, "partition": "gpu"},
        {"gpus": 5, "nodelist": "g[1-2]", "partition": "gpu"},
        {"gpus": 5, "sbatch_args": ["--gpus-per-node=4"], "partition": "gpu"},
        {"ntasks": 704},
        {"ntasks": 4, "cpus_per_task": 65},
        {"partition": "closed", "cpus_per_task": 100, "time": 1},  # it has no nodes yet
        {"partition": "short", "time": 90, "sbatch_args": ["-p", "gpu"]},
        {"partition": "short", "time": 90, "sbatch_args": ["--part=gpu"]},
        {"partition": "short", "time": 90, "sbatch_args": ["-t30"]},
        {"cpus_per_task": 200, "sbatch_args": ["--cpus-per-task", "2"]},
        {"ntasks": 1000, "sbatch_args": ["--overcommit"]},
        {"mem_per_cpu": "200G", "sbatch_args": ["--mem=0"]},
    ],
)
def test_what_can_start_passes(options: dict[str, Any]) -> None:
    check(JobOptions(**options), partitions_of())


def test_nothing_is_refused_where_nothing_is_known() -> None:
    check(JobOptions(cpus_per_task=10**6, time=10**6, partition="any"), Limits())


def test_a_qos_may_let_jobs_go_over_the_time() -> None:
    there = Limits(partitions=read_partitions(CLUSTER), overrides=frozenset({"PartitionTimeLimit"}))
    check(JobOptions(partition="short", time=99), there)


def test_the_environment_names_a_partition() -> None:
    there = partitions_of()
    with pytest.raises(UsageError, match="'short' allows 01:00:00"):
        check(JobOptions(time=90), there, "short")
    check(JobOptions(time=90, partition="gpu"), there, "short")
    check(JobOptions(time=90, sbatch_args=["-pgpu"]), there, "short")


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["-p", "a,b"], {"partition": "a,b"}),
        (["--partition", "a"], {"partition": "a"}),
        (["--comment", "x", "--qos=high", "-A=b"], {"qos": "high", "account": "=b"}),
        (["--time=0"], {"time": None}),
        (["-t", "UNLIMITED"], {"time": None}),
        (["--mem-per-cpu=1G"], {"mem_per_cpu": 1024, "mem": None}),
        (["-c", "many"], {"cpus_per_task": None}),
        (["-N2-4", "-n", "8"], {"nodes": "2-4", "ntasks": 8}),
        (["--ntasks-per-node=4"], {"ntasks_per_node": 4}),
        (["-O", "-p", "a"], {"partition": "a"}),
        (["--p=a"], {}),  # ambiguous
        (["-p"], {"partition": None}),
    ],
)
def test_what_sbatch_args_say_counts(arguments: list[str], changes: dict[str, Any]) -> None:
    options = JobOptions(sbatch_args=arguments, time=5, mem=100, partition="main")
    expected = {"time": 5, "mem": 100, "partition": "main", **changes}
    assert effective(options) == JobOptions(**expected, sbatch_args=() if changes else arguments)


@given(st.lists(st.text(st.characters(min_codepoint=33))))
def test_no_argument_breaks_it(arguments: list[str]) -> None:
    try:
        options = JobOptions(sbatch_args=[one for one in arguments if one.strip()])
    except UsageError:
        return
    effective(options)


def test_the_shortest_limit_of_the_partitions_that_can_hold_a_run() -> None:
    there = read_partitions(CLUSTER)

    def limit(partition: str | None, seconds: float) -> float | None:
        return longest(chosen(JobOptions(partition=partition), there), seconds)

    assert limit("short", 60) == 3600
    assert limit("short,gpu", 60) == 3600
    assert limit("gpu,short", 7200) == 2 * 86400
    assert limit("short", 7200) is None
    assert limit(None, 60) is None
    assert limit("gone", 60) is None
    assert longest([], 60) is None
    assert math.inf not in (limit("main", 1), limit("main", math.inf))


def test_memory_that_a_partition_gives_by_default_counts() -> None:
    there = with_defaults(
        main="DefMemPerCPU=2000 SelectTypeParameters=NONE", short="DefMemPerNode=40000"
    )
    for options, words in (
        (
            {"cpus_per_task": 51},
            "needs 102000 MiB on one node, since the default there is 2000 MiB",
        ),
        ({"ntasks": 301}, "room for 250"),
        ({"partition": "short"}, "needs 40000 MiB on one node, which is the default there, but"),
    ):
        with pytest.raises(UsageError) as caught:
            check(JobOptions(**options), there)
        assert words in str(caught.value)
    for fits in (
        {"cpus_per_task": 50},
        {"cpus_per_task": 60, "mem": "1G"},
        {"cpus_per_task": 60, "sbatch_args": ["--mem=1G"]},
        {"cpus_per_task": 60, "sbatch_args": ["--mem=0"]},
        {"cpus_per_task": 60, "gres": "gpu:1"},
        {"partition": "short", "mem_per_cpu": 1000},
    ):
        check(JobOptions(**fits), there)


def test_the_default_of_memory_is_of_the_partition_or_the_cluster_or_not_known() -> None:
    found = {one.name: one for one in with_defaults(main="x=y", gpu="DefMemPerNode=9").partitions}
    assert (found["main"].mem_per_cpu, found["main"].mem_per_node) == (100, 0)
    assert (found["gpu"].mem_per_cpu, found["gpu"].mem_per_node) == (0, 9)
    shared = with_defaults(main="DefMemPerCPU=5 SelectTypeParameters=CR_CORE", gpu="a=b")
    assert [one.mem_per_cpu for one in shared.partitions if one.name == "main"] == [0]
    whole = with_defaults(main="DefMemPerNode=UNLIMITED", short="DefMemPerNode=7", gpu="a=b")
    there = whole.partitions
    assert default_memory(chosen(JobOptions(partition="main,gpu"), there)) == ("mem_per_cpu", 100)
    assert default_memory(chosen(JobOptions(partition="short"), there)) == ("mem", 7)
    assert default_memory(chosen(JobOptions(partition="short,gpu"), there)) is None
    assert default_memory(whole.partitions[-1:]) is None  # not told of
    assert default_memory([]) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes": 8}, "a run needs 8 nodes, but partition 'main' has 7; give fewer nodes"),
        ({"nodes": "8-9"}, "needs 8 nodes"),
        ({"sbatch_args": ["-N9"]}, "needs 9 nodes"),
        ({"nodes": 8, "partition": "short"}, "partition 'short' has 3; give fewer nodes or anoth"),
        ({"nodes": 5, "partition": "short"}, "partition 'main' would do"),
    ],
)
def test_more_nodes_than_a_partition_has_are_refused(options: dict[str, Any], words: str) -> None:
    there = with_defaults(main="TotalNodes=7", short="TotalNodes=3")
    with pytest.raises(UsageError) as caught:
        check(JobOptions(**options), there)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "size"),
    [(7, "7"), ("2-9", "7"), ("7-", "7"), ("what", "7"), (8, "0"), (8, "(null)"), (8, "")],
)
def test_as_many_nodes_as_a_partition_has_pass(nodes: int | str, size: str) -> None:
    """Cloud nodes that are off count, which sinfo does not show; who has no nodes may get some."""
    check(JobOptions(nodes=nodes), with_defaults(main=f"TotalNodes={size}"))
    check(JobOptions(nodes=nodes), partitions_of())


FEW_OR_MANY = {"main": "MaxNodes=UNLIMITED MinNodes=0", "short": "MaxNodes=2 MinNodes=0",
               "gpu": "MaxNodes=3 MinNodes=2"}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes": 3, "partition": "short"}, "nodes is 3, but partition 'short' gives a job no "
         "more than 2 (MaxNodes); give fewer nodes or another partition; partition 'main' would"),
        ({"nodes": "2-3", "partition": "short"}, "nodes is '2-3', but"),
        ({"nodes": "3-", "partition": "short"}, "no more than 2"),
        ({"sbatch_args": ["-N", "4"], "partition": "gpu,short"}, "no more than 3 (MaxNodes)"),
        ({"nodes": 1, "partition": "gpu"}, "nodes is 1, but partition 'gpu' gives a job no fewer "
         "than 2 (MinNodes); give more nodes, leave nodes out, or give another partition"),
        ({"nodes": "1-1", "partition": "gpu"}, "no fewer than 2"),
        ({"gpus": 1, "partition": "gpu"}, "the GPUs of a run are on one node, but partition 'gpu' "
         "gives a job no fewer than 2 (MinNodes); give as many nodes, or another partition"),
    ],
)  # fmt: skip
def test_more_or_fewer_nodes_than_a_partition_gives_a_job_are_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check(JobOptions(**options), with_defaults(**FEW_OR_MANY))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"nodes": 7},
        {"partition": "gpu"},
        {"nodes": "1-2", "partition": "gpu"},
        {"nodes": "1-", "partition": "gpu"},
        {"nodes": "2-3", "partition": "gpu"},
        {"nodes": 3, "partition": "gpu,short"},
        {"gpus": 1, "partition": "gpu", "constraint": "[rack1*2&rack2*1]"},
        {"nodes": "what", "partition": "gpu"},
    ],
)
def test_as_many_nodes_as_a_partition_gives_a_job_pass(options: dict[str, Any]) -> None:
    check(JobOptions(**options), with_defaults(**FEW_OR_MANY))


def test_nodes_that_are_not_shown_may_have_more() -> None:
    """Such as cloud nodes that are off."""
    (main, *_) = there = with_defaults(main="TotalNodes=2").partitions
    shown = sum(one.count for one in main.nodes)
    for size, refused in ((shown, True), (shown + 1, False), (None, True)):
        limits = Limits(partitions=(replace(main, size=size), *there[1:]))
        with pytest.raises(UsageError) if refused else nullcontext():
            check(JobOptions(cpus_per_task=10_000, partition=main.name), limits)


def test_a_qos_may_let_jobs_have_more_or_fewer_nodes() -> None:
    there = with_defaults(**FEW_OR_MANY)
    more = replace(there, overrides=frozenset({"PartitionMaxNodes"}))
    fewer = replace(there, overrides=frozenset({"PartitionMinNodes"}))
    check(JobOptions(nodes=3, partition="short"), more)
    check(JobOptions(nodes=1, partition="gpu"), fewer)
    with pytest.raises(UsageError, match="MinNodes"):
        check(JobOptions(nodes=1, partition="gpu"), more)
    with pytest.raises(UsageError, match="MaxNodes"):
        check(JobOptions(nodes=3, partition="short"), fewer)


MOST = {
    "main": "MaxCPUsPerNode=UNLIMITED MaxMemPerNode=UNLIMITED",
    "short": "MaxCPUsPerNode=8 MaxMemPerCPU=100",
    "gpu": "MaxCPUsPerNode=40 MaxMemPerNode=500",
}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mem": 90_001}, "no more than 90000 MiB (MaxMemPerNode); ask for less memory"),
        ({"mem": 501, "partition": "gpu"}, "needs 501 MiB on one node, but partition 'gpu' gives "
         "no more than 500 MiB (MaxMemPerNode); ask for less memory or another partition; "
         "partition 'main' would do"),
        ({"ntasks_per_node": 6, "partition": "gpu"}, "needs 600 MiB on one node, since the default "
         "there is 100 MiB for each CPU, but partition 'gpu' gives no more than 500"),
        ({"cpus_per_task": 33, "partition": "gpu"}, "no node of partition 'gpu' has more than 32"),
        ({"cpus_per_task": 9, "partition": "short"}, "needs 9 CPUs on one node, but partition "
         "'short' gives no more than 8 (MaxCPUsPerNode); give fewer cpus_per_task"),
        ({"mem": 801, "partition": "short"}, "no more than 800 MiB (MaxMemPerCPU)"),
        ({"cpus_per_task": 3, "mem_per_cpu": 250, "partition": "short"}, "needs 9 CPUs on one node,"
         " since each comes with 100 MiB at most (MaxMemPerCPU), but partition 'short' gives no"),
        ({"ntasks": 81, "partition": "short"}, "together have room for 80"),
        ({"ntasks": 41, "mem_per_cpu": 101, "partition": "short"}, "together have room for 40"),
    ],
)  # fmt: skip
def test_more_of_a_node_than_a_partition_gives_a_job_is_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check(JobOptions(**options), with_most())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"mem": 90_000},
        {"mem": 500, "partition": "gpu"},
        {"mem": 501, "partition": "gpu,main"},
        {"ntasks": 6, "partition": "gpu"},
        {"cpus_per_task": 5, "partition": "gpu"},
        {"cpus_per_task": 8, "partition": "short"},
        {"mem": 800, "partition": "short"},
        {"ntasks": 40, "mem_per_cpu": 101, "partition": "short"},
    ],
)
def test_as_much_of_a_node_as_a_partition_gives_a_job_passes(options: dict[str, Any]) -> None:
    check(JobOptions(**options), with_most())


def with_most(**more: str) -> Limits:
    """Return a cluster that limits what a job may have of a node."""
    found = with_defaults(**MOST | more, config="MaxMemPerNode = 90000\n")
    assert found.partitions[-1].max_mem_per_node == 0  # nothing was told of it
    return found


def test_gpus_are_of_a_node_with_the_rest() -> None:
    """One kind of node has the CPUs, another the GPUs."""
    there = Limits(partitions=read_partitions("main*|infinite|64|9000|1|(null)\n"
                                              "main*|infinite|8|9000|1|gpu:2\n"))  # fmt: skip
    check(JobOptions(gpus=2, cpus_per_task=8), there)
    with pytest.raises(UsageError, match=r"needs 9 CPUs and 2 GPUs on one node, .* has both"):
        check(JobOptions(gpus=2, cpus_per_task=9), there)


# What the runner makes of it.


def runner(printed: str = CLUSTER, **options: Any) -> SlurmRunner:
    made = SlurmRunner(**options)
    made.cluster = partitions_of(printed)
    return made


def test_as_many_runs_at_once_as_one_node_of_the_partition_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at_once(pack: int, memory: str | None = None, cpus: int | None = None, **more: Any) -> int:
        one = runner(pack=pack, mem=memory, cpus_per_task=cpus, **more)
        return one.at_once(one.demand(Run(), memory=1, seconds=1), pack)

    monkeypatch.delenv("SBATCH_PARTITION", raising=False)
    assert at_once(1000) == 128
    assert at_once(1000, partition="short") == 16
    assert at_once(1000, sbatch_args=["-p", "short"]) == 16
    assert at_once(8) == 8
    assert at_once(1000, cpus=4, pack_cpus=30) == 7
    # No node has the CPUs of one kind and the memory of the other.
    assert at_once(1000, "1000M") == 64
    assert at_once(1000, "10000M") == 10
    assert at_once(1000, cpus=2, mem_per_cpu="1000M") == 32
    assert at_once(1000, partition="closed") == 1000  # nothing is known of its nodes
    by_default = runner(pack=1000)
    by_default.cluster = with_defaults(main="DefMemPerCPU=2000")
    assert by_default.at_once(by_default.demand(Run(), memory=1, seconds=1), 1000) == 50
    monkeypatch.setenv("SBATCH_PARTITION", "short")
    assert at_once(1000) == 16


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({"partition": "gpu", "mem": 100}, 5),
        ({"partition": "gpu", "mem": 10}, 32),
        ({"partition": "gpu"}, 5),
        ({"partition": "short"}, 8),
        ({"partition": "short", "mem": 150}, 5),
        ({"partition": "short", "mem_per_cpu": 150}, 4),
        ({"partition": "short", "mem_per_cpu": 150, "cpus_per_task": 3}, 1),
    ],
)
def test_no_more_runs_at_once_than_a_partition_gives_a_job(
    options: dict[str, Any], held: int
) -> None:
    one = runner(pack=1000, **options)
    one.cluster = with_most()
    assert one.at_once(one.demand(Run(), memory=1, seconds=1), 1000) == held


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resources": {"cpus": 1000}}, "never start: a run needs 1000 CPUs"),
        ({"resources": {"memory": "300GiB"}, "partition": "gpu"}, "needs 307200 MiB"),
        ({"timeout": 7200, "partition": "short"}, "the time that follows from timeout is 02:02:00"),
        ({"time": 50, "partition": "short", "scale": 2}, "what retry_scale adds: time is 01:40:00"),
        ({"mem": "20G", "partition": "short", "scale": 2}, "retry_scale adds: a run needs 40960"),
        ({"per_run": lambda p: {"cpus_per_task": 999}}, "999 CPUs"),
    ],
)
def test_the_request_as_a_whole_is_held_against_the_cluster(
    options: dict[str, Any], words: str
) -> None:
    needs, scale = options.pop("resources", None), options.pop("scale", 1)
    one = runner(**options)
    if needs is not None:
        one.policy = type(one.policy)(resources=lambda params: needs)
    with pytest.raises(SubmitError) as caught:
        one.demand(Run(params=json.dumps({"n": 1})), memory=scale, seconds=scale)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["mem", "mem_per_cpu", "mem_per_gpu"])
def test_a_further_attempt_gets_more_memory_however_it_is_given(name: str) -> None:
    one = runner(**{name: "100M", "retry_scale": {"mem": 2}})
    demand = one.demand(Run(), memory=2, seconds=1)
    assert getattr(demand.options, name) == 200
    assert getattr(one.demand(Run(), memory=1, seconds=1).options, name) == "100M"
    assert demand.needs.memory_bytes == (200 * MIB if name == "mem" else None)


def test_what_sbatch_args_ask_for_is_scaled_too() -> None:
    given = JobOptions(mem="1G", sbatch_args=["--mem-per-cpu", "100", "-t", "2:00"])
    more = effective(scaled(given, memory=2, time=1.5))
    assert (more.mem, more.mem_per_cpu, more.minutes) == (None, 200, 3)
    again = effective(scaled(scaled(given, memory=2, time=1), memory=1.5, time=1))
    assert again.mem_per_cpu == 300
    assert scaled(JobOptions(), memory=2, time=2) == JobOptions()


def test_memory_by_resources_is_scaled() -> None:
    one = runner(retry_scale={"mem": 1.5})
    one.policy = replace(one.policy, resources=lambda params: {"memory": "100MiB"})
    assert one.demand(Run(), memory=1, seconds=1).needs.memory_bytes == 100 * MIB
    assert one.demand(Run(), memory=1.5, seconds=1).needs.memory_bytes == 150 * MIB


def test_memory_by_default_is_scaled_and_shared_by_no_pack() -> None:
    def demand(memory: float, **options: Any) -> Demand:
        one = runner(**options)
        one.cluster = with_defaults(main="DefMemPerCPU=50", short="DefMemPerNode=1000")
        return one.demand(Run(), memory=memory, seconds=1)

    scale = {"retry_scale": {"mem": 2}}
    assert demand(1, **scale).options == JobOptions()
    assert demand(2, **scale).options == JobOptions(mem_per_cpu=100)
    assert demand(4, partition="short", **scale).needs.memory_bytes == 4000 * MIB
    assert demand(1, partition="short").needs.memory_bytes is None
    assert demand(1, partition="short", pack=5).needs.memory_bytes == 1000 * MIB
    assert demand(1, pack=5).options == JobOptions()


@pytest.mark.parametrize(
    ("scale", "options", "words"),
    [
        ({"mem": 2}, {}, "give `mem`, or memory by `resources`, or leave it out"),
        ({"mem": 2}, {"gpus": 1, "partition": "gpu"}, "give `mem`"),
        ({"time": 2}, {"mem": "1G"}, "give `time` or `timeout`, or leave it out"),
    ],
)
def test_what_nobody_knows_cannot_be_scaled(
    scale: dict[str, float], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SubmitError) as caught:
        runner(retry_scale=scale, **options).demand(Run(), memory=1, seconds=1)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"per_run": lambda p: {}},
        {"mem_per_gpu": "1G", "timeout": 5},
        {"timeout": "5x median", "sbatch_args": ["--mem=1G"]},
    ],
)
def test_what_may_be_known_can_be_scaled(options: dict[str, Any]) -> None:
    one = runner(retry_scale={"mem": 2, "time": 2}, **options)
    one.demand(Run(), memory=1, seconds=1)


def test_runs_with_gpus_or_nodes_go_alone() -> None:
    one = runner(pack=4, per_run=lambda p: p)

    def demand(**params: Any) -> Demand:
        return one.demand(Run(params=json.dumps(params)), memory=1, seconds=1)

    assert not demand().alone
    assert demand(nodes=2).alone
    assert demand(gpus=1, partition="gpu").alone
    one.policy = type(one.policy)(resources=lambda params: {"gpus": 1})
    assert demand(partition="gpu").alone
    assert demand(partition="gpu").needs == Resources(gpus=1)
    with pytest.raises(SubmitError, match="needs 1 GPUs on one node"):
        demand()


def test_the_real_cluster_never_starts_more_tasks_than_it_has_cpus(slurm: SlurmCluster) -> None:
    done = slurm.run("sbatch", "--parsable", "-n257", stdin="#!/bin/sh\ntrue\n", check=False)
    if done.returncode:
        assert "configuration is not available" in done.stderr
        return
    job = done.stdout.strip()
    states = SlurmScheduler().states
    status = SlurmScheduler().status([job])
    wait_until(
        lambda: states(slurm.run(*status).stdout)[job].hopeless,
        lambda: f"a job without hope: {slurm.show(job)}",
    )


def test_the_real_cluster_tells_how_many_nodes_a_partition_has(
    slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"a run needs 5 nodes, but partition 'main' has 4"):
        call(tmp_path / "t", "true", options={"nodes": 5})
    assert slurm.jobs() == []
    sweep = call(tmp_path / "s", 'echo "$SLURM_JOB_NUM_NODES" > results.json', options={"nodes": 4})
    assert sweep.results == [4]


def test_the_real_cluster_gives_a_job_so_many_nodes_and_no_fewer(
    slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is refused here, Slurm takes and leaves in the queue, also were there room."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    refused = [("few", "3", "MaxNodes"), ("few", "2-3", "MaxNodes"), ("many", "1", "MinNodes")]
    passed: list[dict[str, Any]] = [{"partition": "many"}, {"partition": "many", "nodes": "1-2"}]
    status, states = SlurmScheduler().status, SlurmScheduler().states
    slurm.run("scontrol", "create", "partitionname=few", "nodes=ALL", "maxnodes=2")
    slurm.run("scontrol", "create", "partitionname=many", "nodes=ALL", "minnodes=2")
    try:
        for place, nodes, word in refused:
            given = {"partition": place, "nodes": nodes}
            with pytest.raises(UsageError, match=f"nodes is '{nodes}', but .*{word}"):
                call(tmp_path / "t", "true", options=given)
        assert slurm.jobs() == []
        jobs = [slurm.submit("true", "-p", place, "-N", nodes) for place, nodes, _ in refused]
        for number, given in enumerate(passed):
            script = 'echo "$SLURM_JOB_NUM_NODES" > results.json'
            sweep = call(tmp_path / str(number), script, options=given)
            assert sweep.results == [2], told(sweep)

        def waits() -> dict[str, str]:
            found = states(slurm.run(*status(jobs)).stdout)
            return {job: state.message or "" for job, state in found.items() if state.doubtful}

        wait_until(
            lambda: all("PartitionNodeLimit" in waits().get(job, "") for job in jobs),
            lambda: f"three jobs without hope: {waits()}",
        )
    finally:
        slurm.cancel_all()
        for place in ("few", "many"):
            slurm.run("scontrol", "delete", f"partitionname={place}")
