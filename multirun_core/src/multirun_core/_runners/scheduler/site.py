"""`Site`: where jobs run, as this machine reaches it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._runners.scheduler import JOBS
from multirun_core._runners.scheduler.submission import CALL_SECONDS
from multirun_core.errors import BackendError

if TYPE_CHECKING:
    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._runners.scheduler.submission import Submission, Work
    from multirun_core._transport.base import Transport
    from multirun_core._transport.wrapper import Event, Order

WAIT_OUT_SECONDS = 20.0
"""How long a submit command of an earlier driver may take to end by itself."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run has left.

    Attributes:
        record: how it ended, as its wrapper wrote it.
        claimed: whether somebody has begun to carry it out.
    """

    record: Event | None
    claimed: bool


@dataclass(frozen=True, slots=True)
class Left:
    """What a submit command has left.

    Attributes:
        answer: what it printed.
        begun: whether one was ever about to be called.
    """

    answer: str
    begun: bool


class Site(ABC):
    """The files of jobs, and the way to them.

    Attributes:
        transport: runs the commands of the queue system.
        setup: lines of shell text before each run's program, besides the user's.
        variables: what commands are called with, besides what they have anyway.
        look_seconds: between two looks at what runs have written, at least and at most.
        call_seconds: how long one call of a command of the queue system may take.
    """

    transport: Transport
    setup: Sequence[str] = ()
    look_seconds: tuple[float, float] = (0.1, 2.0)
    call_seconds: float = CALL_SECONDS

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}

    @abstractmethod
    async def open(self) -> None:
        """Find out whether it can be used.

        Raises:
            BackendError: it cannot.
        """

    @abstractmethod
    async def close(self, *, leave: bool) -> None:
        """Let go of it; bounded.

        Args:
            leave: whether what is there is for the next driver.
        """

    # Where things are.

    @abstractmethod
    def directory(self, run: Run, attempt: int, earlier: Path | None = None) -> Path:
        """Return the directory of an attempt, where jobs run.

        Args:
            run: the run.
            attempt: the number of the attempt.
            earlier: the directory of the same attempt that an earlier driver may have submitted
                in vain; one of them must claim it.
        """

    @abstractmethod
    def home(self, run: Run, token: str) -> tuple[Path, Path]:
        """Return the directory of a submission where jobs run, and the one here."""

    def command(self, run: Run) -> list[str]:
        """Return what is carried out there."""
        return run.cmd

    @abstractmethod
    def handle(self, work: Work) -> Mapping[str, Any]:
        """Return what is to be known besides to find a run again."""

    @abstractmethod
    def recall(self, work: Work, handle: Mapping[str, Any]) -> tuple[Path, Path]:
        """Set a run's directory as an earlier driver had it; return what `home` does.

        Raises:
            BackendError: it was elsewhere.
        """

    # What is done there.

    @abstractmethod
    async def lay_out(
        self,
        submission: Submission,
        works: Sequence[Work],
        orders: Mapping[Work, Order],
        script: str,
        slots: int,
    ) -> Mapping[Work, str]:
        """Put all in place that jobs need; on disk when this returns.

        Returns:
            Why runs cannot be carried out there, where one cannot.

        Raises:
            OSError: it cannot be written here.
            BackendError: it cannot be put in place there.
        """

    @abstractmethod
    async def submit(
        self,
        submission: Submission,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the transport keeps it
    ) -> tuple[int, str, str]:
        """Call a submit command; return its exit status, what it printed and complained.

        What is known of one that did not end in time, or whose end nobody has seen, is returned
        likewise, with -1; it lives no more.
        """

    @abstractmethod
    async def news(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Event]]:
        """Return what wrappers have written since the last call.

        Raises:
            BackendError: nobody has been able to tell for long.
        """

    @abstractmethod
    async def evidence(self, works: Sequence[Work]) -> list[Evidence]:
        """Look for what runs have left, past what a network file system remembers."""

    @abstractmethod
    async def prevent(self, works: Sequence[Work]) -> list[bool]:
        """Claim attempts, so that nobody begins them; else note that they are to end.

        Returns:
            Of each, whether nobody can begin it any more.

        Raises:
            BackendError: nobody knows.
        """

    @abstractmethod
    async def spare(self, works: Sequence[Work]) -> list[bool]:
        """Claim attempts, so that nobody begins them; those that have begun are left alone.

        Returns, and raises, what `prevent` does.
        """

    @abstractmethod
    async def find(self, token: str, directory: Path, local: Path) -> Submission | None:
        """Return what an earlier driver was to submit; None where it did not come to it."""

    @abstractmethod
    async def left(self, submission: Submission) -> Left:
        """Return what a submit command has left."""

    @abstractmethod
    async def see_off(self, submission: Submission, *, answered: bool) -> None:
        """Make sure that no client of an earlier driver submits any more; bounded.

        One that is at it is given some seconds to end by itself, since what a queue system has
        been asked it may do even if nobody waits for the answer. It may be a script of the site's
        that calls the real command, so what it has started is ended with it.

        Args:
            submission: what it submits.
            answered: whether it has said the id of the job, and is waited for no more.
        """

    async def bring(self, work: Work, end: ExitStatus) -> ExitStatus:
        """Have what a run has left in its directory here; return its end, with what went wrong.

        Raises:
            OSError: it cannot be written here.
            BackendError: nobody has been able to bring it for long.
        """
        return end


def home_of(run: Run, token: str) -> Path:
    """Return the directory of a submission here: in the sweep's, or a lone run's own."""
    directory = Path(os.path.abspath(run.cwd))  # noqa: PTH100 - resolve() follows links
    if run.keeper is None:
        return directory / ".multirun" / f"{JOBS}-{token}"
    return directory.parent.parent / JOBS / token


def check_how(run: Run, handle: Mapping[str, Any], option: str | None) -> None:
    """Refuse to look for a run where it is not.

    Args:
        run: the run.
        handle: what an earlier driver has left.
        option: the option by which this one reaches its jobs; None where they are here.

    Raises:
        BackendError: the earlier one had another.
    """
    before = handle.get("how")
    if before != option:
        how = f"without {option}" if before is None else f"with {before}"
        raise BackendError(f"run {run.index} was submitted {how}; carry on {how}")
