"""The conformance kit against the runner that is built in, with its launcher and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from multirun_core.testing import RunnerConformance

from multirun_core import ParallelLocalRunner


class TestLocal(RunnerConformance):
    hook_module: ClassVar[str | None] = "multirun_core._runners.plugin"
    heavy_modules: ClassVar[Sequence[str]] = ("asyncio", "click", "rich")

    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(**options)


@pytest.mark.long
class TestThreads(RunnerConformance):
    """Where the system lacks what the launcher needs, runs are children of the driver."""

    ends_whole_trees: ClassVar[bool] = False
    ends_with_driver: ClassVar[bool] = False
    # A child starts with the peak of its parent, which is a whole test suite here.
    measures_usage: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _threads(self, monkeypatch: pytest.MonkeyPatch, outside_of_any_run: None) -> None:
        monkeypatch.setenv("MULTIRUN_LAUNCHER", "threads")

    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(**options)
