"""The queue system of `queue_program.py` as a `CommandScheduler`, and what tests do with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from multirun_core._runners.scheduler.command import CommandScheduler, Job, JobState, Refusal
from multirun_core._runners.scheduler.runner import SchedulerRunner

PROGRAM = str(Path(__file__).with_name("queue_program.py"))
REASONS = ("NODE_FAIL", "LAUNCH", "CANCELLED", "TIMEOUT")


class Queue(CommandScheduler):
    title: ClassVar[str] = "the queue"

    def __init__(self, home: Path, array_limit: int = 100) -> None:
        self.home = home
        self.array_limit = array_limit
        (home / "jobs").mkdir(parents=True, exist_ok=True)

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-S", PROGRAM, str(self.home), *words]

    def script(self, job: Job) -> str:
        return f"mr_task=${{1:-0}} mr_restart=${{2:-0}}\n{job.body}"

    def submit(self, job: Job, script: str) -> Sequence[str]:
        return self._command("submit", job.name, str(job.tasks or 1), script)

    def job_id(self, printed: str) -> str | None:
        match = re.fullmatch(r"job (\d+)\n", printed)
        return match[1] if match else None

    def refusal(self, code: int, printed: str, complained: str) -> Refusal:
        return Refusal(
            message=" ".join(complained.split()) or f"exit status {code}",
            transient="at the moment" in complained,
            crowded="too many" in complained,
            unknown=code <= 0,
        )

    def status(self, ids: Sequence[str]) -> Sequence[str]:
        return self._command("status", *ids)

    def states(self, printed: str) -> Mapping[str, JobState]:
        found: dict[str, JobState] = {}
        phases: dict[str, Any] = {"RUNNING": "running", "WAITING": "waiting"}
        *lines, rest = printed.split("\n")
        if rest:
            raise ValueError(f"cut off: {rest!r}")
        for line in lines:
            job, task, word, restarts, name, why = line.split(" ", 5)
            if not (job.isdecimal() and task.isdecimal() and restarts.isdecimal()):
                raise ValueError(line)
            state = JobState(
                phase=phases.get(word, "ended"),
                word=word,
                name=name,
                reason=word.lower() if word in REASONS else None,
                message=" ".join(why.split()) or None,
                hopeless=why.startswith("never"),
                doubtful=why.startswith("perhaps"),
                restarts=int(restarts),
            )
            found[f"{job}_{task}"] = state
            if task == "0":
                found[job] = state
        return found

    def find(self, name: str) -> Sequence[str]:
        return self._command("find", name)

    def found(self, printed: str, name: str) -> Sequence[str]:
        told = self.states(printed).items()
        return list(dict.fromkeys(key.partition("_")[0] for key, s in told if s.name == name))

    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        return self._command("cancel", *ids)

    def nudge(self, ids: Sequence[str], number: str) -> Sequence[str] | None:
        return self._command("signal", number, *ids)

    # For tests.

    def calls(self) -> Counter[str]:
        """Return how often each verb was called."""
        return Counter(verb for _, verb, *_ in self.log())

    def log(self) -> list[list[Any]]:
        """Return all calls: when, by the monotonic clock, the verb, and its words."""
        path = self.home / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def times(self, verb: str) -> list[float]:
        """Return when a verb was called."""
        return [when for when, called, *_ in self.log() if called == verb]

    def fail(self, verb: str, times: int = 1) -> None:
        """Let the next calls of a verb fail."""
        self.fault(f"fail-{verb}", times)

    def fault(self, name: str, content: object = "") -> None:
        """Commit a fault; see `queue_program.py`."""
        part = self.home / f"{name}.part"
        part.write_text(str(content))
        part.rename(self.home / name)

    def start(self, job: str) -> None:
        """Let a job begin that is held."""
        subprocess.run(self._command("start", job), check=True)

    def mend(self, name: str) -> None:
        """Undo a fault."""
        (self.home / name).unlink()

    def processes(self) -> dict[int, str]:
        """Return the processes that are at it, jobs and commands, with their command lines."""
        found: dict[int, str] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                if str(self.home.parent) in words and int(entry.name) != os.getpid():
                    found[int(entry.name)] = words
        return found

    def end_all(self) -> None:
        """End all jobs with what they have started; none of them can write how it ended."""
        groups = [int(path.read_text()) for path in self.home.glob("jobs/*/task-*")]
        for group in groups:
            if group > 0:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class QueueRunner(SchedulerRunner):
    def __init__(self, home: str | Path, **options: Any) -> None:
        options = {"poll_interval": (0.2, 1.0), "record_grace": 1.0, "retry_delay": 0.05} | options
        array_limit = options.pop("array_limit", 100)
        super().__init__(Queue(Path(home), array_limit), **options)
