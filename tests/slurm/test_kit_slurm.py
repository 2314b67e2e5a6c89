"""The conformance kit on a real cluster of four nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from login_node import LoginNode
from multirun_core.testing import RunnerConformance, SchedulerConformance
from multirun_core.testing.promises import required_by
from multirun_slurm.options import JobOptions
from multirun_slurm.runner import SlurmRunner
from multirun_slurm.scheduler import SlurmScheduler
from slurm_cluster import SlurmCluster

CORPUS = Path(__file__).parent / "corpus"
REAL = CORPUS / "22.05"
JOBS = dict(line.split() for line in (REAL / "jobs.txt").read_text().splitlines())


class OnSlurm(RunnerConformance):
    """What all have in common."""

    slots_option: ClassVar[str | None] = "max_jobs"
    time_scale: ClassVar[float] = 3.0
    many: ClassVar[int] = 200
    hook_module: ClassVar[str | None] = "multirun_slurm.plugin"
    heavy_modules: ClassVar[Sequence[str]] = ("asyncio", "multirun_slurm.runner")
    # A shell cannot tell the memory of a run; accounts, where there are any, do not know of short
    # ones.
    measures_usage: ClassVar[bool] = False
    # Jobs are no descendants of the driver.
    sees_private_mounts: ClassVar[bool] = False

    def make_runner(self, **options: Any) -> SlurmRunner:
        quick: dict[str, Any] = {"poll_interval": 0.5, "file_grace": 3.0, "retry_delay": 0.05}
        return SlurmRunner(**(quick | options))


class TestSlurm(OnSlurm):
    """Without accounting."""

    @pytest.fixture(autouse=True)
    def _on_the_cluster(self, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in slurm.env.items():
            monkeypatch.setenv(name, value)


@pytest.mark.long
class TestSlurmAccounting(OnSlurm):
    """With slurmdbd and MariaDB."""

    @pytest.fixture(autouse=True)
    def _on_the_cluster(
        self, accounting_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in accounting_slurm.env.items():
            monkeypatch.setenv(name, value)


@pytest.mark.long
class TestSlurmLogin(OnSlurm):
    """From the laptop: over a real sshd, which alone reaches the cluster."""

    needs_shared_filesystem: ClassVar[bool] = False
    # What a run writes is seen when it has come back.
    runs_on_this_machine: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _over_the_login(self, login_node: LoginNode) -> None:
        self.login = dict(login_node.options)

    def make_runner(self, **options: Any) -> SlurmRunner:
        return super().make_runner(**(self.login | options))


class TestSlurmScheduler(SchedulerConformance):
    """The commands, and what is read from them."""

    time_scale: ClassVar[float] = 3.0
    printed_by_submit: ClassVar = {
        (REAL / "sbatch.txt").read_text(): "27",
        (REAL / "sbatch-parsable.txt").read_text(): "28",
        "18;cluster\n": "18",
        "Submitted batch job 19 on cluster big\n": "19",
        "Your project has used 80 %\n4711\n": "4711",
    }
    printed_by_status: ClassVar = {
        (REAL / "squeue.txt").read_text(): {
            JOBS["completed"]: "ended",
            JOBS["preempted"]: "ended",
            JOBS["requeued"]: "waiting",
            JOBS["suspended"]: "running",
        },
        "": {},
        (CORPUS / "manuals" / "squeue.txt").read_text(): {
            "1200_0": "running",
            "1200_8": "waiting",
            "1202": "waiting",
        },
    }
    printed_by_find: ClassVar = {
        "": {"multirun-a": []},
        (CORPUS / "manuals" / "squeue.txt").read_text(): {"multirun-a": ["1200"]},
    }
    printed_by_account: ClassVar = {
        (REAL / "sacct.txt").read_text(): {JOBS["failed"]: "ended", JOBS["timeout"]: "ended"}
    }
    refused: ClassVar = {
        "partition": ["", "a\nb", ["a", "\x07"]],
        "constraint": [" "],
        "time": [0, -5, True, [60], "soon", "1:2:3:4"],
        "mem": [0, 1.5, True, [4], "much", "4 parsecs", 1 << 40],
        "mem_per_cpu": ["x"],
        "cpus_per_task": [0, 1.5, True, "2"],
        "gpus": [0],
        "nodes": [-1],
        "ntasks": ["many"],
        "sbatch_args": ["--mem=1", ["--array=0-9"], ["-o", "x"], ["--wra=id"]],
    }

    @pytest.fixture(autouse=True)
    def _on_the_cluster(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if "can_submit" in required_by(request.function):
            for name, value in request.getfixturevalue("slurm").env.items():
                monkeypatch.setenv(name, value)

    def make_scheduler(self, **options: Any) -> SlurmScheduler:
        return SlurmScheduler(JobOptions(**({"mem": "50M"} | options)))
