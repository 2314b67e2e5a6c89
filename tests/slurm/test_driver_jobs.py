"""Drivers that were sent to the cluster as jobs and have not begun; on a real cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from multirun_core._sweep import cleaning, segment
from multirun_core._transport.process import ProcessId
from multirun_core.errors import SweepLockedError
from multirun_slurm.drivers import sent
from multirun_slurm.job import JobOptions
from multirun_slurm.limits import Limits, Partition
from multirun_slurm.sending import driver_job, submission_of
from slurm_cluster import SlurmCluster
from slurm_sweeps import BEGIN, POST, InThread, call, executions, told, wait_until
from sweeps import events

from multirun_core import Sweep
from multirun_core import multirun as run


@pytest.fixture
def cluster(slurm: SlurmCluster) -> SlurmCluster:
    """Return a cluster all of whose nodes are drained, so that what is submitted waits."""
    for node in slurm.nodes:
        slurm.set_node(node, "drain")
    return slurm


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that stands for a driver elsewhere."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def undrain(cluster: SlurmCluster) -> None:
    for node in cluster.nodes:
        cluster.set_node(node, "resume")


def multirun(
    cluster: SlurmCluster, *arguments: object, check: bool = True
) -> subprocess.CompletedProcess[str]:
    return cluster.run(sys.executable, "-m", "multirun_core", *map(str, arguments), check=check)


def send(cluster: SlurmCluster, root: Path) -> str:
    """Have a sweep of four runs driven by a job, whose id is told; return that."""
    options = ("-r", "slurm", "-R", "driver=job", "-R", "poll_interval=0.5", "-o", root)
    sweep = ("-p", "n=0,1,2,3", "--", "sh", "-c", BEGIN + POST)
    said = multirun(cluster, "run", *options, *sweep)
    (job,) = cluster.jobs()
    assert f"driven by Slurm job {job};" in said.stderr
    return job


def rewrite(root: Path, options: dict[str, object]) -> None:
    """Have a sweep say that Slurm runs it, with these options."""
    told = root / "multirun.json"
    manifest = json.loads(told.read_text())
    manifest["runner"] = {"name": "slurm", "options": options}
    told.write_text(json.dumps(manifest))


def marked(root: Path) -> Path:
    """Have a sweep say that a driver was sent for it, without any; return the file that does."""
    rewrite(root, {"driver": "job"})
    mark = root / "jobs" / "0123456789ab" / "driver"
    mark.parent.mkdir(parents=True)
    mark.touch()
    mark.with_name("answer").write_text("42\n")
    return mark


def statuses(root: Path) -> set[str]:
    return {run.status for run in Sweep.open(root).runs}


def test_a_driver_that_waits_is_not_sent_again_keeps_its_sweep_and_is_cancelled(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "s w"
    job = send(cluster, root)
    reason = lambda: cluster.show(job)["Reason"].startswith("Nodes_required")  # noqa: E731
    wait_until(reason, lambda: f"a reason: {cluster.show(job)}")
    said = multirun(cluster, "status", root)
    assert f"has ended; Slurm job {job} is to drive this sweep" in said.stdout
    assert "carries on" not in said.stdout
    said = multirun(cluster, "resume", root)
    assert f"Slurm job {job} waits in the queue to drive this sweep" in said.stderr
    assert "no other is submitted: nodes that could hold it are down, drained" in said.stderr
    assert cluster.jobs() == [job]
    before = sorted(root.rglob("*"))
    for how in ((), ("--keep", "results")):
        said = multirun(cluster, "clean", root, "--yes", *how, check=False)
        assert (said.returncode, cluster.jobs()) == (2, [job]), said.stderr
        assert f"Slurm job {job} is to drive this sweep" in said.stderr
        assert "end that with multirun cancel" in said.stderr
    assert sorted(root.rglob("*")) == before
    said = multirun(cluster, "cancel", root, 3, check=False)
    assert (said.returncode, cluster.jobs()) == (2, [job]), said.stderr
    said = multirun(cluster, "cancel", root)
    assert f"Slurm job {job} is not in the queue any more" in said.stdout
    assert cluster.jobs() == []
    assert cluster.state(job) == "CANCELLED"
    assert (dict(executions(root)), statuses(root)) == ({}, {"pending"})
    said = multirun(cluster, "cancel", root, check=False)
    assert "There is nothing to cancel" in said.stderr
    multirun(cluster, "clean", root, "--yes")
    assert not root.exists()


def test_a_driver_that_is_sent_executes_the_runs_that_were_chosen_last(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    root, ok = tmp_path / "s", tmp_path / "ok"
    script = f"{BEGIN} [ $MULTIRUN_INDEX = 0 ] || test -e {ok}$SEED || exit 3; {POST}"
    call(root, script, 4, runner="local")
    ok.with_name("ok2").touch()
    jobs: list[str] = []
    for chosen, seed in (([1, 2], "2"), ([2], "1"), ([2], "2"), ([2], "2")):
        call(root, script, 4, options={"driver": "job"}, rerun=chosen, env={"SEED": seed})
        (job,) = cluster.jobs()
        jobs.append(job)
    assert (len(set(jobs)), jobs[3]) == (3, jobs[2])  # the last one was there already
    assert {cluster.state(job) for job in jobs[:2]} == {"CANCELLED"}
    assert not any(b"SEED" in path.read_bytes() for path in root.glob("jobs/*/*"))
    undrain(cluster)
    cluster.wait_state(jobs[3], "COMPLETED", "FAILED")
    sweep = Sweep.open(root)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 2, 3: 1}, told(sweep)
    assert [run.status for run in sweep.runs] == ["success", "failure", "success", "failure"]
    assert sent(root) == []


@pytest.mark.parametrize("only", [None, ",".join(["0"] * 100_000)])
def test_a_driver_that_is_sent_finds_the_runs_that_were_chosen_in_a_file(
    tmp_path: Path, only: str | None
) -> None:
    """So many would make no argument. Where nothing is left to do, its mark goes all the same."""
    root = tmp_path / "a 's"
    run(runs=[{"n": 1}], cmd=["true"], output_path=root, progress=False)
    rewrite(root, {"driver": "job"})
    place, other = (root / "jobs" / name for name in ("1a", "1b"))
    job = driver_job(
        root, submission_of(place), JobOptions(), Limits(), chosen_only=only is not None
    )
    for one in (place, other):
        one.mkdir(parents=True)
        (one / "driver").touch()
    if only is not None:
        (place / "only").write_text(only)
    assert len(sent(root)) == 2
    done = subprocess.run(["sh", "-c", job.body], capture_output=True, text=True, check=False)
    left = [one.mark.parent for one in sent(root)]
    assert (done.returncode, left) == (0, [other]), done.stderr
    if only is not None:
        (place / "only").write_text("0,1")
        done = subprocess.run(["sh", "-c", job.body], capture_output=True, text=True, check=False)
        assert (done.returncode, "only asks for run 1" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("how", ["resume", "cancel"])
def test_a_driver_that_has_started_but_may_not_begin_is_ended(
    how: str, cluster: SlurmCluster, tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    """Somebody else holds the sweep; the job waits for that, and then another driver is first."""
    root = tmp_path / "s"
    job = send(cluster, root)
    process = ProcessId.of(other.pid)
    assert process is not None
    first = {"event": "driver", "time": time.time(), "process": process.to_json()}
    segment.create(root / "journal", 2, first)
    undrain(cluster)
    cluster.wait_state(job, "RUNNING")
    other.kill()
    other.wait()
    multirun(cluster, how, root)
    assert cluster.state(job) == "CANCELLED"
    if how == "resume":
        # While it is driven, files come and go.
        over = lambda: events(root)[-1].get("outcome") == "done"  # noqa: E731
        wait_until(over, lambda: f"all runs: {events(root)}")
        assert statuses(root) == {"success"}
    assert dict(executions(root)) == (dict.fromkeys(range(4), 1) if how == "resume" else {})


def test_a_sweep_is_watched_while_a_driver_is_to_come(tmp_path: Path) -> None:
    root = tmp_path / "s"
    run(runs=[{"n": 1}], cmd=["false"], output_path=root, progress=False)
    mark = marked(root)
    words = (sys.executable, "-m", "multirun_core", "status", root, "--watch")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        for job in range(42, 45):  # two looks do not make a watch
            (aside := mark.with_name("aside")).write_text(f"{job}\n")
            aside.replace(mark.with_name("answer"))
            while f"has ended; Slurm job {job} is to drive" not in watching.stdout.readline():
                assert watching.poll() is None
        mark.unlink()
        assert "has ended; multirun resume carries on with 1 runs" in watching.stdout.read()
    assert watching.returncode == 0


def test_a_driver_that_is_sent_just_before_its_sweep_is_claimed_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "s"
    run(runs=[{"n": 1}], cmd=["true"], output_path=root, progress=False)
    mark = marked(root)
    monkeypatch.setattr(cleaning, "check_cleanable", lambda root: None)
    for work in (cleaning.remove_sweep, lambda path: cleaning.thin_sweep(path, "results")):
        with pytest.raises(SweepLockedError, match="Slurm job 42 is to drive this sweep"):
            work(root)
        assert mark.exists()
        assert statuses(root) == {"success"}
    rewrite(root, {"of_another_version": True})  # so that nobody can tell
    cleaning.remove_sweep(root)
    assert not root.exists()


def test_a_driver_asks_for_no_more_time_than_it_may_have(tmp_path: Path) -> None:
    root, day = tmp_path / "s", 1440.0
    run(runs=[{"n": 1}], cmd=["true"], output_path=root, progress=False)
    partitions = (Partition("main", True, 3 * day, ()), Partition("short", False, 60, ()))

    def days(cluster: Limits, default: str | None = None) -> float:
        submission = submission_of(root / "jobs" / "1a")
        job = driver_job(root, submission, JobOptions(), cluster, default=default)
        assert job.seconds is not None
        return job.seconds / 86400

    assert days(Limits()) == 7
    assert days(Limits(partitions=partitions)) == 3
    assert days(Limits(partitions=partitions, minutes=2 * day)) == 2
    assert days(Limits(partitions=partitions, minutes=4 * day)) == 3
    assert days(Limits(partitions=partitions, minutes=2 * day), default="short") == 1 / 24
    assert days(Limits(minutes=day)) == 1


def test_a_driver_that_waits_is_ended_where_the_sweep_is_driven_here(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would execute once more what fails here, and with another runner nobody would find it."""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SBATCH_PARTITION", "short")
    root = tmp_path / "s"
    script = f"{BEGIN} [ $MULTIRUN_INDEX = 0 ] || exit 3; {POST}"
    call(root, script, 2, options={"driver": "job"})
    (job,) = cluster.jobs()
    told = cluster.show(job)
    assert (told["Partition"], told["TimeLimit"]) == ("short", "00:01:00")
    with pytest.raises(SweepLockedError, match=f"Slurm job {job} is to drive this sweep"):
        call(root, script, 2, runner="local")
    assert cluster.jobs() == [job]
    sweep = InThread(root, script, 2)
    cluster.wait_state(job, "CANCELLED")
    undrain(cluster)
    done = sweep.result()
    assert [one.status for one in done.runs] == ["success", "failure"]
    assert (cluster.jobs(), sent(root), dict(executions(root))) == ([], [], {0: 1, 1: 1})


def test_of_several_drivers_that_wait_one_is_kept(cluster: SlurmCluster, tmp_path: Path) -> None:
    root = tmp_path / "s"
    job = send(cluster, root)
    other = cluster.submit("true", "--job-name=multirun-driver-ffffffffffff")
    place = root / "jobs" / "ffffffffffff"
    shutil.copytree(sent(root)[0].mark.parent, place)
    (place / "answer").write_text(f"{other}\n")
    assert f"Slurm job {job} waits in the queue" in multirun(cluster, "resume", root).stderr
    assert (cluster.jobs(), len(sent(root))) == ([job], 1)
