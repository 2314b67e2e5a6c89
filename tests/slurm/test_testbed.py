"""The clusters that the other tests rest on do what they are for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import guardian
import pytest
from ports import BLOCK, claim_ports
from slurm_cluster import CGROUPS, ClusterError, ClusterOptions, SlurmCluster, wait_until

pytestmark = pytest.mark.timeout(300)  # Slurm finds out about dead nodes in half a minute


def test_a_job_runs_and_its_end_is_seen(slurm: SlurmCluster, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    job = slurm.submit("hostname; echo $SLURMD_NODENAME; exit 3", "-o", str(out))
    slurm.wait_state(job, "FAILED")
    assert slurm.show(job)["ExitCode"] == "3:0"
    assert out.read_text().split()[1] in slurm.nodes


def test_ports_are_given_once() -> None:
    blocks = [claim_ports() for _ in range(5)]
    firsts = sorted(block.first for block in blocks)
    assert all(b - a >= BLOCK for a, b in pairwise(firsts))
    with pytest.raises(IndexError):
        blocks[0][BLOCK]
    for block in blocks:
        block.close()


def test_two_clusters_at_once(
    slurm: SlurmCluster, make_slurm: Callable[[ClusterOptions], SlurmCluster]
) -> None:
    other = make_slurm(ClusterOptions(nodes=1))
    assert other.root != slurm.root
    assert not slurm.processes() & other.processes()
    job = other.submit("sleep 300")
    other.wait_state(job, "RUNNING")
    assert slurm.jobs() == []


def test_the_controller_dies_and_comes_back(slurm: SlurmCluster) -> None:
    job = slurm.submit("sleep 300")
    slurm.wait_state(job, "RUNNING")
    slurm.stop_controller()
    assert not slurm.answers()
    slurm.start_controller()
    assert slurm.state(job) == "RUNNING"
    slurm.kill_controller()  # its state is written down since long
    slurm.start_controller()
    assert slurm.state(job) == "RUNNING"


def test_a_controller_that_crashes_forgets_jobs_and_gives_their_ids_again(
    slurm: SlurmCluster,
) -> None:
    for _ in range(20):
        jobs = [slurm.submit("sleep 300") for _ in range(3)]
        slurm.kill_controller()
        slurm.start_controller()
        if not slurm.state(jobs[-1]):
            break
    else:
        pytest.fail("its state was always written down in time")
    # It may have gone back further than these three: to any state that it had written down.
    assert int(slurm.submit("sleep 300")) <= int(jobs[-1])


def test_a_controller_that_hangs(slurm: SlurmCluster) -> None:
    slurm.pause_controller()
    with pytest.raises(subprocess.TimeoutExpired):
        slurm.run("squeue", within=1)
    slurm.continue_controller()
    assert slurm.answers()


@pytest.mark.long
def test_user_processes_outlive_a_killed_node(slurm: SlurmCluster) -> None:
    node = slurm.nodes[2]
    job = slurm.submit("sleep 300 & wait", "-w", node)
    wait_until(lambda: len(slurm.processes_of(job)) == 2, "the two processes of the job")
    orphans = slurm.processes_of(job)
    slurm.kill_node(node)
    assert slurm.processes_of(job) == orphans
    wait_until(lambda: "down" in slurm.node_states()[node], "a node that is known to be down")
    slurm.wait_state(job, "PENDING", "RUNNING")  # requeued, beside its orphan
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    slurm.start_node(node)
    wait_until(lambda: slurm.node_states()[node] in ("idle", "mixed"), "the node is back")


def test_nodes_go_down_and_drain(slurm: SlurmCluster) -> None:
    first, second = slurm.nodes[:2]
    job = slurm.submit("sleep 300", "-w", first, "--no-requeue")
    slurm.wait_state(job, "RUNNING")
    slurm.set_node(first, "down")
    slurm.wait_state(job, "NODE_FAIL")
    slurm.set_node(second, "drain")
    assert "drain" in slurm.node_states()[second]
    slurm.heal()
    assert set(slurm.node_states().values()) == {"idle"}


def test_time_limits_pass_quickly(slurm: SlurmCluster) -> None:
    job = slurm.submit("sleep 300", "-t", "10")
    slurm.end_in(job)
    slurm.wait_state(job, "TIMEOUT")


def test_healing_ends_jobs_and_starts_what_was_killed(slurm: SlurmCluster) -> None:
    for _ in range(3):
        slurm.submit("trap '' TERM; sleep 300", "-N", "2")
    slurm.submit("sleep 1", "--hold", "--array=0-9")
    slurm.kill_node(slurm.nodes[0])
    slurm.kill_controller()
    slurm.heal()
    assert slurm.jobs() == []
    assert set(slurm.node_states().values()) == {"idle"}


def test_accounting_works_and_its_daemon_can_be_killed(accounting_slurm: SlurmCluster) -> None:
    slurm = accounting_slurm
    job = slurm.submit("exit 7")
    slurm.wait_state(job, "FAILED")

    def row() -> str:
        return slurm.run("sacct", "-nPX", "-j", job, "-o", "State,ExitCode").stdout.strip()

    wait_until(lambda: row() == "FAILED|7:0", lambda: f"the row of the job, not {row()!r}")
    slurm.kill_database_daemon()
    lost = slurm.run("sacct", "-j", job, check=False)
    assert lost.returncode != 0  # the words depend on what it was doing at that moment
    assert not lost.stdout.strip()
    slurm.start_database_daemon()
    wait_until(lambda: row() == "FAILED|7:0", lambda: f"the row of the job, not {row()!r}")


def test_memory_limits_are_kept_where_control_groups_are(cgroup_slurm: SlurmCluster) -> None:
    greedy = f"exec '{sys.executable}' -S -c 'b = bytearray(300 << 20); print(len(b))'"
    job = cgroup_slurm.submit(greedy, "--mem=50M")
    cgroup_slurm.wait_state(job, "OUT_OF_MEMORY")


def test_jobs_that_are_frozen_end_with_their_cluster(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
) -> None:
    if not CGROUPS.is_dir():
        pytest.skip(f"this machine has no {CGROUPS}: version 1 of control groups, with memory")
    slurm = make_slurm(ClusterOptions(nodes=1, cgroups=True))
    job = slurm.submit("sleep 300")
    slurm.wait_state(job, "RUNNING")
    slurm.run("scontrol", "suspend", job)
    slurm.stop()
    assert not slurm.root.exists()
    assert not slurm.processes()


def test_commands_that_fail_say_why(slurm: SlurmCluster) -> None:
    with pytest.raises(ClusterError, match="Invalid partition name"):
        slurm.submit("true", "-p", "nope")
    with pytest.raises(ClusterError, match="in vain for: a miracle"):
        wait_until(lambda: False, "a miracle", within=0.1)


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = textwrap.dedent(
        f"""
        import sys, time, pathlib
        sys.path.insert(0, {str(Path(guardian.__file__).parent)!r})
        from slurm_cluster import ClusterOptions, SlurmCluster
        cluster = SlurmCluster(ClusterOptions(nodes=1))
        cluster.start()
        job = cluster.submit("trap '' TERM; sleep 300")
        cluster.wait_state(job, "RUNNING")
        pathlib.Path({str(told)!r}).write_text(str(cluster.root) + "\\n")
        time.sleep(300)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"), "a cluster")
        root = Path(told.read_text().strip())
        assert len(guardian.belonging(root)) >= 5
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not guardian.belonging(root) and not root.exists(), f"an end of {root}")
