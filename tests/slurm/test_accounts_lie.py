"""Accounts that lie, fail or are away: reasons come of them, never verdicts."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from multirun_slurm.parse import ACCOUNT_FIELDS
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import SlurmCluster
from slurm_sweeps import BEGIN, POST, QUICK, InThread, began, executions, job_ids, told, wait_until
from sweeps import events


def row(task: int, state: str, name: str = "%s") -> str:
    """Return a line of sacct's about a task of a job %s of a name %s."""
    fields = dict.fromkeys(ACCOUNT_FIELDS, "") | {"JobID": f"%s_{task}", "State": state}
    return "|".join((fields | {"ExitCode": "0:0", "NodeList": "n9", "JobName": name}).values())


LIES = {
    "of another job that had the same id": row(0, "OUT_OF_MEMORY", "of-somebody-else"),
    "of success": row(1, "COMPLETED"),
    "of a job that was put back": row(2, "NODE_FAIL"),
    "of one that goes on": row(3, "RUNNING"),
    "without sense": "%s_4|OUT_OF_MEM\\n\\377|||||||\\nslurm_persist_conn_open",
}
ENDS = ["lost", "lost", "node_fail", "lost", "lost"]


@pytest.mark.parametrize(
    "after",
    [
        pytest.param("exit 0", id="told"),
        pytest.param("exit 1", id="told with an error"),
        pytest.param("exec sleep 300", id="not told", marks=pytest.mark.long),
    ],
)
def test_what_accounts_say_changes_no_verdict(
    after: str, slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs whose job the queue has forgotten, without a record, are excused and tried again."""
    folder, now, root = tmp_path / "bin", tmp_path / "now", tmp_path / "s"
    folder.mkdir()
    told_of = "; ".join(f"say {shlex.quote(line)}" for line in LIES.values())
    fakes = {
        "scontrol": '"$real" "$@" | sed s,accounting_storage/none,accounting_storage/slurmdbd,',
        "squeue": f'out=$("$real" "$@") || exit; test -z "$out" || printf "%s\\n" "$out" | '
        f"if test -e {now}; then grep -v -f {now}; else cat; fi; exit 0",
        "sacct": f'read -r job name < "$0.job"; say() {{ printf "$1\\n" $job $name; }}; {told_of}; '
        f"{after}",
    }
    for name, script in fakes.items():
        fake = folder / name
        fake.write_text(f"#!/bin/sh\nreal={shutil.which(name)}\n{script}\n")
        fake.chmod(0o755)
    for name, value in {**slurm.env, "PATH": f"{folder}:{slurm.env['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    script = BEGIN + 'test "$MULTIRUN_ATTEMPT" = 2 || exec sleep 300; ' + POST
    runner = SlurmRunner(**QUICK, command_timeout=5.0)
    sweep = InThread(root, script, len(LIES), runner=runner)
    wait_until(began(root, len(LIES)), "all runs")
    (job,) = job_ids(root)
    (home,) = (root / "jobs").iterdir()
    (folder / "sacct.job").write_text(f"{job} multirun-{home.name}\n")
    now.write_text(f"multirun-{home.name}\n")
    slurm.kill_unnoticed(slurm.jobs())
    done = sweep.result()
    assert [(run.status, run.attempts) for run in done.runs] == [("success", 2)] * 5, told(done)
    assert done.results == [2] * 5
    assert dict(executions(root)) == dict.fromkeys(range(5), 2)
    assert runner.calls["account"] >= 1
    ends = {
        e["run"]: e["reason"] for e in events(root) if e["event"] == "end" and e["attempt"] == 1
    }
    expected = ENDS if after == "exit 0" else ["lost"] * 5
    assert [ends[n] for n in range(5)] == expected


def test_slurmdbd_stops_while_a_sweep_goes_on(
    accounting_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs end and further ones are submitted without it; a run that is killed fails as ever."""
    for name, value in accounting_slurm.env.items():
        monkeypatch.setenv(name, value)
    root, go = tmp_path / "s", tmp_path / "go"
    script = f'{BEGIN}until test -e "{go}"; do sleep 0.1; done; '
    script += 'test "$MULTIRUN_PARAM_N" != 1 || exec sh -c "kill -9 \\$\\$"; ' + POST
    runner = SlurmRunner(**QUICK, max_jobs=2)
    sweep = InThread(root, script, 4, runner=runner)
    wait_until(began(root, 2), "two runs")
    accounting_slurm.kill_database_daemon()
    go.touch()
    done = sweep.result()
    assert done.results == [1, None, 1, 1], told(done)
    assert (done.runs[1].status, done.runs[1].attempts) == ("failure", 1)
    assert dict(executions(root)) == dict.fromkeys(range(4), 1)
    assert runner.calls["submit"] >= 2
    assert accounting_slurm.pid("slurmdbd") is None
