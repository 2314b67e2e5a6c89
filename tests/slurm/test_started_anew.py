"""Jobs that Slurm itself starts anew, where nobody looks; on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POST,
    began,
    call,
    executions,
    job_ids,
    start_driver,
    told,
    wait_until,
)


@pytest.mark.long
def test_a_job_that_is_started_anew_without_a_driver_executes_nothing(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs are for the next driver, though three of four were never begun."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "s"
    script = BEGIN + 'echo "${SLURM_RESTART_COUNT:-0}" >> starts; '
    script += 'test "$MULTIRUN_ATTEMPT$MULTIRUN_PARAM_N" != 10 || exec sleep 300; ' + POST
    options = {"pack": 4, "pack_cpus": 1, "sbatch_args": ["--requeue"]}
    driver = start_driver(root, script, 4, options=options)
    wait_until(began(root), "the first run")
    driver.kill()
    driver.wait()
    (job,) = job_ids(root)
    slurm.run("scontrol", "requeue", job)
    slurm.wait_state(job, "FAILED")
    assert (slurm.show(job)["Restarts"], slurm.show(job)["ExitCode"]) == ("1", "75:0")
    (out,) = root.glob("jobs/*/out")
    assert "was started anew by the queue system" in out.read_text()
    assert set(executions(root).values()) == {1}
    assert {path.read_text() for path in root.glob("runs/*/starts")} == {"0\n"}
    sweep = call(root, script, 4, options=options)
    assert {run.status for run in sweep.runs} == {"success"}, told(sweep)
    begun = [
        f"{m.relative_to(root).parts[1]} {n}"
        for m in root.glob("runs/**/began")
        for n in m.read_text().split()
    ]
    assert len(set(begun)) == len(begun), begun
