"""`RunnerConformance` and `SchedulerConformance`, all checks in a class each to inherit."""

from __future__ import annotations

from multirun_core.testing.basics import BasicChecks
from multirun_core.testing.faults import FaultChecks
from multirun_core.testing.scheduler_commands import CommandChecks
from multirun_core.testing.scheduler_live import LiveChecks


class RunnerConformance(BasicChecks, FaultChecks):
    """What every runner promises. Inherit it and write `make_runner`; see `Declared`."""


class SchedulerConformance(CommandChecks, LiveChecks):
    """What every `CommandScheduler` promises.

    Inherit it and write `make_scheduler`; see `DeclaredScheduler`.
    """
