"""The fault checks against the runner that is built in."""

from __future__ import annotations

from typing import Any

from multirun_core import ParallelLocalRunner
from multirun_core.testing.faults import FaultChecks


class TestLocal(FaultChecks):
    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(**options)
