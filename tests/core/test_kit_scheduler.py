"""The conformance kit against jobs of a queue system, a small one that runs real processes.

What checks its commands is in `test_kit_catches_schedulers.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core.testing import RunnerConformance
from queue_tools import QueueRunner


@pytest.mark.long  # a real queue passes through the same checks in every run of the tests
class TestQueue(RunnerConformance):
    slots_option: ClassVar[str | None] = "max_jobs"
    time_scale: ClassVar[float] = 1.5
    many: ClassVar[int] = 200
    # The wrapper, a shell script, cannot tell a run's memory.
    measures_usage: ClassVar[bool] = False
    # Each run is a job of its own session, started by nobody who is in the driver's mounts.
    sees_private_mounts: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.home: Path = tmp_path_factory.mktemp("queue")

    def make_runner(self, **options: Any) -> QueueRunner:
        return QueueRunner(self.home, **options)
