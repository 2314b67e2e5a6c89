"""Runs that are warned, or lose their node, carry on from checkpoints, as the how-to's program."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from login_node import LoginNode
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_fixtures import Clusters
from slurm_sweeps import BEGIN, POST, QUICK, InThread, began, executions, job_ids, told, wait_until
from sweeps import events

from multirun_core import Sweep, multirun

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "slurm.md"


class Marathon:
    """A sweep of the program of the page, in a thread."""

    def __init__(self, folder: Path, count: int, steps: int, **options: Any) -> None:
        text = PAGE.read_text().partition("<!-- file: marathon.py -->\n```python\n")[2]
        program = folder / "marathon.py"
        program.write_text(text.partition("```")[0])
        self.root = folder / "s"
        self.done: list[Sweep] = []
        call = {
            "runs": [{"seed": seed, "steps": steps} for seed in range(count)],
            "cmd": [sys.executable, "marathon.py"],
            "input_files": [program],
            "checkpoints": "checkpoint",
            "output_path": self.root,
            "runner": "slurm",
            "runner_options": {**QUICK, **options},
            "progress": False,
        }
        self._thread = threading.Thread(
            target=lambda: self.done.append(multirun(**call)), daemon=True
        )
        self._thread.start()

    def result(self) -> Sweep:
        self._thread.join(150)
        assert self.done, "the sweep does not come to its end"
        return self.done[0]

    def saved(self, folder: Path | None = None) -> int:
        """Return how many runs have left a checkpoint."""
        return len(list((folder or self.root / "runs").glob("*/checkpoint/step.json")))


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


@pytest.mark.long
def test_runs_that_are_warned_leave_a_checkpoint(cluster: SlurmCluster, tmp_path: Path) -> None:
    """What Slurm sends to a job's script reaches all of its runs; the next attempts carry on."""
    options = {"time": 5, "signal": "USR1@60", "retries": 3, "pack": 2, "pack_cpus": 2}
    marathon = Marathon(tmp_path, 2, 20, **options)
    wait_until(lambda: marathon.saved() == 2, "two checkpoints")
    (job,) = job_ids(marathon.root)
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    done = marathon.result()
    assert [run.result["steps"] for run in done.runs] == [20, 20], told(done)
    assert [run.attempts for run in done.runs] == [2, 2]
    assert all(run.result["begun_at"] >= 5 for run in done.runs)


@pytest.mark.long
@pytest.mark.parametrize("pack", [1, 2])
def test_slurm_warns_before_the_time_is_up(
    pack: int, cluster: SlurmCluster, tmp_path: Path
) -> None:
    options = {"time": 5, "signal": "USR1@60", "retries": 3, "pack": pack, "pack_cpus": pack}
    marathon = Marathon(tmp_path, 2, 60, **options)
    wait_until(lambda: marathon.saved() == 2, "two checkpoints")
    soon = datetime.now() + timedelta(seconds=55)
    for job in job_ids(marathon.root):
        cluster.run("scontrol", "update", f"jobid={job}", f"EndTime={soon:%Y-%m-%dT%H:%M:%S}")
    done = marathon.result()
    assert [run.result["steps"] for run in done.runs] == [60, 60], told(done)
    assert [run.attempts for run in done.runs] == [2, 2]
    assert all(run.result["begun_at"] >= 5 for run in done.runs)


@pytest.mark.parametrize(
    "how",
    ["here", *(pytest.param(one, marks=pytest.mark.long) for one in ("attempt_dirs", "login"))],
)
@pytest.mark.long
def test_a_run_whose_node_fails_carries_on(
    how: str, cluster: SlurmCluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    options: dict[str, Any] = {"attempt_dirs": True} if how == "attempt_dirs" else {}
    home = tmp_path
    if how == "login":
        node: LoginNode = request.getfixturevalue("login_node")
        options, home = node.options, node.home
    marathon = Marathon(tmp_path, 1, 20, **options)

    def saved() -> bool:
        there = home.glob(".cache/multirun/*/runs")
        return any(map(marathon.saved, [None, marathon.root / "attempts" / "runs", *there]))

    wait_until(saved, "a checkpoint")
    (job,) = job_ids(marathon.root)
    cluster.set_node(cluster.show(job)["NodeList"], "down")
    done = marathon.result()
    (run,) = done.runs
    assert run.result["steps"] == 20, told(done)
    assert run.result["begun_at"] >= 5
    assert run.attempts == 2


@pytest.fixture(params=[False])
def preempting(
    request: pytest.FixtureRequest, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """Yield a node on which jobs of one partition are ended for those of another.

    The parameter says whether they are given notice, and 30 seconds, as of the how-to.
    """
    grace = " GraceTime=30" if request.param else ""
    notice = ["SlurmctldParameters=preempt_send_user_signal"] if request.param else []
    options = ClusterOptions(
        nodes=1,
        partitions=(
            f"low Nodes=ALL PriorityTier=1 PreemptMode=CANCEL{grace}",
            "high Nodes=ALL PriorityTier=10",
        ),
        extra=("PreemptType=preempt/partition_prio", "PreemptMode=CANCEL", *notice),
    )
    for cluster in clusters.lend(options):
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        yield cluster


@pytest.mark.parametrize("pack", [1, 2])
def test_runs_whose_job_is_preempted_are_tried_again(
    pack: int, preempting: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    slow = 'test "$MULTIRUN_ATTEMPT" -gt 1 || exec sleep 300; '
    options = {"partition": "low", "pack": pack, "pack_cpus": pack}
    sweep = InThread(root, BEGIN + slow + POST, 2, options=options)
    wait_until(began(root, 2), "two runs")
    first = preempting.submit("true", "-p", "high", "--exclusive")
    preempting.wait_state(first, "COMPLETED")
    done = sweep.result()
    assert done.results == [2, 2], told(done)
    assert dict(executions(root)) == {0: 2, 1: 2}
    ends = [(e["attempt"], e.get("reason")) for e in events(root) if e["event"] == "end"]
    assert sorted(ends, key=str) == [(1, "preempted")] * 2 + [(2, None)] * 2
    jobs = {preempting.state(job) for job in job_ids(root)}
    assert jobs == {"PREEMPTED", "COMPLETED"}


@pytest.mark.long
@pytest.mark.parametrize("preempting", [True], indirect=True)
def test_runs_are_warned_of_preemption_where_the_cluster_gives_notice(
    preempting: SlurmCluster, tmp_path: Path
) -> None:
    options = {"partition": "low", "time": 60, "signal": "USR1@60", "retries": 1}
    marathon = Marathon(tmp_path, 1, 20, **options)
    wait_until(lambda: marathon.saved() == 1, "a checkpoint")
    preempting.submit("true", "-p", "high", "--exclusive")
    done = marathon.result()
    (run,) = done.runs
    assert (run.attempts, run.result["steps"]) == (2, 20), told(done)
    assert run.result["begun_at"] >= 5
    ends = [
        (e["attempt"], e.get("exit_code")) for e in events(marathon.root) if e["event"] == "end"
    ]
    assert ends == [(1, 75), (2, 0)]
