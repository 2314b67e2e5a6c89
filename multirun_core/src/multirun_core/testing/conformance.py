"""`RunnerConformance`, all checks in one class to inherit."""

from __future__ import annotations

from multirun_core.testing.basics import BasicChecks
from multirun_core.testing.faults import FaultChecks


class RunnerConformance(BasicChecks, FaultChecks):
    """What every runner promises. Inherit it and write `make_runner`; see `Declared`."""
