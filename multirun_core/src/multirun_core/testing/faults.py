"""All fault checks in one class."""

from __future__ import annotations

from multirun_core.testing.faults_disk import DiskFaults
from multirun_core.testing.faults_driver import DriverFaults
from multirun_core.testing.faults_programs import ProgramFaults
from multirun_core.testing.faults_results import ResultFaults
from multirun_core.testing.faults_tree import TreeFaults


class FaultChecks(DriverFaults, TreeFaults, ResultFaults, ProgramFaults, DiskFaults):
    """What a runner promises when something breaks: the driver, a program, the disk."""
