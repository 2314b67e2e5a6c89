"""What runners of other distributions are built on, besides `TaskRunner`.

For queue systems that are used by commands: write a `CommandScheduler`, and give it to a
`SchedulerRunner`. For machines that are reached by other means than SSH: write a `Transport`.
"""

from __future__ import annotations

from multirun_core._runners.scheduler.command import CommandScheduler, Job, JobState, Refusal
from multirun_core._runners.scheduler.link import Login
from multirun_core._runners.scheduler.runner import SchedulerRunner
from multirun_core._transport.base import Completed, Sink, Source, Transport
from multirun_core._transport.local import LocalTransport

__all__ = [
    "CommandScheduler",
    "Completed",
    "Job",
    "JobState",
    "LocalTransport",
    "Login",
    "Refusal",
    "SchedulerRunner",
    "Sink",
    "Source",
    "Transport",
]
