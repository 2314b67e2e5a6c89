"""The conformance kit against the runner that is built in."""

from __future__ import annotations

from typing import Any, ClassVar

from multirun_core import ParallelLocalRunner
from multirun_core.testing import RunnerConformance


class TestLocal(RunnerConformance):
    hook_module: ClassVar[str | None] = "multirun_core._runners.plugin"
    heavy_modules = ("rich", "asyncio", "click")

    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(**options)
