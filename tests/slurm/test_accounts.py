"""What sacct tells of jobs that slurmctld has forgotten, and what becomes of runs without it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from multirun_core._runners.scheduler import metering
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import ClusterOptions, SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POST,
    QUICK,
    InThread,
    began,
    call,
    job_ids,
    start_driver,
    told,
    wait_until,
)
from sweeps import events

from multirun_core import Sweep

GREEDY = (
    "import time; held = bytearray(200 << 20); any(time.process_time() > 4 for _ in iter(int, 1))"
)
SCRIPTS = {
    "used": f"{BEGIN}'{sys.executable}' -S -c '{GREEDY}'; touch used",
    "failed": f"{BEGIN}sleep 300",
    "untold": f"{BEGIN}sleep 300",
}


class Forgotten:
    """Sweeps of one run each, whose jobs ended while no driver lived, and are forgotten.

    Attributes:
        cluster: where they were; it remembers jobs for two seconds.
    """

    def __init__(self, cluster: SlurmCluster, home: Path) -> None:
        self.cluster = cluster
        self._home = home
        for name, script in SCRIPTS.items():
            driver = start_driver(home / name, script, options={"mem": "500M"})
            wait_until(began(home / name), "the run")
            driver.kill()
            driver.wait()
        self._end()
        wait_until(lambda: not cluster.run("squeue", "-h", "-t", "all").stdout, "no memory of it")

    def _end(self) -> None:
        self._wait_account("used", "COMPLETED")
        self.cluster.set_node(self.cluster.nodes[0], "down")
        for name in ("failed", "untold"):
            self._wait_account(name, "NODE_FAIL")
        for name in ("used", "untold"):
            self._lose_record(self._home / name)

    def _lose_record(self, root: Path) -> None:
        for claim in root.glob("runs/*/.multirun/claim-1"):
            shutil.rmtree(claim)
            claim.mkdir()
        for log in root.glob("jobs/*/log"):
            log.write_text("")

    def _wait_account(self, name: str, state: str) -> None:
        (job,) = job_ids(self._home / name)
        wait_until(
            lambda: state in self.cluster.run("sacct", "-nX", "-j", job).stdout, "an account"
        )

    def resume(self, name: str, runner: SlurmRunner) -> tuple[str | None, ...]:
        """Carry on; return how the run ended."""
        self.done = call(self._home / name, SCRIPTS[name], runner=runner)
        (run,) = self.done.runs
        return run.status, run.reason, run.message


@pytest.fixture(scope="module")
def forgotten() -> Iterator[Forgotten]:
    cluster = SlurmCluster(ClusterOptions(nodes=1, accounting=True, min_job_age=2))
    with pytest.MonkeyPatch.context() as patch:
        cluster.start()
        try:
            for name, value in cluster.env.items():
                patch.setenv(name, value)
            yield Forgotten(cluster, cluster.root / "sweeps")
        finally:
            cluster.stop()


@pytest.mark.long
def test_accounts_tell_how_much_memory_a_run_with_a_record_took(
    accounting_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes known after its verdict, is written down, and is asked for once, for all runs."""
    for name, value in accounting_slurm.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(metering, "_PAUSE_SECONDS", 600.0)
    root, go = tmp_path / "s", tmp_path / "go"
    greedy = f"'{sys.executable}' -S -c '{GREEDY}'"
    script = (
        f"{BEGIN}case $MULTIRUN_PARAM_N in 0) {greedy};; 1) {greedy}; exit 3;; "
        f'*) until test -e "{go}"; do sleep 0.1; done;; esac; {POST}'
    )
    runner = SlurmRunner(**QUICK, mem="500M")
    sweep = InThread(root, script, 3, runner=runner)
    wait_until(began(root, 3), "all runs")
    (job,) = job_ids(root)

    def known() -> bool:
        said = accounting_slurm.run("sacct", "-nP", "-o", "JobID,State,MaxRSS", "-j", job).stdout
        rows = [line.split("|") for line in said.splitlines()]
        used = {one.partition(".")[0] for one, state, rss in rows if rss and "RUN" not in state}
        return {f"{job}_0", f"{job}_1"} <= used

    wait_until(known, "accounts of both runs")
    go.touch()
    done = sweep.result()
    assert [(run.status, run.exit_code) for run in done.runs] == [
        ("success", 0), ("failure", 3), ("success", 0)
    ]  # fmt: skip
    assert runner.calls["account"] == 1
    for seen in (done, Sweep.open(root)):
        for run in seen.runs[:2]:
            assert 200 << 20 < (run.max_rss_bytes or 0) < 300 << 20
    amended = [event for event in events(root) if event["event"] == "amend"]
    assert {event["run"] for event in amended} >= {0, 1}
    again = call(root, script, 3, runner=SlurmRunner(**QUICK))
    assert 200 << 20 < (again.runs[0].max_rss_bytes or 0) < 300 << 20


def a_runner() -> SlurmRunner:
    return SlurmRunner(**QUICK, infrastructure_retries=0, command_timeout=15.0)


@pytest.mark.long
def test_accounts_tell_why_a_job_ended(forgotten: Forgotten) -> None:
    runner = a_runner()
    end = forgotten.resume("failed", runner)
    assert end == ("failure", "node_fail", "Slurm says NODE_FAIL"), told(forgotten.done)
    assert runner.calls["account"] == 1


@pytest.mark.long
def test_accounts_tell_where_a_job_was_and_what_it_used(forgotten: Forgotten) -> None:
    end = forgotten.resume("used", a_runner())
    assert end == ("failure", "lost", "it left no record; its job is COMPLETED")
    (run,) = forgotten.done.runs
    assert run.host == "n1"
    assert 3.5 < (run.cpu_seconds or 0) < 30
    assert 200 << 20 < (run.max_rss_bytes or 0) < 300 << 20


@pytest.mark.long
def test_without_an_answer_of_theirs_such_a_run_is_lost(forgotten: Forgotten) -> None:
    """slurmdbd has died: nothing but the reason is lacking, and it is not waited for."""
    forgotten.cluster.kill_database_daemon()
    runner = a_runner()
    end = forgotten.resume("untold", runner)
    assert end == ("failure", "lost", "it left no record; the queue knows its job no more")
    assert runner.calls["account"] >= 1
