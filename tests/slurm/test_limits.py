"""What a cluster allows, and what is refused because it could never start."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core.errors import UsageError
from multirun_slurm.fitting import check
from multirun_slurm.job import JobOptions
from multirun_slurm.limits import Answers, Limits, Nodes, Partition, read_partitions
from multirun_slurm.scheduler import SlurmScheduler
from slurm_cluster import ClusterOptions, SlurmCluster, wait_until

from multirun_slurm import limits

REAL = Path(__file__).parent / "corpus" / "22.05"
CLUSTER = """\
main*|infinite|64|100000|2|(null)
main*|infinite|64|100000|1|(null)
main*|infinite|128|50000|4|(null)
short|1:00:00|16|32000|10|(null)
gpu|2-00:00:00|32|256000|3|gpu:a100:4(S:0-1),shard:8
closed|1:00|4|1000|0|(null)
"""


def real_answers() -> Answers:
    names = ("scontrol-config", "sinfo", "sacctmgr-assoc", "sacctmgr-qos", "scontrol-partition")
    return Answers(*((REAL / f"{name}.txt").read_text() for name in names))


def test_what_a_real_cluster_answers() -> None:
    found = real_answers().limits(JobOptions())
    assert found.array_size == 101
    assert found.job_count == 20_000
    assert found.min_job_age == 300
    assert found.submit == 3
    assert found.minutes == 2 * 24 * 60
    assert found.room == 3
    assert found.accounting
    assert not found.overrides
    assert {one.name for one in found.partitions} == {"main", "short", "low", "high"}
    main, short = found.partitions[:2]
    nodes = (Nodes(64, 100_000, 2, 0),)
    assert main == Partition("main", True, math.inf, nodes, mem_per_cpu=100, size=2)
    assert (short.default, short.minutes) == (False, 1)
    assert all(one.usable == nodes for one in found.partitions)
    bounds = {one.name: (one.min_nodes, one.max_nodes) for one in found.partitions}
    assert bounds == {"main": (0, None), "short": (0, None), "low": (0, 1), "high": (1, 2)}


def test_nothing_is_known_of_a_cluster_that_does_not_answer() -> None:
    found = Answers().limits(JobOptions())
    assert found == Limits()
    assert found.room is None


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("MaxArraySize = 9\nSchedulerParameters = defer,max_array_tasks=5,bf_interval=2\n", 5),
        ("MaxArraySize = 9\nSchedulerParameters = max_array_tasks=50\n", 9),
        ("MaxArraySize = 9\nSchedulerParameters = no_max_array_tasks=5\n", 9),
        ("MaxArraySize = 9\nSchedulerParameters = (null)\n", 9),
        ("SchedulerParameters = max_array_tasks=5\n", 5),
        ("MaxJobCount = 9\n", None),
    ],
)
def test_tasks_of_an_array(config: str, size: int | None) -> None:
    assert Answers(config=config).limits(JobOptions()).array_size == size


def test_flags_of_qos_that_nobody_tells_may_be_set() -> None:
    answers = real_answers()
    answers.qos = ""
    assert answers.limits(JobOptions()).overrides == set(limits.OVERRIDING)
    answers.config = answers.config.replace("accounting_storage/slurmdbd", "(null)")
    assert not answers.limits(JobOptions()).overrides


def test_limits_of_account_and_qos() -> None:
    answers = Answers(
        associations="physics||normal,high|normal|100||1-00:00:00\nchemistry|||low|20|50|02:00:00\n",
        qos="normal||30|||\nhigh|PartitionTimeLimit,DenyOnLimit||500||\nlow|||10||3-00:00:00\n",
    )
    assert answers.limits(JobOptions(account="physics")).minutes == 1440
    assert answers.limits(JobOptions(account="chemistry")).minutes == 3 * 1440
    assert answers.limits(JobOptions(account="chemistry", qos="high")).minutes == 120
    assert answers.limits(JobOptions()).minutes == 1440
    assert answers.limits(JobOptions(account="unknown")).minutes is None
    assert answers.limits(JobOptions(account="physics")).submit == 30
    assert answers.limits(JobOptions(account="physics", qos="high")).submit == 100
    assert answers.limits(JobOptions(account="chemistry")).submit == 10
    assert answers.limits(JobOptions()).submit == 10
    assert answers.limits(JobOptions(account="unknown")).submit is None
    assert answers.limits(JobOptions()).overrides == {"PartitionTimeLimit", "DenyOnLimit"}


def test_nodes_that_are_alike_are_counted_together() -> None:
    found = {one.name: one for one in read_partitions(CLUSTER)}
    assert found["main"].nodes == (Nodes(64, 100_000, 3, 0), Nodes(128, 50_000, 4, 0))
    assert found["gpu"].nodes == (Nodes(32, 256_000, 3, 4),)
    assert found["gpu"].minutes == 2880
    assert found["main"].default
    assert "no time limit" in found["main"].text
    assert "4 GPUs" in found["gpu"].text


def test_room_is_what_is_left_by_those_that_are_there() -> None:
    found = Limits(submit=10, job_count=101)
    assert found.room == 10
    assert found.left(mine=4, everyone=50) == 6
    assert found.left(mine=4, everyone=98) == 2
    assert found.left(mine=11, everyone=50) == 0
    assert Limits(submit=0).room == 0


@pytest.mark.parametrize(
    ("rows", "submit"),
    [
        ("physics||normal|normal|0||", 0),
        ("physics||normal|normal||0|", 0),
        ("physics||closed|closed|20||", 0),
        ("physics||normal|normal|0||\nmath||normal|normal|7||", 7),
        ("physics||normal|normal|0||\nmath||normal|normal|||", None),
        ("physics||normal|normal|0||\nmath||normal|normal|0||", 0),
    ],
)
def test_no_job_at_all_is_allowed_where_each_account_says_so(rows: str, submit: int | None) -> None:
    answers = Answers(associations=f"{rows}\n", qos="normal|||||\nclosed||0|||\n")
    assert answers.limits(JobOptions()).submit == submit


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2,gpu:v100:1,shard:9", 3),
        ("craynetwork:4", 0),
        ("gpu:(null):4(S:0)", 4),
        ("gpu:a100", 1),
        ("gpu", 1),
        ("gpu:3090:no_consume:4,shard:8", 4),
        ("gpu:a100:2(IDX:0,1),gpu:v100:1", 3),
    ],
)
def test_gpus_of_nodes(gres: str, gpus: int) -> None:
    assert limits.gpus_of(gres) == gpus


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_no_answer_breaks_it(
    config: str, partitions: str, associations: str, qos: str, defaults: str
) -> None:
    Answers(config, partitions, associations, qos, defaults).limits(JobOptions())


@given(st.text(), st.text(), st.text())
def test_no_bound_of_nodes_breaks_it(least: str, most: str, nodes: str) -> None:
    told = f"PartitionName=main MinNodes={least} MaxNodes={most}\n"
    there = Answers(partitions=CLUSTER, defaults=told).limits(JobOptions())
    with suppress(UsageError):
        check(JobOptions(nodes=nodes, partition="main"), there)


def ask(slurm: SlurmCluster) -> Limits:
    commands = (limits.CONFIG, limits.PARTITIONS, limits.associations("root"), limits.QOS)
    return Answers(*(slurm.run(*argv, check=False).stdout for argv in commands)).limits(
        JobOptions()
    )


def test_a_cluster_without_accounting_is_asked(slurm: SlurmCluster) -> None:
    found = ask(slurm)
    assert found.array_size == slurm.options.max_array
    assert found.job_count == slurm.options.max_jobs
    assert found.submit is None
    assert not found.accounting
    with pytest.raises(UsageError, match="needs 1000 CPUs"):
        check(JobOptions(cpus_per_task=1000), found)
    with pytest.raises(UsageError, match="partition 'short' allows 00:01:00"):
        check(JobOptions(partition="short", time=2), found)


def test_a_cluster_with_accounting_is_asked(accounting_slurm: SlurmCluster) -> None:
    slurm = accounting_slurm
    limit = ("sacctmgr", "-i", "modify", "user", "root", "set")
    slurm.run(*limit, "MaxSubmitJobs=7", "MaxWall=90")
    try:
        found = ask(slurm)
    finally:
        slurm.run(*limit, "MaxSubmitJobs=-1", "MaxWall=-1")
    assert found.accounting
    assert (found.submit, found.minutes) == (7, 90)


@pytest.mark.long
def test_a_cluster_that_is_away_is_asked_in_vain(slurm: SlurmCluster) -> None:
    slurm.stop_controller()
    assert ask(slurm) == Limits()


def test_the_real_cluster_leaves_such_jobs_waiting_and_says_why(slurm: SlurmCluster) -> None:
    scheduler = SlurmScheduler()
    jobs = {
        slurm.submit("true", "-p", "short", "-t", "100"): "more time than its partition",
        slurm.submit("true", "-c", "1000"): "no nodes that could hold it",
        slurm.submit("true", "--hold"): "held by its owner",
    }

    def told() -> dict[str, str]:
        states = scheduler.states(slurm.run(*scheduler.status(list(jobs))).stdout)
        return {job: state.message or "" for job, state in states.items() if state.hopeless}

    wait_until(
        lambda: all(words in told().get(job, "") for job, words in jobs.items()),
        lambda: f"{jobs}, but it says {told()}",
    )


@pytest.mark.timeout(180)
def test_full_clusters_and_limits_are_told_apart_from_mistakes(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
) -> None:
    slurm = make_slurm(ClusterOptions(nodes=1, max_jobs=4, max_array=6))
    scheduler = SlurmScheduler()
    script = "#!/bin/sh\ntrue\n"
    done = slurm.run("sbatch", "--hold", "--array=0-6", stdin=script, check=False)
    assert not scheduler.refusal(done.returncode, done.stdout, done.stderr).transient
    for _ in range(3):
        slurm.submit("true", "--hold")
    full = slurm.run("timeout", "5", "sbatch", "--hold", stdin=script, check=False)
    found = scheduler.refusal(full.returncode, full.stdout, full.stderr)
    assert found.transient
    assert found.crowded


def test_jobs_are_found_by_name_and_gone_ones_do_no_harm(slurm: SlurmCluster) -> None:
    scheduler = SlurmScheduler()
    job = slurm.submit("sleep 300", "--job-name=multirun-1", "--array=0-2")
    slurm.submit("sleep 300", "--job-name=multirun-11")
    assert scheduler.found(slurm.run(*scheduler.find("multirun-1")).stdout, "multirun-1") == [job]
    assert scheduler.found(slurm.run(*scheduler.find("other")).stdout, "other") == []
    assert scheduler.states(slurm.run(*scheduler.status(["424242"])).stdout) == {}
    states = scheduler.states(slurm.run(*scheduler.status([f"{job}_1", "424242"])).stdout)
    assert set(states) == {f"{job}_{task}" for task in range(3)}
    assert {state.name for state in states.values()} == {"multirun-1"}
    slurm.run(*scheduler.cancel([f"{job}_0", f"{job}_2", "424242"]))

    def alive() -> set[str]:
        told = scheduler.states(slurm.run(*scheduler.status([job])).stdout)
        return {one for one, state in told.items() if state.phase != "ended"}

    wait_until(lambda: alive() == {f"{job}_1"}, lambda: f"one task, not {alive()}")


def test_a_batch_script_alone_is_told(slurm: SlurmCluster, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"trap 'echo hup >>{told}' HUP; echo ready >>{told}; sleep 300 & wait; wait"
    job = slurm.submit(script)
    wait_until(told.exists, "a job that listens")
    slurm.run(*SlurmScheduler().nudge([job], "HUP"))
    wait_until(lambda: "hup" in told.read_text(), "a script that was told")
    assert slurm.state(job) == "RUNNING"


def test_accounts_of_jobs(accounting_slurm: SlurmCluster) -> None:
    slurm, scheduler = accounting_slurm, SlurmScheduler()
    jobs = [slurm.submit("exit 3"), slurm.submit("sleep 300")]
    slurm.wait_state(jobs[1], "RUNNING")
    slurm.run("scancel", jobs[1])
    command = scheduler.account(jobs)
    assert command is not None
    assert scheduler.account([]) is None
    assert SlurmScheduler(accounting=False).account(jobs) is None

    def words() -> dict[str, str]:
        found = scheduler.accounted(slurm.run(*command).stdout)
        return {job: state.word for job, state in found.items() if state.phase == "ended"}

    wait_until(
        lambda: words() == dict(zip(jobs, ("FAILED", "CANCELLED"), strict=True)),
        lambda: f"accounts, not {words()}",
    )
    found = scheduler.accounted(slurm.run(*command).stdout)
    assert found[jobs[1]].reason == "cancelled"
    assert found[jobs[0]].reason is None
    assert found[jobs[0]].message == "Slurm says FAILED, exit 3:0"
    assert found[jobs[0]].host in slurm.nodes
