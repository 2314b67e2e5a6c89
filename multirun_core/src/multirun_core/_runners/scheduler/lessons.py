"""`Lessons`: what attempts teach about those that follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from multirun_core._runners.scheduler import verdict
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._runners.scheduler.packing import Packer
    from multirun_core._runners.scheduler.submission import Submission, Work


class Factors(NamedTuple):
    """By what to multiply what the next attempt of a run gets, since it ran out of it before."""

    memory: float = 1.0
    seconds: float = 1.0


class Lessons:
    """Remembers what attempts have taught, about their own runs and about others."""

    def __init__(self, scale: Mapping[str, float] | None, packer: Packer) -> None:
        """Prepare.

        Args:
            scale: factors for what a run gets in its next attempt, after it ran out of it.
            packer: is told how long runs take.

        Raises:
            UsageError: the factors make no sense.
        """
        self._scale = _check_scale(scale)
        self._packer = packer
        self._factors: dict[Run, Factors] = {}
        self._alone: set[Run] = set()
        self._vain: dict[Run, tuple[Submission, Path]] = {}

    def learn(self, work: Work, end: ExitStatus) -> None:
        """Take note of how an attempt has ended."""
        run = work.run
        if end.ok and end.started is not None and end.ended is not None:
            self._packer.add(end.ended - end.started)
        memory, seconds = self.factors(run)
        if end.reason == "out_of_memory":
            self._factors[run] = Factors(memory * self._scale.get("mem", 1.0), seconds)
        elif end.reason == "timeout":
            self._factors[run] = Factors(memory, seconds * self._scale.get("time", 1.0))
        if verdict.no_fault(end) and work.submission is not None and work.submission.pack > 1:
            self._alone.add(run)

    def factors(self, run: Run) -> Factors:
        """Return by what to multiply what a run gets."""
        return self._factors.get(run, Factors())

    def alone(self, run: Run) -> bool:
        """Whether a run may share no job: one that it shared was lost."""
        return run in self._alone

    def note_vain(self, work: Work, submission: Submission) -> None:
        """Take note that an earlier driver may have submitted an attempt, in vain."""
        self._vain[work.run] = submission, work.directory

    def take_vain(self, run: Run) -> tuple[Submission | None, Path | None]:
        """Return that submission and the attempt's directory, once; None where there is none."""
        return self._vain.pop(run, (None, None))


def _check_scale(scale: Mapping[str, float] | None) -> dict[str, float]:
    given = dict(scale or {})
    for name, factor in given.items():
        if name not in ("mem", "time") or not factor >= 1:
            raise UsageError(
                f"retry_scale holds {name!r}: {factor!r}; it must be a mapping such as "
                '{"mem": 2, "time": 2}, with factors of 1 or more'
            )
    return given
