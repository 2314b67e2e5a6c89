"""What can happen to a cluster while a sweep is out; on real ones, with real faults."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep.abandoned import end_left
from multirun_slurm.parse import TOLD_TO_END
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POST,
    QUICK,
    InThread,
    began,
    call,
    executions,
    job_ids,
    start_driver,
    told,
    wait_until,
)
from sweeps import events

from multirun_core import Sweep


def use(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    return use(slurm, monkeypatch)


def until(go: Path) -> str:
    return f"until test -e {go}; do sleep 0.1; done; "


def node_of(root: Path, cluster: SlurmCluster) -> str:
    """Return the node on which the first job of a sweep runs."""
    [job] = job_ids(root)
    return wait_until(lambda: cluster.show(job).get("NodeList", "(null)"), "a node")


@pytest.mark.long
def test_an_interrupted_driver_without_a_controller_gives_up_and_is_followed_by_another(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    driver = start_driver(root, BEGIN + until(go) + POST, 3, options={"grace": 1.0})
    wait_until(began(root, 3), "three runs")
    cluster.stop_controller()
    driver.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(5)  # the controller may come back
    driver.send_signal(signal.SIGINT)
    driver.wait(60)
    cluster.start_controller()
    go.touch()
    done = call(root, BEGIN + until(go) + POST, 3)
    assert done.results == [1, 1, 1], told(done)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}


def test_runs_end_while_the_controller_is_away(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Their records are there, so nobody has to be asked."""
    root, go = tmp_path / "s", tmp_path / "go"
    sweep = InThread(root, BEGIN + until(go) + POST, 3)
    wait_until(began(root, 3), "three runs")
    cluster.stop_controller()
    go.touch()
    done = sweep.result()
    assert done.results == [1, 1, 1], told(done)


def test_jobs_are_submitted_when_the_controller_is_back(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    cluster.stop_controller()
    sweep = InThread(root, BEGIN + POST, 2)
    wait_until(lambda: list(root.glob("jobs/*/complaint")), "a submission in vain")
    cluster.start_controller()
    done = sweep.result()
    assert done.results == [1, 1], told(done)
    assert dict(executions(root)) == {0: 1, 1: 1}


@pytest.mark.parametrize("more", [[], pytest.param(["--requeue"], marks=pytest.mark.long)], ids=str)
@pytest.mark.long
def test_an_orphan_of_a_lost_node_counts_for_nothing(
    more: list[str], cluster: SlurmCluster, tmp_path: Path
) -> None:
    """slurmd is killed, its users' processes live on: they post, and end with 0, too late."""
    root, go = tmp_path / "s", tmp_path / "go"
    slow = 'if test "$MULTIRUN_ATTEMPT" = 1; then ' + until(go) + "fi; "
    python = (
        "from multirun_core import postRunResults; import os; "
        "postRunResults(int(os.environ['MULTIRUN_ATTEMPT']))"
    )

    script = (
        BEGIN
        + slow
        + f'"{sys.executable}" -c "{python}"; touch {tmp_path}/posted-$MULTIRUN_ATTEMPT; '
    )
    script += f"test $MULTIRUN_ATTEMPT = 1 || until test -e {tmp_path}/posted-1; do sleep 0.1; done"
    options = {"infrastructure_retries": 2, "sbatch_args": more}
    sweep = InThread(root, script, 1, options=options)
    wait_until(began(root), "the run")
    cluster.kill_node(node_of(root, cluster))
    wait_until(lambda: (tmp_path / "posted-2").exists(), "the second attempt", within=180)
    go.touch()  # now the orphan posts, while the second attempt goes on
    done = sweep.result()
    assert [(run.status, run.attempts, run.result) for run in done.runs] == [("success", 2, 2)]
    ends = [e for e in events(root) if e["event"] == "end"]
    assert [(e["attempt"], e.get("reason")) for e in ends] == [(1, "node_fail"), (2, None)]


@pytest.mark.long
def test_an_orphan_cannot_write_where_a_later_attempt_does(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """By attempt_dirs, whatever it writes, and under whatever name."""
    root = tmp_path / "s"
    script = (
        f'n=$MULTIRUN_ATTEMPT; touch {tmp_path}/up-$n; if test "$n" = 1; then '
        f"until test -e {tmp_path}/up-2; do sleep 0.1; done; sleep 1; echo 1 > data; "
        f"touch {tmp_path}/done-1; else echo 2 > data; "
        f"until test -e {tmp_path}/done-1; do sleep 0.1; done; fi; " + POST
    )
    sweep = InThread(root, script, 1, options={"attempt_dirs": True, "infrastructure_retries": 2})
    wait_until((tmp_path / "up-1").exists, "the run")
    cluster.kill_node(node_of(root, cluster))
    done = sweep.result()
    assert [(run.status, run.attempts, run.result) for run in done.runs] == [("success", 2, 2)]
    assert (done.runs[0].cwd / "data").read_text() == "2\n"
    assert (tmp_path / "done-1").exists()


def test_a_node_that_goes_down_costs_an_attempt_that_is_excused(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    slow = 'test "$MULTIRUN_ATTEMPT" -gt 1 || exec sleep 300; '
    sweep = InThread(root, BEGIN + slow + POST)
    wait_until(began(root), "the run")
    cluster.set_node(node_of(root, cluster), "down")
    done = sweep.result()
    assert [(run.status, run.attempts, run.result) for run in done.runs] == [("success", 2, 2)]
    ends = [e for e in events(root) if e["event"] == "end"]
    assert ends[0]["reason"] == "node_fail", ends


def test_a_job_that_slurm_starts_anew_is_a_new_attempt(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """Where --requeue is asked for: the job leaves, and the driver begins anew."""
    root = tmp_path / "s"
    slow = 'test "$MULTIRUN_ATTEMPT" -gt 1 || exec sleep 300; '
    sweep = InThread(root, BEGIN + slow + POST, options={"sbatch_args": ["--requeue"]})
    wait_until(began(root), "the run")
    cluster.run("scontrol", "requeue", job_ids(root)[0])
    done = sweep.result()
    assert [(run.status, run.attempts, run.result) for run in done.runs] == [("success", 2, 2)]


def test_a_job_that_was_put_back_is_not_left_in_the_queue(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """The sweep is over by that verdict, and nobody would wait for the job."""
    root = tmp_path / "s"
    options = {"sbatch_args": ["--requeue"], "infrastructure_retries": 0}
    sweep = InThread(root, BEGIN + "sleep 300", options=options)
    wait_until(began(root), "the run")
    (job,) = job_ids(root)
    cluster.run("scontrol", "requeue", job)
    done = sweep.result()
    assert [(run.status, run.attempts) for run in done.runs] == [("failure", 1)], told(done)
    cluster.wait_state(job, "CANCELLED")
    assert cluster.jobs() == []


def test_a_job_waits_while_its_node_is_drained(
    cluster: SlurmCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "multirun.runner")
    root = tmp_path / "s"
    cluster.set_node("n1", "drain")
    sweep = InThread(root, BEGIN + POST, options={"nodelist": "n1"})
    wait_until(lambda: job_ids(root), "the job")
    (job,) = job_ids(root)
    wait_until(lambda: f"Slurm job {job} waits: nodes that" in caplog.text, "its reason")
    assert cluster.show(job)["JobState"] == "PENDING"
    assert Sweep.open(root).statistics.pending_count == 1
    cluster.set_node("n1", "resume")
    done = sweep.result()
    assert done.results == [1], told(done)


def test_a_job_that_cannot_start_is_told_once_while_it_waits(
    cluster: SlurmCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "s"
    runner = SlurmRunner(**QUICK, sbatch_args=["--hold"])
    sweep = InThread(root, BEGIN + POST, 2, runner=runner)
    wait_until(lambda: "cannot start" in caplog.text, "a warning")
    asked = runner.calls["status"]
    wait_until(lambda: runner.calls["status"] >= asked + 3, "further polls")
    (job,) = job_ids(root)
    cluster.run("scontrol", "release", job)
    done = sweep.result()
    assert done.results == [1, 1], told(done)
    said = [one for one in caplog.records if "cannot start" in one.message]
    assert [one.levelname for one in said] == ["WARNING"]
    assert said[0].message.startswith(f"Slurm job {job} cannot start: it is held by its owner; ")


def test_what_somebody_else_cancels_is_cancelled(cluster: SlurmCluster, tmp_path: Path) -> None:
    root = tmp_path / "s"
    sweep = InThread(root, BEGIN + 'test "$MULTIRUN_PARAM_N" = 0 || exec sleep 300; ' + POST, 2)
    wait_until(began(root, 2), "two runs")
    job = f"{job_ids(root)[0]}_1"
    cluster.run("scancel", job)
    done = sweep.result()
    assert cluster.show(job)["ExitCode"] == f"{TOLD_TO_END}:0", "it differs from one not begun"
    assert [(run.status, run.reason) for run in done.runs] == [
        ("success", None),
        ("failure", "cancelled"),
    ], told(done)


@pytest.mark.long
def test_the_time_limit_of_slurm_is_a_timeout_and_more_is_asked_for(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    script = BEGIN + 'test "$MULTIRUN_ATTEMPT" = 2 || exec sleep 300; ' + POST
    options = {"time": 5, "retry_scale": {"time": 2}}
    sweep = InThread(root, script, options=options, retries=1)
    wait_until(began(root), "the run")
    (first,) = job_ids(root)
    cluster.end_in(first)
    done = sweep.result()
    ends = [e for e in events(root) if e["event"] == "end"]
    assert [(e["attempt"], e.get("reason")) for e in ends] == [(1, "timeout"), (2, None)]
    assert done.results == [2], told(done)
    (second,) = {*job_ids(root)} - {first}
    assert cluster.show(second)["TimeLimit"] == "00:10:00"


def test_too_much_memory_is_told_and_more_is_asked_for(
    cgroup_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(cgroup_slurm, monkeypatch)
    greedy = "head -c 150000000 /dev/zero | tail > /dev/null && "
    ways: dict[str, dict[str, Any]] = {
        "option": {"options": {"mem": "100M"}},
        "resources": {"resources": lambda params: {"memory": "100MiB"}},
        "default": {},  # 100 MiB for each CPU
    }
    for way, given in ways.items():
        root, options = tmp_path / way, given.pop("options", {}) | {"retry_scale": {"mem": 4}}
        done = call(root, BEGIN + greedy + POST, options=options, retries=1, **given)
        assert [(run.status, run.attempts) for run in done.runs] == [("success", 2)], told(done)
        ends = [e for e in events(root) if e["event"] == "end"]
        assert ends[0]["reason"] == "out_of_memory", ends


def test_a_packed_job_that_runs_out_of_memory_costs_no_run_that_has_ended(
    cgroup_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run takes it all, and the kernel kills what carries the runs before it kills that one."""
    use(cgroup_slurm, monkeypatch)
    greedy = (
        'if test "$MULTIRUN_ATTEMPT$MULTIRUN_PARAM_N" = 13; then '
        "until test -e ../000001/results.json; do sleep 0.1; done; sleep 1; "
        'p=$PPID; while test "$(cat /proc/$p/comm)" = sh; do echo 1000 > /proc/$p/oom_score_adj; '
        "p=$(cut -d ' ' -f 4 /proc/$p/stat); done; "
        "head -c 400000000 /dev/zero | tail > /dev/null; fi; "
    )
    options = {"mem": "20M", "pack": 6, "pack_cpus": 2}
    done = call(tmp_path / "s", BEGIN + greedy + POST, 6, options=options)
    assert all(run.status == "success" for run in done.runs), told(done)
    counts = executions(tmp_path / "s")
    assert counts[0] == counts[1] == counts[2] == 1
    assert counts[3] == 2
    (end,) = [e for e in events(tmp_path / "s") if e["event"] == "end" and "message" in e]
    assert "had not enough memory; it is tried again alone" in end["message"]


def test_cancelling_without_a_driver_ends_all_jobs(cluster: SlurmCluster, tmp_path: Path) -> None:
    root = tmp_path / "s"
    driver = start_driver(root, BEGIN + "sleep 300", 3)
    wait_until(began(root, 3), "three runs")
    driver.kill()
    driver.wait()
    sweep = end_left(root, progress=False)
    assert cluster.jobs() == []
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "cancelled")] * 3
