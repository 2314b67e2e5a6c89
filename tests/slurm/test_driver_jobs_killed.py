"""Who sends a driver dies, or is interrupted, around sbatch: no job is left that nobody knows."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import pytest
from multirun_core._sweep.abandoned import end_left
from multirun_core.testing.promises import HOSTILE
from multirun_slurm.drivers import sent
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    EARLY,
    POINTS,
    SLOW,
    call,
    clients,
    put_sbatch,
    put_shell,
    start_driver,
    wait_until,
)

from multirun_core import Sweep

Begin: TypeAlias = Callable[[Path], subprocess.Popen[bytes]]
OPTIONS = {"driver": "job"}


@pytest.fixture(autouse=True)
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """Return a cluster on which jobs are accepted and wait."""
    for node in slurm.nodes:
        slurm.set_node(node, "drain")
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / HOSTILE).mkdir()
    return tmp_path / HOSTILE / "s"


@pytest.fixture
def begin(root: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Return what sends a driver, with the programs in a folder before the real ones."""

    def start(place: Path) -> subprocess.Popen[bytes]:
        monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
        return start_driver(root, "echo", 2, options=OPTIONS)

    return start


def some(short: str, among: Iterable[str]) -> list[object]:
    """Return parameters, all but one for the long tests."""
    return [pytest.param(n, marks=[] if n == short else [pytest.mark.long]) for n in among]


def check_cancelled(cluster: SlurmCluster, root: Path, folder: Path) -> None:
    """Cancel: nothing is left, and nobody who would submit."""
    end_left(root, progress=False)
    assert (cluster.jobs(), clients(folder), sent(root)) == ([], [], [])
    assert {run.status for run in Sweep.open(root).runs} == {"pending"}


def be_killed(begin: Begin, folder: Path, put: Callable[[Path, str], Path], script: str) -> Path:
    """Send a driver by a fake that kills the sender, `$driver`; return the fake's directory."""
    pid = folder / "pid"
    know = f"until test -s '{pid}'; do sleep 0.05; done; driver=$(cat '{pid}')\n"
    place = put(folder, know + script)
    sender = begin(place)
    pid.write_text(str(sender.pid))
    assert sender.wait(60) == -9
    return place


@pytest.mark.parametrize("point", some("after it was accepted, before it is printed", POINTS))
def test_who_sends_a_driver_is_killed_around_sbatch(
    point: str, cluster: SlurmCluster, root: Path, tmp_path: Path, begin: Begin
) -> None:
    be_killed(begin, tmp_path, put_sbatch, POINTS[point])
    call(root, "echo", 2, options=OPTIONS)
    (job,) = cluster.jobs()
    (one,) = sent(root)
    assert (one.id in (job, ""), clients(tmp_path)) == (True, [])
    assert len(list(root.glob("jobs/*"))) == (2 if point == "before it is called" else 1)
    check_cancelled(cluster, root, tmp_path)


@pytest.mark.parametrize("begins", some("after the next driver", EARLY))
def test_who_sends_a_driver_is_killed_before_the_client_has_said_who_it_is(
    begins: str, cluster: SlurmCluster, root: Path, tmp_path: Path, begin: Begin
) -> None:
    place = be_killed(begin, tmp_path, put_shell, EARLY[begins])
    (home,) = (root / "jobs").iterdir()
    assert not (home / "client").exists()
    if begins == "before the next driver":
        (place / "sh.go").touch()
        wait_until((home / "client").exists, "a client")
        check_cancelled(cluster, root, tmp_path)
    else:
        end_left(root, progress=False)
        assert sent(root) == []
        (place / "sh.go").touch()
        wait_until(lambda: clients(tmp_path) == [], lambda: f"their end: {clients(tmp_path)}")
    if begins == "after the next driver":
        wait_until((home / "client").exists, "a client")
        client = Path("/proc") / (home / "client").read_text().split("\t")[2]
        wait_until(lambda: not client.exists(), "its end")
    assert (cluster.jobs(), (home / "client").exists()) == ([], begins != "never")


@pytest.mark.parametrize("point", some("before it begins", SLOW))
def test_a_client_that_is_slower_than_a_cancel_submits_no_driver(
    point: str,
    cluster: SlurmCluster,
    root: Path,
    tmp_path: Path,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("multirun_core._runners.scheduler.here.WAIT_OUT_SECONDS", 0.5)
    place = put_sbatch(tmp_path, SLOW[point])
    driver = begin(place)
    wait_until((place / "sbatch.slow").exists, "a client that is slow")
    driver.kill()
    driver.wait()
    assert clients(tmp_path)
    check_cancelled(cluster, root, tmp_path)


@pytest.mark.parametrize("earlier", [False, True])
def test_an_interrupt_while_a_driver_is_sent_or_looked_for_ends_it(
    earlier: bool, cluster: SlurmCluster, root: Path, tmp_path: Path, begin: Begin
) -> None:
    """All runs are skipped then; the job would execute them later."""
    place = put_sbatch(tmp_path, SLOW["before it says the id"])
    if earlier:
        call(root, "echo", 2, options=OPTIONS)
        (place / "sbatch").rename(place / "squeue")
        script = (place / "squeue").read_text().replace("/sbatch ", "/squeue ")
        (place / "squeue").write_text(script)
    driver = begin(place)
    wait_until((place / f"{'squeue' if earlier else 'sbatch'}.slow").exists, "a slow command")
    assert len(cluster.jobs()) == 1
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(60) == -signal.SIGINT
    assert (cluster.jobs(), clients(tmp_path), sent(root)) == ([], [], [])
    assert {run.status for run in Sweep.open(root).runs} == {"skipped"}
