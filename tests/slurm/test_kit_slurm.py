"""The conformance kit on a real cluster of four nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from login_node import LoginNode
from multirun_core.testing import RunnerConformance
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import SlurmCluster


class OnSlurm(RunnerConformance):
    """What all have in common."""

    slots_option: ClassVar[str | None] = "max_jobs"
    time_scale: ClassVar[float] = 3.0
    many: ClassVar[int] = 200
    hook_module: ClassVar[str | None] = "multirun_slurm.plugin"
    heavy_modules: ClassVar[Sequence[str]] = ("asyncio", "multirun_slurm.runner")
    # A shell cannot tell the memory of a run, and accounting is off on this cluster.
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
