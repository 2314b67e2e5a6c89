"""`Job`: one attempt of a run on one host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from multirun_core._model.run import ExitStatus
from multirun_core._transport.wrapper import Event, parse_look

if TYPE_CHECKING:
    from multirun_core._model.run import Run

State: TypeAlias = Literal["new", "sending", "sent", "ended", "settling", "done"]
"""Where a job stands.

"new": nothing of it is there. "sending": it is on its way, and may have been started. "sent": it
was started. "ended": it has ended, and its files are still there. "settling": its files are being
put in place here. "done": all is said.
"""

_OVER = frozenset(("prevented", "unclaimed", "gone", "claimed"))


class NotStartedError(Exception):
    """Raised where a host has not begun a job and never will, so that another one can have it."""


@dataclass(eq=False, slots=True)
class Job:
    """One attempt of a run on one host.

    Attributes:
        run: the run.
        host: the name of the host.
        dir: the run directory there, absolute.
        attempt: which attempt.
        token: tells its processes from all others.
        source: the run directory here.
        grace: seconds between TERM and KILL when it is ended.
        order: what the wrapper is to do; None for one that an earlier driver started.
        warm: whether it may be forked from the warm interpreter of its host.
        shared: whether `dir` is the run directory itself, in a file system that both see.
        state: where it stands.
        end: how it ended, once that is known.
        done: its end, with its files in place; None where it never began.
        doubts: how often in a row nothing good was seen of it.
        holds_slot: whether it takes a slot.
        ending: why it is to end, where it is.
        may_come: whether a command to start it was lost on its way, so that it may begin though it
            is about to be sent anew.
        refusals: how often it could not be ended.
        refused: what was said last where it could not be ended.
        seen: set once there is proof that it has begun.
        stays: whether it waits for its inputs here though others could have it by now.
    """

    run: Run
    host: str
    dir: str
    attempt: int
    token: str
    source: Path
    grace: float
    order: bytes | None = None
    warm: bool = False
    shared: bool = False
    state: State = "new"
    end: ExitStatus | None = None
    done: asyncio.Future[ExitStatus | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    doubts: int = 0
    holds_slot: bool = True
    ending: str | None = None
    may_come: bool = False
    refusals: int = 0
    refused: str = ""
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    stays: bool = False

    @property
    def name(self) -> str:
        """The name of its directory there."""
        return self.dir.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The directory that it lies in there."""
        return self.dir.rpartition("/")[0]

    @property
    def adopted(self) -> bool:
        """Whether an earlier driver started it."""
        return self.order is None

    @property
    def may_have_begun(self) -> bool:
        """Whether it was sent to its host, or may have been."""
        return self.adopted or self.may_come or self.state != "new"

    def handle(self) -> dict[str, Any]:
        """Return what a later driver finds it again by."""
        return {
            "host": self.host,
            "dir": self.dir,
            "attempt": self.attempt,
            "token": self.token,
            "shared": self.shared,
        }

    @classmethod
    def adopt(cls, run: Run, handle: Mapping[str, Any], grace: float) -> Job:
        """Return the job that a handle is of.

        Raises:
            ValueError: it is no handle of ours.
        """
        try:
            job = cls(
                run=run,
                host=str(handle["host"]),
                dir=str(handle["dir"]),
                attempt=int(handle["attempt"]),
                token=str(handle["token"]),
                source=run.cwd,
                grace=grace,
                shared=bool(handle["shared"]),
                state="sent",
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{handle!r} is no handle of a run over SSH") from error
        if not job.dir.startswith("/") or not job.name:
            raise ValueError(f"{handle!r} is no handle of a run over SSH")
        return job

    def heard(self, event: Event) -> None:
        """Note its end, as the wrapper tells it."""
        self.end = event.exit_status()
        self.seen.set()
        self.state = "ended"

    def finish(self, end: ExitStatus | None) -> None:
        """Say how it ended; what is said first counts."""
        self.state = "done"
        if not self.done.done():
            self.done.set_result(end)

    def refuse(self, error: BaseException) -> None:
        """Say that it cannot be carried out."""
        self.state = "done"
        if not self.done.done():
            self.done.set_exception(error)


def is_over(said: str) -> bool:
    """Whether nothing of a job lives any more, by what `far.sh end` told of it."""
    state = parse_look(said)
    return isinstance(state, Event) or state in _OVER or said.strip() == "absent"


def read_told(text: bytes, jobs: list[Job]) -> list[tuple[Job, str]]:
    """Return what `far.sh` told of jobs, by their places in the list."""
    found: list[tuple[Job, str]] = []
    for line in text.decode(errors="replace").splitlines():
        place, _, said = line.partition("\t")
        if place.isdecimal() and int(place) < len(jobs):
            found.append((jobs[int(place)], said + "\n"))
    return found
