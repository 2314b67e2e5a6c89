"""What the real Slurm cannot be made to say: commands before the real ones on the PATH say it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_sweeps import BEGIN, POST, InThread, began, call, executions, job_ids, told, wait_until

Put = Callable[[str, str], Path]


@pytest.fixture
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


@pytest.fixture
def put(cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Return what puts a command before the real one, which it knows as $real."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{path}")

    def put(name: str, script: str) -> Path:
        fake = folder / name
        fake.write_text(f"#!/bin/sh\nreal={shutil.which(name, path=path)}\n{script}\n")
        fake.chmod(0o755)
        return fake

    return put


def test_output_that_is_cut_off_changes_no_verdict(put: Put, tmp_path: Path) -> None:
    """In a line, between two lines, and with an error of the file system; all say success."""
    calls = tmp_path / "calls"
    put(
        "squeue",
        f'echo call >> {calls}; n=$(wc -l < {calls}); out=$("$real" "$@") || exit\n'
        'case $((n % 4)) in 0) printf "%s\\n" "$out" ;; 1) printf "%.20s" "$out" ;;\n'
        '2) printf "%s\\n" "$out" | head -n 1 ;; *) echo slurm_load_jobs error; exit 0 ;; esac',
    )
    sweep = call(tmp_path / "s", BEGIN + "sleep 6; " + POST, 4, options={"file_grace": 1.0})
    assert sweep.results == [1] * 4, told(sweep)
    assert dict(executions(tmp_path / "s")) == dict.fromkeys(range(4), 1)
    assert len(calls.read_text().split()) >= 5


@pytest.mark.parametrize(
    ("asked", "lie"),
    [
        pytest.param("--jobs=", "head -n 1", id="cut off in every poll"),
        pytest.param("squeue", 'sed "s/|[A-Z_]*|/|PONDERING|/"', id="of a newer version"),
    ],
)
def test_a_job_that_goes_on_is_not_given_up(asked: str, lie: str, put: Put, tmp_path: Path) -> None:
    """What polls do not tell of is looked for by its name; a state that nobody knows is no end."""
    finds = tmp_path / "finds"
    finds.touch()
    put(
        "squeue",
        f"case $* in *--name=*) echo found >> {finds} ;; esac\n"
        f'case "squeue $*" in *{asked}*) "$real" "$@" | {lie} ;; *) exec "$real" "$@" ;; esac',
    )
    sweep = call(tmp_path / "s", BEGIN + "sleep 6; " + POST, 4, options={"file_grace": 1.0})
    assert sweep.results == [1] * 4, told(sweep)
    assert dict(executions(tmp_path / "s")) == dict.fromkeys(range(4), 1)
    assert bool(finds.read_text()) == (asked == "--jobs=")


def test_another_job_with_the_same_id_is_not_waited_for(
    put: Put, cluster: SlurmCluster, tmp_path: Path
) -> None:
    """A controller that has lost its memory gives ids again: such a job says nothing of ours."""
    root, now = tmp_path / "s", tmp_path / "now"
    put(
        "squeue",
        f'test -e {now} || exec "$real" "$@"\n'
        "case $* in *--name=*) exit 0 ;; esac\n"
        '"$real" "$@" | sed "s/multirun-[0-9a-f]*/of-somebody-else/; s/|[A-Z]*|/|RUNNING|/"',
    )
    options = {"infrastructure_retries": 0, "file_grace": 1.0}
    sweep = InThread(root, BEGIN + "sleep 300", options=options)
    wait_until(began(root), "the run")
    (job,) = job_ids(root)
    now.touch()
    cluster.kill_unnoticed([job])
    done = sweep.result(100)
    assert [(run.status, run.reason) for run in done.runs] == [("failure", "lost")], told(done)


def test_a_node_whose_clock_is_wrong_confuses_nobody(put: Put, tmp_path: Path) -> None:
    """Ten hours ahead: times are the node's, how long a run took is right, and so is packing."""
    put("date", 'case $* in "+%s.%N") "$real" -d "+10 hours" "$@" ;; *) exec "$real" "$@" ;; esac')
    script = BEGIN + "sleep 1; " + POST
    sweep = call(tmp_path / "s", script, 24, options={"pack": "auto"}, timeout=60)
    assert sweep.results == [1] * 24, told(sweep)
    assert dict(executions(tmp_path / "s")) == dict.fromkeys(range(24), 1)
    assert all(run.duration is not None and 0.9 < run.duration < 60 for run in sweep.runs)
    assert all(run.started is not None and run.started > time.time() + 30_000 for run in sweep.runs)
