"""The conformance kit against the runner on hosts that are directories of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core.testing import RunnerConformance
from pretended import PretendedHosts


class Pretended(RunnerConformance):
    time_scale: ClassVar[float] = 2.0
    many: ClassVar[int] = 200
    measures_usage: ClassVar[bool] = False
    hook_module: ClassVar[str | None] = "multirun_ssh.plugin"
    heavy_modules: ClassVar[Sequence[str]] = ("asyncssh", "asyncio", "click", "rich")
    shared: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _hosts(self, tmp_path: Path) -> None:
        self.homes = tmp_path / "the hosts"
        self.homes.mkdir()

    def make_runner(self, **options: Any) -> PretendedHosts:
        options = {"hosts": ["h1:3", "h2:3"], "shared_filesystem": self.shared, **options}
        return PretendedHosts(self.homes, **options)


@pytest.mark.long  # real hosts pass through the same checks in every run of the tests
class TestFilesAreCarried(Pretended):
    """Each host has files of its own."""

    needs_shared_filesystem: ClassVar[bool] = False
    runs_on_this_machine: ClassVar[bool] = False


@pytest.mark.long
class TestSharedFilesystem(Pretended):
    """Runs are carried out in the run directories themselves."""

    shared: ClassVar[bool] = True
    sees_private_mounts: ClassVar[bool] = False  # the wrapper would, but not what carries it out
