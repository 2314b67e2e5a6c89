"""Jobs that carry several runs, and arrays that run a few at a time; on a real cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from multirun_slurm.units import parse_minutes
from slurm_cluster import SlurmCluster
from slurm_sweeps import BEGIN, POST, QUICK, call, executions, job_ids, told

from multirun_core import multirun

# Runs of a sweep wait for one another by marks, and tell when they began and ended.
TIMES = "printf '[%s, %s]' $begin $(date +%s.%N) > part && mv part results.json"


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


def meet(marks: Path, count: int) -> str:
    """Return shell text that waits until so many runs have come as far."""
    marks.mkdir()
    return (
        f"begin=$(date +%s.%N); touch {marks}/$MULTIRUN_PARAM_N; "
        f"until test $(ls {marks} | wc -l) -ge {count}; do sleep 0.1; done; "
    )


def most_at_once(spans: list[list[float]]) -> int:
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def plans(root: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in root.glob("jobs/*/plan.json")]


def minutes(cluster: SlurmCluster, job: str) -> float:
    found = parse_minutes(cluster.show(job)["TimeLimit"])
    assert found is not None
    return found


def test_no_more_jobs_of_an_array_run_than_are_to(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Each takes a second, in which all six would run if nothing kept them from it."""
    script = meet(tmp_path / "marks", 2) + "sleep 1; " + TIMES
    sweep = call(tmp_path / "s", script, 6, options={"max_running": 2}, timeout=60)
    assert {run.status for run in sweep.runs} == {"success"}, told(sweep)
    assert most_at_once(sweep.results) == 2
    (job,) = job_ids(tmp_path / "s")
    assert "ArrayTaskThrottle=2" in cluster.run("scontrol", "-o", "show", "job", job).stdout


def test_as_many_packed_runs_go_on_at_once_as_fit(cluster: SlurmCluster, tmp_path: Path) -> None:
    script = meet(tmp_path / "marks", 4) + "sleep 0.5; " + TIMES
    options = {"pack": 8, "pack_cpus": 4}
    sweep = call(tmp_path / "s", script, 8, options=options, timeout=60)
    assert {run.status for run in sweep.runs} == {"success"}, told(sweep)
    assert most_at_once(sweep.results) == 4


def test_a_packed_job_asks_for_what_its_runs_need_at_once_and_one_after_another(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    options = {"pack": 8, "pack_cpus": 4, "cpus_per_task": 2, "mem": "50M", "time": 2}
    sweep = call(tmp_path / "s", BEGIN + POST, 8, options=options)
    assert sweep.results == [1] * 8, told(sweep)
    (job,) = job_ids(tmp_path / "s")
    shown = cluster.show(job)
    assert (shown["NumCPUs"], shown["MinMemoryNode"]) == ("4", "100M")
    assert minutes(cluster, job) == 11  # four waves of 2 minutes, a fifth more, and one


def test_a_packed_job_asks_for_no_more_time_than_its_partition_allows(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    options = {"pack": 50, "pack_cpus": 2, "time": 1, "partition": "short"}
    sweep = call(tmp_path / "s", BEGIN + POST, 50, options=options)
    assert sweep.results == [1] * 50, told(sweep)
    (job,) = job_ids(tmp_path / "s")
    assert minutes(cluster, job) == 1
    assert set(executions(tmp_path / "s").values()) == {1}


def test_the_time_of_packed_runs_goes_by_how_long_they_took(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """An hour for each of 380 in four slots would be five days."""
    sweep = call(tmp_path / "s", POST, 400, options={"pack": "auto", "time": 60})
    assert sweep.results == [1] * 400, told(sweep)
    asked = [minutes(cluster, job) for job in job_ids(tmp_path / "s")]
    assert min(asked) == 60
    assert 60 < max(asked) < 240, asked
    assert max(plan["pack"] for plan in plans(tmp_path / "s")) > 100


def test_the_end_of_a_packed_run_is_seen_while_its_job_goes_on(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script = f"test $MULTIRUN_PARAM_N = 0 || until test -e {go}; do sleep 0.1; done; {POST}"
    with call(root, script, 4, options={"pack": 4}, wait=False) as sweep:
        ended = sweep.as_completed()
        first = next(ended)
        (job,) = job_ids(root)
        state = cluster.run("squeue", "-h", "-o", "%T", "-j", job).stdout.strip()
        assert (first.index, first.status, state) == (0, "success", "RUNNING"), told(sweep)
        go.touch()
        assert {run.status for run in ended} == {"success"}, told(sweep)
    assert [plan["pack"] for plan in plans(root)] == [4]


def test_runs_with_several_nodes_get_a_job_each_among_packed_ones(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    def needs(params: dict[str, Any]) -> dict[str, Any]:
        return {"nodes": 2} if params["n"] % 4 == 3 else {}

    options = {"pack": 4, "pack_cpus": 2, "per_run": needs}
    sweep = call(tmp_path / "s", 'echo "$SLURM_JOB_NUM_NODES" > results.json', 8, options=options)
    assert sweep.results == [1, 1, 1, 2] * 2, told(sweep)
    found = sorted((plan["pack"], plan["runs"]) for plan in plans(tmp_path / "s"))
    assert found == [(1, 2), (4, 6)]


def test_packed_runs_of_python_are_forked_from_a_warm_interpreter(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """They are runs like others: parameters, time limit, exit status, Slurm's variables."""
    script = tmp_path / "body.py"
    script.write_text(
        "import os, sys, time\n"
        "from multirun_core import getRunParams, postRunResults\n"
        "parent = open(f'/proc/{os.getppid()}/cmdline').read()\n"
        "postRunResults({'warm': 'warm_python' in parent, 'job': os.environ['SLURM_JOB_ID']})\n"
        "n = getRunParams()['n']\n"
        "if n == 4: time.sleep(1000)\n"
        "sys.exit(3 if n == 5 else 0)\n"
    )
    sweep = multirun(
        runs=[{"n": n} for n in range(6)],
        cmd=[sys.executable, "body.py"],
        input_files=[script],
        output_path=tmp_path / "s",
        runner="slurm",
        runner_options=QUICK | {"pack": 6, "warm": True, "pack_cpus": 2, "timeout": 3.0},
        progress=False,
    )
    reasons = [run.reason for run in sweep.runs]
    assert reasons == [None] * 4 + ["timeout", "exit"], told(sweep)
    (job,) = job_ids(tmp_path / "s")
    assert sweep.results[:4] == [{"warm": True, "job": job}] * 4
