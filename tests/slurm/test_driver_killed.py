"""The driver dies at every point around sbatch: each attempt is executed exactly once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from multirun_core.testing.promises import HOSTILE
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    BEGIN,
    EARLY,
    POINTS,
    POST,
    QUICK,
    SLOW,
    InThread,
    arrays,
    began,
    call,
    clients,
    executions,
    job_ids,
    put_sbatch,
    put_shell,
    start_driver,
    told,
    wait_until,
)

from multirun_core import Sweep


@pytest.fixture(autouse=True)
def _on_the_cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("point", POINTS)
def test_the_driver_is_killed_around_sbatch(
    point: str, slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / HOSTILE / "s"
    (tmp_path / HOSTILE).mkdir()
    pid = tmp_path / "pid"
    know = f"until test -s '{pid}'; do sleep 0.05; done; driver=$(cat '{pid}')\n"
    place = put_sbatch(tmp_path, know + POINTS[point])
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    script = BEGIN + POST
    driver = start_driver(root, script, 3)
    pid.write_text(str(driver.pid))
    assert driver.wait(60) == -9
    sweep = call(root, script, 3)
    assert sweep.results == [1, 1, 1], told(sweep)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]
    assert len(arrays(slurm, root)) == 1
    assert clients(tmp_path) == []


@pytest.mark.parametrize("begins", EARLY)
def test_the_driver_is_killed_before_its_client_has_said_who_it_is(
    begins: str, slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client finds out that it is late, or the next driver finds it."""
    root, pid = tmp_path / HOSTILE / "s", tmp_path / "pid"
    (tmp_path / HOSTILE).mkdir()
    know = f"until test -s '{pid}'; do sleep 0.05; done; driver=$(cat '{pid}')\n"
    place = put_shell(tmp_path, know + EARLY[begins])
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    script = BEGIN + POST
    driver = start_driver(root, script, 3)
    pid.write_text(str(driver.pid))
    assert driver.wait(60) == -9
    (home,) = (root / "jobs").iterdir()
    assert all(run.handle["job"] == home.name for run in Sweep.open(root).runs)
    assert not (home / "client").exists()
    if begins == "before the next driver":
        (place / "sh.go").touch()
        wait_until((home / "client").exists, "a client")
    sweep = call(root, script, 3)
    (place / "sh.go").touch()
    wait_until(lambda: clients(tmp_path) == [], lambda: f"their end: {clients(tmp_path)}")
    if begins != "never":  # it was no client before it became the real shell
        wait_until((home / "client").exists, "a client")
    assert (home / "client").exists() == (begins != "never")
    assert sweep.results == [1, 1, 1], told(sweep)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]
    assert len(arrays(slurm, root)) == 1


@pytest.mark.parametrize(
    "point",
    [pytest.param(p, marks=[pytest.mark.long] if p == "before it begins" else []) for p in SLOW],
)
def test_a_client_that_is_slower_than_the_next_driver_is_ended(
    point: str, slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multirun_core._runners.scheduler.here.WAIT_OUT_SECONDS", 0.5)
    root, place = tmp_path / "s", put_sbatch(tmp_path, SLOW[point])
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    script = BEGIN + POST
    driver = start_driver(root, script, 3)
    wait_until((place / "sbatch.slow").exists, "a client that is slow")
    driver.kill()
    driver.wait()
    assert clients(tmp_path)
    sweep = call(root, script, 3)
    assert clients(tmp_path) == []
    assert sweep.results == [1, 1, 1], told(sweep)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]
    assert len(arrays(slurm, root)) == 1


def has_sent(slurm: SlurmCluster) -> bool:
    """Whether something was sent to a controller that has not taken it, see proc(5)."""
    (port,) = re.findall(r"^SlurmctldPort=(\d+)$", slurm.conf.read_text(), re.MULTILINE)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    connected = [row for row in rows if row[1].endswith(f":{int(port):04X}") and row[3] == "01"]
    return any(int(row[4].partition(":")[2], 16) for row in connected)


@pytest.mark.long
def test_what_a_client_has_sent_is_accepted_after_its_end(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller hangs with the request in its hands; the next driver ends who asked."""
    monkeypatch.setattr("multirun_core._runners.scheduler.here.WAIT_OUT_SECONDS", 0.5)
    controller = slurm.root / "run" / "slurmctld.pid"
    root = tmp_path / "s"
    place = put_sbatch(tmp_path, f'kill -STOP $(cat {controller}); $real "$@"')
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    script = BEGIN + POST
    driver = start_driver(root, script, 3)
    wait_until(lambda: has_sent(slurm), lambda: f"a request: {clients(tmp_path)}")
    driver.kill()
    driver.wait()
    sweep = InThread(root, script, 3)
    wait_until(lambda: clients(tmp_path) == [], lambda: f"their end: {clients(tmp_path)}")
    slurm.continue_controller()
    done = sweep.result()
    assert done.results == [1, 1, 1], told(done)
    assert dict(executions(root)) == {0: 1, 1: 1, 2: 1}
    assert len(arrays(slurm, root)) == 1


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


def test_a_record_of_success_wins_over_what_slurm_says_of_its_job(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    """Of two runs in a job one ends while there is no driver, then their node fails.

    The record is late, as on a slow file system: Slurm has told of NODE_FAIL before it is seen.
    """
    root, go = tmp_path / "s", tmp_path / "go"
    first = f"if test $MULTIRUN_PARAM_N = 0; then until test -e '{go}'; do sleep 0.1; done; "
    script = BEGIN + first + 'else test "$MULTIRUN_ATTEMPT" = 2 || exec sleep 300; fi; ' + POST
    pack = {"pack": 2, "pack_cpus": 2}
    driver = start_driver(root, script, 2, options=pack)
    wait_until(began(root, 2), "two runs")
    driver.kill()
    driver.wait()
    go.touch()
    record = root / "runs" / "000000" / ".multirun" / "claim-1" / "exit"
    wait_until(record.exists, "a record")
    (job,) = job_ids(root)
    slurm.set_node(slurm.show(job)["NodeList"], "down")
    slurm.wait_state(job, "NODE_FAIL")
    wait_until(lambda: not slurm.processes_of(job), "the end of its processes")
    late = record.rename(tmp_path / "exit")
    for log in root.glob("jobs/*/log"):
        log.write_text("")
    runner = SlurmRunner(**{**QUICK, "file_grace": 20.0}, pack=2, pack_cpus=2)
    sweep = InThread(root, script, 2, runner=runner)
    wait_until(lambda: runner.calls["status"] >= 2, "an answer of Slurm's")
    late.rename(record)
    done = sweep.result()
    assert done.results == [1, 2], told(done)
    assert [(run.status, run.attempts) for run in done.runs] == [("success", 1), ("success", 2)]
    assert done.runs[0].message == "exit status 0, although its job is NODE_FAIL"
    assert dict(executions(root)) == {0: 1, 1: 2}
