"""What the checks of schedulers are made with: jobs, commands that are called, states judged."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from multirun_core._model.resources import Resources
from multirun_core._runners.scheduler.batching import body
from multirun_core._runners.scheduler.command import CommandScheduler, Job, JobState, Phase
from multirun_core.testing import report
from multirun_core.testing.promises import promise
from multirun_core.testing.scheduler_declared import DeclaredScheduler

PHASES = get_args(Phase)
_REASONS = (None, "out_of_memory", "timeout", "node_fail", "preempted", "cancelled", "launch")


class SchedulerKitBase(DeclaredScheduler):
    """What the checks are made with."""

    def job(self, directory: Path | str, name: str = "multirun-1a2b3c", **changes: Any) -> Job:
        """Return a plain job; its body executes `job.sh` in its directory, as real ones do."""
        home = str(directory)
        known: dict[str, Any] = {"name": name, "directory": home, "tasks": None, "body": body(home)}
        return Job(**(known | changes))

    def jobs(self, scheduler: CommandScheduler, directory: Path | str) -> Iterator[Job]:
        """Yield jobs of all kinds."""
        most = min(scheduler.array_limit, 1000)
        needs = Resources(cpus=3, memory_bytes=(1 << 30) + 1)
        for tasks in (None, 2, most) if most > 1 else (None,):
            yield self.job(directory, tasks=tasks)
            yield self.job(directory, tasks=tasks, needs=Resources(cpus=2), seconds=0.5)
            yield self.job(directory, tasks=tasks, needs=needs, seconds=1e6, packed=True)
            yield self.job(directory, tasks=tasks, throttle=1, seconds=90.25)

    def ids(self) -> tuple[str, str]:
        """Return ids of two jobs, as the queue system gives them."""
        known = [job for job in self.printed_by_submit.values() if job is not None]
        first, second, *_ = (*dict.fromkeys(known), "4711", "4712")
        return first, second

    def commands(
        self, scheduler: CommandScheduler, job: Job, script: str, ids: Sequence[str]
    ) -> dict[str, Sequence[str]]:
        """Return all commands that a scheduler has for these, by what they do."""
        found: dict[str, Sequence[str] | None] = {
            "submit": scheduler.submit(job, script),
            "status": scheduler.status(ids),
            "find": scheduler.find(job.name),
            "cancel": scheduler.cancel(ids),
            "nudge": scheduler.nudge(ids, "TERM"),
            "account": scheduler.account(ids),
        }
        return {name: argv for name, argv in found.items() if argv is not None}

    def call(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Call a command of the queue system, with a time limit of a minute, scaled."""
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=self.patience(60),
            check=False,
        )

    def check_told(self, told: object, text: str) -> None:
        """Fail unless these are states as `states` returns them.

        Args:
            told: what was returned.
            text: what was read.
        """
        __tracebackhide__ = True
        promised = f"what is said of a job makes sense, whatever was read; here {text}"
        promise(isinstance(told, Mapping), promised, told)
        for job, state in cast("Mapping[object, object]", told).items():
            wrong = _wrong(job, state)
            promise(not wrong, promised, f"{wrong} of job {job!r}: {state!r}")

    @pytest.fixture(autouse=True)
    def _in_the_scheduler_kit(self, request: pytest.FixtureRequest) -> None:
        """Report the check at the end."""
        report.note(request)


def _wrong(job: object, state: object) -> str | None:
    """Return what no state of a job can be; None where all is well."""
    if not isinstance(job, str) or not job.strip():
        return "the id"
    if not isinstance(state, JobState):
        return "the state"
    texts = (state.name, state.host, state.message)
    kept = {
        "phase": state.phase in PHASES,
        "word": is_a(state.word, str),
        "reason": state.reason in _REASONS and (state.phase == "ended" or state.reason is None),
        "name, host or message": all(text is None or is_a(text, str) for text in texts),
        "message": state.message is None or one_line(state.message),
        "restarts": is_a(state.restarts, int) and state.restarts >= 0,
        "cpu_seconds": state.cpu_seconds is None or 0 <= state.cpu_seconds < math.inf,
        "max_rss_bytes": state.max_rss_bytes is None or state.max_rss_bytes >= 0,
    }
    return next((name for name, well in kept.items() if not well), None)


def is_a(value: object, kind: type) -> bool:
    """Whether a value is what it is declared to be; authors need not write types."""
    return isinstance(value, kind)


def one_line(text: str) -> bool:
    """Whether a text is one line for people."""
    return bool(text.strip()) and "\n" not in text and "\r" not in text
