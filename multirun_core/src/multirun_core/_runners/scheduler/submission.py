"""`Submission`, one job or array that was handed over, and `Work`, one attempt of a run in it.

What a submission is lies in a directory of its own, in `jobs/` of the sweep, so that the next
driver finds out from it what this one did:

    plan.json    what it is        script    what was submitted
    plan, runs   for job.sh        client    who submitted it, while it did
    answer       what the submit command printed: the id
    log          lines of the wrappers, as runs start and end
    out          what the jobs themselves print
    warm…        for a warm interpreter, where runs may be forked from one
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._model.resources import Resources
from multirun_core._runners.scheduler.command import JobState
from multirun_core._runners.warmth import COLD
from multirun_core._transport.wrapper import CLAIM, Event, parse_line, wrapper_text

if TYPE_CHECKING:
    from multirun_core._model.run import ExitStatus, Run

CALL_SECONDS = 60.0
"""Time limit of one call; a controller that is away takes some 20 s to say so."""

_log = logging.getLogger("multirun.runner")

_PLAIN = re.compile(rb"[^A-Za-z0-9_./+:,@%=-]")


@cache
def shell_text(name: str) -> bytes:
    """Return one of the scripts beside this module."""
    return Path(__file__).with_name(name).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What runs must have in common to go into one submission.

    Attributes:
        needs: CPUs, memory and GPUs of one run.
        seconds: for how long one run may go on; None for what the queue system allows.
        alone: whether they may not share jobs.
        options: what else the queue system is asked for; compared, and handed on in `Job`.
    """

    needs: Resources = field(default_factory=Resources)
    seconds: float | None = None
    alone: bool = False
    options: Any = None


@dataclass(eq=False, slots=True)
class Work:
    """One attempt of a run, from `execute` to its end.

    Attributes:
        run: the run.
        attempt: the number of the attempt.
        directory: the directory of the attempt, where jobs run; often the run directory.
        done: how it ended, once there is a verdict.
        number: its line in the submission's `runs`.
        started: what the wrapper wrote at its start.
        ended: what the wrapper wrote at its end.
        noticed: when its end was seen, or that its job is over, by the monotonic clock.
        cancelling: whether its end was asked for here.
        looked: when its record was last looked for, likewise.
        claimed: whether somebody had begun to carry it out then.
        begun: whether its beginning has been noted.
        accounted: whether accounts have told about its job.
        refused: when a job for it was first refused though no other was out, likewise; 0 for never.
    """

    run: Run
    attempt: int
    directory: Path
    done: asyncio.Future[ExitStatus]
    demand: Demand = field(default_factory=Demand)
    submission: Submission | None = None
    number: int = -1
    started: Event | None = None
    ended: Event | None = None
    noticed: float | None = None
    looked: float = 0.0
    cancelling: bool = False
    claimed: bool = False
    begun: bool = False
    accounted: bool = False
    refused: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has its verdict; that nobody knows what became of it is none."""
        done = self.done
        return done.done() and not done.cancelled() and done.exception() is None

    def take_end(self, record: Event) -> None:
        """Take note of what the wrapper wrote at its end."""
        self.started = self.started or record
        self.ended = record
        self.noticed = time.monotonic()

    @property
    def claim(self) -> Path:
        """The directory whose making is the claim to carry out this attempt."""
        return self.directory / f"{CLAIM}{self.attempt}"


@dataclass(slots=True)
class Sight:
    """What polls have told about one task.

    Attributes:
        state: the last that was told of it; None where it never was in a good poll.
        missing: how many good polls in a row did not know it.
        since: when the first of these was, by the monotonic clock.
    """

    state: JobState | None = None
    missing: int = 0
    since: float = 0.0

    def see(self, state: JobState) -> None:
        """Take note of what was told."""
        self.state, self.missing, self.since = state, 0, 0.0

    def miss(self) -> None:
        """Take note that no poll will ever tell of it, as nobody knows what it is called."""
        self.missing, self.since = 2, self.since or time.monotonic()

    @property
    def over(self) -> bool:
        """Whether nothing of the task can be left: it has ended, or two good polls say nothing."""
        return self.missing >= 2 or (
            self.missing == 0 and self.state is not None and self.state.phase == "ended"
        )


class Submission:
    """A job or array, from the intent to submit it to its last run's end.

    Attributes:
        token: what tells it from all others, anywhere; part of its name.
        directory: its directory, where jobs run.
        local: the same here.
        pack: how many runs each task carries out.
        tasks: how many tasks it has; None for a plain job.
        ids: ids of the jobs that bear its name; one, unless a submit command was lost on the way.
        works: the runs that have no verdict yet, by number.
        sights: what polls have told, by task.
        time: when it was made, in seconds since the epoch.
        earlier: names under which its runs had been submitted, as far as anybody knew, in vain.
        asked: when it was last looked for by its name, by the monotonic clock.
        confirmed: whether that look found nothing new.
        elsewhere: whether the last good look found a job by one of the earlier names that goes on.
        elsewhere_until: when such a job may last have gone on, as far as looks tell; likewise.
        offset: how much of its log has been read.
        call_seconds: how long its submit command may take, wherever it is called.
        more: further files for its directory, by name; only their owner can read them.
    """

    def __init__(
        self, token: str, directory: Path, local: Path | None = None, *, pack: int, runs: int
    ) -> None:
        self.token = token
        self.directory = directory
        self.local = directory if local is None else local
        self.pack = pack
        count = -(-runs // pack)
        self.tasks = None if count == 1 else count
        self.ids: list[str] = []
        self.works: dict[int, Work] = {}
        self.sights: dict[int, Sight] = {}
        self.time = time.time()
        self.earlier: list[str] = []
        self.asked = 0.0
        self.confirmed = False
        self.elsewhere = False
        self.elsewhere_until = 0.0
        self.offset = 0
        self.call_seconds = CALL_SECONDS
        self.more: Mapping[str, bytes] = {}
        self._tail = b""
        self._said: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Submission {self.token} as {'+'.join(self.ids) or 'no job yet'}>"

    @property
    def name(self) -> str:
        """The job's name."""
        return f"multirun-{self.token}"

    def task_of(self, work: Work) -> int:
        """Return the number of the task that carries out a run."""
        return work.number // self.pack

    def mates(self, task: int) -> list[Work]:
        """Return the runs of a task that have no verdict yet."""
        first = task * self.pack
        return [self.works[n] for n in range(first, first + self.pack) if n in self.works]

    def sight(self, task: int) -> Sight:
        """Return what polls have told about a task."""
        return self.sights.setdefault(task, Sight())

    # On disk.

    def write(self, works: Sequence[Work], script: str, slots: int) -> None:
        """Write all that a job and the next driver need; on disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        base = os.path.commonpath([str(work.directory.parent) for work in works])
        files = {
            "wrapper.sh": wrapper_text(),
            "job.sh": shell_text("job.sh"),
            "runs": b"".join(_line(work, base) for work in works),
            "plan": (
                f"mr_size={self.pack}\nmr_slots={slots}\nmr_base={shlex.quote(base)}\n"
            ).encode("utf-8", "surrogateescape"),
            "log": b"",
        }
        self._put({**files, **self._intent(script, len(works))})

    def write_intent(self, script: str) -> None:
        """Write what is needed to submit a job that carries out no runs; likewise.

        Raises:
            OSError: it cannot be written.
        """
        self._put(self._intent(script, 1))

    def _intent(self, script: str, runs: int) -> Mapping[str, bytes]:
        plan = {
            "time": self.time,
            "pack": self.pack,
            "runs": runs,
            "earlier": self.earlier,
            "call_seconds": self.call_seconds,
        }
        return {
            "submit.sh": shell_text("submit.sh"),
            "script": script.encode("utf-8", "surrogateescape"),
            "plan.json": json.dumps(plan).encode(),
        }

    def _put(self, files: Mapping[str, bytes]) -> None:
        self.local.mkdir(parents=True, exist_ok=True)
        for name, content in {**files, **self.more}.items():
            path = self.local / name
            if name in self.more:
                path.parent.mkdir(exist_ok=True)
                path.touch(0o600)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    @classmethod
    def load(cls, token: str, directory: Path, local: Path) -> Submission | None:
        """Read what an earlier driver made; None where it did not come to submitting it."""
        try:
            plan: Mapping[str, Any] = json.loads((local / "plan.json").read_bytes())
            pack, runs = int(plan["pack"]), int(plan["runs"])
            submission = cls(token, directory, local, pack=pack, runs=runs)
            submission.time = float(plan["time"])
            submission.earlier = [str(name) for name in plan["earlier"]]
            submission.call_seconds = float(plan.get("call_seconds", CALL_SECONDS))
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return submission

    def take(self, data: bytes) -> list[Event]:
        """Return what wrappers say in a further part of the log.

        A line that was torn, as two hosts can do to each other on a network file system, is
        passed over: it is no evidence, and what is in the run directory is.
        """
        self.offset += len(data)
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            if line.startswith(COLD) and line not in self._said:
                self._said.add(line)
                why = line.removeprefix(COLD).decode("utf-8", "replace")
                _log.warning("no warm Python, so that runs start as usual: %s", why)
        events = (parse_line(line.decode("utf-8", "replace") + "\n") for line in lines)
        return [event for event in events if event is not None]

    def work_of(self, event: Event) -> Work | None:
        """Return the run that a line is about, if it waits for its verdict."""
        token, _, number = event.token.rpartition("-")
        if token != self.token or not number.isdecimal():
            return None
        work = self.works.get(int(number))
        return work if work is not None and work.attempt == event.attempt else None


def escaped(path: str | Path) -> bytes:
    """Return a path in plain characters; `printf %b` makes the path of it."""
    return _PLAIN.sub(lambda match: b"\\0%03o" % match[0][0], os.fsencode(path))


def _line(work: Work, base: str) -> bytes:
    """Return the line of a run."""
    return b"%d %s\n" % (work.attempt, escaped(os.path.relpath(work.directory, base)))
