"""Many runs: arrays, limits of the cluster, packing; on real clusters."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POST,
    InThread,
    began,
    call,
    executions,
    job_ids,
    told,
    wait_until,
)

from multirun_core import ParamMap, multirun

QUICK = {"poll_interval": 0.5, "file_grace": 3.0, "retry_delay": 0.05}


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


def test_runs_go_out_as_one_array_and_calls_are_counted(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    runner = SlurmRunner(poll_interval=0.5)
    sweep = multirun(
        runs=[{"n": n} for n in range(60)],
        cmd=["sh", "-c", POST],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
    )
    assert sweep.results == [1] * 60, told(sweep)
    assert runner.calls["submit"] <= 2
    assert runner.calls["find"] == runner.calls["cancel"] == 0


def test_the_queue_is_asked_nothing_while_nothing_is_out(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    runner = SlurmRunner(poll_interval=0.2)
    with multirun(
        runs=[{"n": 0}],
        cmd=["sh", "-c", POST],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
        wait=False,
    ) as sweep:
        ended = sweep.as_completed()
        next(ended)
        asked = runner.calls["status"]
        time.sleep(2)  # ten polls, were there something to ask about
        assert runner.calls["status"] == asked
        sweep.add({"n": 1})
        assert next(ended).status == "success"
        assert runner.calls["status"] > asked


def test_what_a_function_says_runs_need_is_asked_of_the_cluster(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    def needs(params: ParamMap) -> dict[str, Any]:
        size = 1 + int(params["n"]) % 2  # type: ignore[arg-type]
        return {"cpus": size, "memory": f"{size * 48}MiB"}

    script = 'echo "[${SLURM_CPUS_PER_TASK:-1}, $SLURM_MEM_PER_NODE]" > results.json'
    sweep = call(tmp_path / "s", script, 4, resources=needs)
    assert sweep.results == [[1, 48], [2, 96], [1, 48], [2, 96]], told(sweep)
    assert len(job_ids(tmp_path / "s")) == 2


def test_packed_runs_share_jobs_and_keep_their_own_ends(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    script = BEGIN + 'echo "out $MULTIRUN_PARAM_N"; ' + POST + "exit $((MULTIRUN_PARAM_N % 3))"
    sweep = call(tmp_path / "s", script, 30, options={"pack": 10, "pack_cpus": 4})
    seen = [(run.exit_code, run.stdout.read_text()) for run in sweep.runs]
    assert seen == [(n % 3, f"out {n}\n") for n in range(30)], told(sweep)
    assert len(job_ids(tmp_path / "s")) == 1
    job = job_ids(tmp_path / "s")[0]
    assert cluster.show(f"{job}_0")["NumCPUs"] == "4"
    assert set(executions(tmp_path / "s").values()) == {1}


def test_a_packed_run_has_its_own_time_limit(cluster: SlurmCluster, tmp_path: Path) -> None:
    script = 'test "$MULTIRUN_PARAM_N" != 2 || exec sleep 300; ' + POST
    sweep = call(tmp_path / "s", script, 6, options={"pack": 6}, timeout=4)
    seen = [(run.status, run.reason) for run in sweep.runs]
    wanted = [("success", None)] * 6
    wanted[2] = ("failure", "timeout")
    assert seen == wanted, told(sweep)


def test_packing_by_measured_durations(cluster: SlurmCluster, tmp_path: Path) -> None:
    sweep = call(tmp_path / "s", POST, 200, options={"pack": "auto"})
    assert sweep.results == [1] * 200, told(sweep)
    packs = [
        json.loads(path.read_text())["pack"] for path in (tmp_path / "s/jobs").glob("*/plan.json")
    ]
    assert 1 in packs
    assert max(packs) > 50


def test_when_a_packed_job_dies_only_runs_without_a_record_are_tried_again_alone(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """SIGKILL to the job's script, with all that carries its runs out."""
    kill = (
        'if test "$MULTIRUN_ATTEMPT$MULTIRUN_PARAM_N" = 13; then '
        "until test -e ../000001/results.json; do sleep 0.1; done; sleep 1; "
        'kill -s KILL -- "-$(cut -d " " -f 5 /proc/$PPID/stat)"; sleep 60; fi; '
    )
    script = BEGIN + kill + POST
    sweep = call(tmp_path / "s", script, 6, options={"pack": 6, "pack_cpus": 2})
    assert all(run.status == "success" for run in sweep.runs), told(sweep)
    counts = executions(tmp_path / "s")
    assert counts[0] == counts[1] == counts[2] == 1
    assert counts[3] == 2
    packs = sorted(
        json.loads(path.read_text())["pack"] for path in (tmp_path / "s/jobs").glob("*/plan.json")
    )
    assert packs == [1, 6]


def test_fewer_jobs_are_submitted_where_the_cluster_takes_no_more(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    small = make_slurm(ClusterOptions(nodes=2, max_jobs=12, max_array=6, min_job_age=2))
    for name, value in small.env.items():
        monkeypatch.setenv(name, value)
    root, go, runner = tmp_path / "s", tmp_path / "go", SlurmRunner(**QUICK)
    script = BEGIN + f"until test -e {go}; do sleep 0.1; done; " + POST
    under_way = InThread(root, script, 20, runner=runner)
    wait_until(began(root, 11), "eleven runs")
    # By what the cluster says of itself; refusals would have made the arrays smaller as well.
    assert (runner.cluster.job_count, runner.max_jobs) == (12, 11)
    assert runner.calls["submit"] == 2
    assert not [one.message for one in caplog.records if "takes no more" in one.message]
    go.touch()
    sweep = under_way.result()
    assert sweep.results == [1] * 20, told(sweep)
    assert set(executions(root).values()) == {1}


def test_arrays_have_no_more_tasks_than_the_scheduler_takes(
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As is read of it; and where that cannot be, since sbatch refuses more."""
    small = make_slurm(ClusterOptions(nodes=1, scheduler="max_array_tasks=4"))
    for name, value in small.env.items():
        monkeypatch.setenv(name, value)
    mute = tmp_path / "bin" / "scontrol"
    mute.parent.mkdir()
    mute.write_text("#!/bin/sh\nexit 1\n")
    mute.chmod(0o755)
    for name, path in (("told", small.env["PATH"]), ("mute", f"{mute.parent}:{small.env['PATH']}")):
        monkeypatch.setenv("PATH", path)
        runner = SlurmRunner(**QUICK)
        sweep = call(tmp_path / name, BEGIN + POST, 9, runner=runner)
        assert sweep.results == [1] * 9, told(sweep)
        assert executions(tmp_path / name) == dict.fromkeys(range(9), 1)
        assert len(job_ids(tmp_path / name)) == 3
        assert runner.calls["submit"] == 3 + (name == "mute")
        assert runner.scheduler.array_limit == 4


@pytest.mark.long
def test_thousands_of_packed_runs_take_a_handful_of_submissions(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """A few at once: this machine carries out all of them, and other tests beside."""
    runner = SlurmRunner(poll_interval=2, pack=100, pack_cpus=4, max_running=2)
    sweep = multirun(
        runs=[{"n": n} for n in range(3_000)],
        cmd=["true"],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
    )
    assert sweep.statistics.success_count == 3_000
    assert runner.calls["submit"] <= 4


@pytest.mark.long
def test_ten_thousand_single_runs_are_in_the_queue_after_a_handful_of_calls(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """Held there, each a task of an array; and nothing is asked about them by who lets go."""
    runner = SlurmRunner(detach=True, sbatch_args=["--hold"])
    multirun(
        runs=[{"n": n} for n in range(10_000)],
        cmd=["true"],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
    )
    assert runner.calls["submit"] <= 5
    assert sum(runner.calls.values()) <= 30, runner.calls
    tasks = cluster.run("squeue", "-h", "-r", "-o", "%i").stdout.split()
    assert len(tasks) == 10_000
    cluster.run("scancel", *job_ids(tmp_path / "s"))
