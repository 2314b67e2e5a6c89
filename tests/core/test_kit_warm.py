"""The conformance kit with runs that are forked from a warm interpreter, where they are Python."""

from __future__ import annotations

from typing import Any

import pytest
from multirun_core.testing import RunnerConformance

from multirun_core import ParallelLocalRunner


@pytest.mark.long
class TestWarm(RunnerConformance):
    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(**{"warm": True, **options})


@pytest.mark.long
class TestPreloaded(RunnerConformance):
    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(
            preload=["json", "multirun_core", "multirun_core._inrun"], **options
        )
