"""Over MaxJobCount, where sbatch does not fail but hangs, and tries again for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_sweeps import BEGIN, POST, QUICK, InThread, clients, executions, told, wait_until

from multirun_core import Sweep


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 3])
def test_a_sweep_waits_visibly_until_jobs_leave(
    count: int,
    make_slurm: Callable[[ClusterOptions], SlurmCluster],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One job hangs in sbatch; of an array, sbatch says after a while that it does not fit."""
    cluster = make_slurm(ClusterOptions(nodes=1, max_jobs=5, min_job_age=2))
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    others = [cluster.submit("true", "--hold") for _ in range(4)]
    root, runner = tmp_path / "s", SlurmRunner(**QUICK, command_timeout=2.0)
    sweep = InThread(root, BEGIN + POST, count, runner=runner)
    wait_until(lambda: runner.calls["submit"] >= 2, "a second call of sbatch")
    assert len(clients(root)) <= 1  # the first was ended when its time was up
    said = [one.message for one in caplog.records if "takes no" in one.message]
    assert "temporarily unable to accept job" in said[0], said
    assert Sweep.open(root).statistics.pending_count == count
    assert dict(executions(root)) == {}
    cluster.run("scancel", *others)
    done = sweep.result()
    assert done.results == [1] * count, told(done)
    assert dict(executions(root)) == dict.fromkeys(range(count), 1)
    assert clients(root) == []
