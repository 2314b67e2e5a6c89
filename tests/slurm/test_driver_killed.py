"""The driver dies at every point around sbatch: each attempt is executed exactly once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from multirun_core.testing.promises import HOSTILE
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POINTS,
    POST,
    began,
    call,
    executions,
    job_ids,
    real_sbatch,
    start_driver,
    told,
    wait_until,
)


@pytest.fixture(autouse=True)
def _on_the_cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("point", POINTS)
def test_the_driver_is_killed_around_sbatch(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / HOSTILE / "s"
    (tmp_path / HOSTILE).mkdir()
    fake, pid = tmp_path / "bin" / "sbatch", tmp_path / "pid"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\nreal={real_sbatch()}\n"
        f'mkdir {tmp_path}/once 2>/dev/null || exec $real "$@"\n'
        f"until test -s {pid}; do sleep 0.05; done; driver=$(cat {pid})\n{POINTS[point]}\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    script = BEGIN + POST
    driver = start_driver(root, script, 3)
    pid.write_text(str(driver.pid))
    assert driver.wait(60) == -9
    sweep = call(root, script, 3)
    assert sweep.results == [1, 1, 1], told(sweep)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]


def test_a_driver_that_is_killed_while_runs_run_is_followed_by_one_that_adopts_them(
    tmp_path: Path,
) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script = BEGIN + f"until test -e {go}; do sleep 0.1; done; " + POST
    driver = start_driver(root, script, 4)
    wait_until(began(root, 4), "four runs")
    driver.kill()
    driver.wait()
    go.touch()
    sweep = call(root, script, 4)
    assert sweep.results == [1, 1, 1, 1], told(sweep)
    assert dict(executions(root)) == dict.fromkeys(range(4), 1)
    assert len(job_ids(root)) == 1
