"""All basic checks in one class."""

from __future__ import annotations

from multirun_core.testing.contract import ContractChecks
from multirun_core.testing.ending import EndingChecks
from multirun_core.testing.execution import ExecutionChecks
from multirun_core.testing.sweeping import SweepChecks
from multirun_core.testing.tidiness import TidinessChecks


class BasicChecks(ContractChecks, ExecutionChecks, SweepChecks, EndingChecks, TidinessChecks):
    """What a runner promises while nothing breaks."""
