"""Captures what the real commands print: `python tests/slurm/capture_corpus.py`.

It writes `corpus/VERSION`, which stays until somebody runs this with another version of Slurm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "testbed"))

from slurm_cluster import ClusterOptions, SlurmCluster, wait_until  # noqa: E402

from multirun_slurm import limits, parse  # noqa: E402

SQUEUE = ("squeue", "--me", "--noheader", "--array", "--states=all", "-O", parse.queue_format())
SACCT = ("sacct", "--noheader", "--parsable2", "-o", ",".join(parse.ACCOUNT_FIELDS))
GREEDY = f"'{sys.executable}' -S -c 'b = bytearray(300 << 20); print(len(b))'"


def many_states(slurm: SlurmCluster) -> dict[str, str]:
    """Submit what ends in each way; return ids by what they are for."""
    slurm.submit("true", "--job-name=no ext|ra\n12_0|RUNNING|None|0|0|n1|odd|")
    jobs = {
        "completed": slurm.submit("true"),
        "failed": slurm.submit("exit 7"),
        "unreachable": slurm.submit("exit 74"),
        "killed": slurm.submit("kill -9 $$"),
        "no_directory": slurm.submit("true", "-o", "/nowhere/out"),
        "memory": slurm.submit(GREEDY, "--mem=50M"),
        "memory_step": slurm.submit(f"srun -n1 --mpi=none {GREEDY}; exit 1", "--mem=50M"),
        "array": slurm.submit("true", "--array=0-3"),
        "timeout": slurm.submit("sleep 300", "-t", "10"),
        "cancelled": slurm.submit("sleep 300"),
        "preempted": slurm.submit("sleep 300", "-p", "low", "-w", slurm.nodes[1], "--exclusive"),
    }
    slurm.wait_state(jobs["preempted"], "RUNNING")
    slurm.submit("true", "-p", "high", "-w", slurm.nodes[1], "--exclusive")
    slurm.wait_state(jobs["cancelled"], "RUNNING")
    slurm.run("scancel", jobs["cancelled"])
    slurm.end_in(jobs["timeout"])
    slurm.wait_state(jobs["preempted"], "PREEMPTED")
    slurm.wait_state(jobs["timeout"], "TIMEOUT")
    slurm.wait_idle()
    jobs["node_fail"] = slurm.submit("sleep 300", "-w", slurm.nodes[0], "--no-requeue")
    slurm.wait_state(jobs["node_fail"], "RUNNING")
    slurm.set_node(slurm.nodes[0], "down")
    slurm.wait_state(jobs["node_fail"], "NODE_FAIL")
    slurm.heal()
    jobs["requeued"] = slurm.submit("sleep 300", "--requeue")
    slurm.wait_state(jobs["requeued"], "RUNNING")
    slurm.run("scontrol", "requeue", jobs["requeued"])
    jobs |= {
        "never_depends": slurm.submit("true", f"--dependency=afterok:{jobs['failed']}"),
        "never_time": slurm.submit("true", "-p", "short", "-t", "100"),
        "never_cpus": slurm.submit("true", "-c", "1000"),
        "held": slurm.submit("true", "--hold"),
        "later": slurm.submit("true", "--begin=now+1hour"),
        "throttled": slurm.submit("sleep 300", "--array=0-3%1"),
        "suspended": slurm.submit("sleep 300"),
    }
    slurm.wait_state(jobs["suspended"], "RUNNING")
    slurm.run("scontrol", "suspend", jobs["suspended"])
    slurm.wait_state(jobs["never_cpus"], "PENDING")

    def reasons() -> str:
        return slurm.run(*SQUEUE).stdout

    wait_until(lambda: "PartitionTimeLimit" in reasons(), "all reasons")
    wait_until(lambda: "PartitionConfig" in reasons(), "all reasons")
    wait_until(lambda: "DependencyNeverSatisfied" in reasons(), "all reasons")
    wait_until(lambda: "JobArrayTaskLimit" in reasons(), "all reasons")
    return jobs


def refused(slurm: SlurmCluster, *arguments: str) -> str:
    done = slurm.run("sbatch", "--parsable", *arguments, stdin="#!/bin/sh\ntrue\n", check=False)
    return done.stderr


def capture_limits(keep: Callable[[str, str], None]) -> None:
    """Capture what a cluster says that allows few jobs."""
    limited = SlurmCluster(
        ClusterOptions(nodes=1, max_jobs=5, accounting=True, enforce="associations,limits")
    )
    limited.start()
    try:
        limited.run(
            "sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=3", "MaxWall=2-0"
        )
        keep("sacctmgr-assoc", limited.run(*limits.associations("root")).stdout)
        keep("sacctmgr-qos", limited.run(*limits.QOS).stdout)
        wait_until(lambda: "policy" in refused(limited, "--array=0-3"), "a limit on jobs")
        keep("refused-submit-limit", refused(limited, "--array=0-3"))
        limited.run("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")
        wait_until(lambda: "policy" not in refused(limited, "--hold", "--array=0-3"), "no limit")
        # sbatch tries again until it is killed.
        hangs = ("timeout", "5", "sbatch", "--parsable", "--array=0-9")
        done = limited.run(*hangs, stdin="#!/bin/sh\ntrue\n", check=False)
        keep("refused-job-count", done.stderr)
    finally:
        limited.stop()


def main() -> int:
    options = ClusterOptions(
        nodes=2,
        accounting=True,
        cgroups=True,
        max_array=101,
        partitions=(
            "low Nodes=ALL PriorityTier=1 PreemptMode=CANCEL MaxNodes=1",
            "high Nodes=ALL PriorityTier=10 MinNodes=1 MaxNodes=2",
        ),
        extra=("PreemptType=preempt/partition_prio", "PreemptMode=CANCEL"),
    )
    slurm = SlurmCluster(options)
    slurm.start()
    try:
        version = slurm.run("sinfo", "--version").stdout.split()[1]
        place = HERE / "corpus" / ".".join(version.split(".")[:2])
        place.mkdir(parents=True, exist_ok=True)

        def keep(name: str, text: str) -> None:
            text = text.replace(str(slurm.root), "/somewhere").replace(slurm.nodes[0][:-1], "n")
            (place / f"{name}.txt").write_text(text)

        jobs = many_states(slurm)
        keep("jobs", "".join(f"{key} {job}\n" for key, job in jobs.items()))
        keep("squeue", slurm.run(*SQUEUE).stdout)
        keep("squeue-no-r", slurm.run(*(one for one in SQUEUE if one != "--array")).stdout)
        keep("sacct", slurm.run(*SACCT).stdout)
        keep("scontrol-config", slurm.run(*limits.CONFIG).stdout)
        keep("sinfo", slurm.run(*limits.PARTITIONS).stdout)
        keep("scontrol-partition", slurm.run(*limits.DEFAULTS).stdout)
        keep("sbatch", slurm.run("sbatch", stdin="#!/bin/sh\ntrue\n").stdout)
        keep("sbatch-parsable", slurm.run("sbatch", "--parsable", stdin="#!/bin/sh\n").stdout)
        keep("refused-partition", refused(slurm, "-p", "nope"))
        keep("refused-memory", refused(slurm, "--mem=900G"))
        keep("refused-gres", refused(slurm, "--gres=gpu:1"))
        keep("refused-node", refused(slurm, "-w", "n9"))
        keep("refused-array", refused(slurm, "--array=0-101"))
        keep("refused-constraint", refused(slurm, "-C", "none"))
        keep("squeue-gone", slurm.run("squeue", "-j", "424242", check=False).stderr)
        slurm.stop_controller()
        keep("refused-away", refused(slurm))
        keep("squeue-away", slurm.run(*SQUEUE, check=False).stderr)
    finally:
        slurm.stop()
    capture_limits(keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
