"""`Packer`: how many runs one job carries out, and what such a job asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from multirun_core._model.resources import Resources, check_count
from multirun_core._runners.pace import Pace
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.submission import Demand

MOST = 1000
"""No job carries out more runs, so that not too many are lost with one."""

_PROBES = 20  # runs that go out alone, to see how long they take
_SHORTEST = 0.1  # seconds; starting a process takes that
_MARGIN = 1.2  # of the time of packed runs
_START_SECONDS = 60.0
_GENEROUS = 4.0  # times the median, where that is known


class Packer:
    """Decides how many runs go into a job.

    Attributes:
        most: the most that it may come to.
        least: how many it is at least, where there are enough alike.
    """

    def __init__(self, pack: int | Literal["auto"], seconds: float) -> None:
        """Prepare.

        Args:
            pack: the number, or "auto".
            seconds: how long a job is to take with "auto".

        Raises:
            UsageError: a number makes no sense.
        """
        if isinstance(pack, str):
            if pack != "auto":
                raise UsageError(f"pack is {pack!r}; it must be a number of runs, or 'auto'")
        else:
            check_count("pack", pack, least=1)
        if not seconds > 0:
            raise UsageError(f"pack_seconds is {seconds!r}; it must be over 0")
        self._fixed = None if isinstance(pack, str) else min(pack, MOST)
        self._seconds = seconds
        self._pace = Pace()
        self._sent = 0
        self.most = self._fixed or MOST
        self.least = self._fixed or 1

    def add(self, seconds: float) -> None:
        """Take note of how long a run took."""
        self._pace.add(seconds)

    def plan(self, *, parallel: int, out: int, longest: float) -> tuple[int, int | None]:
        """Return how many runs a job is to carry out, and how many runs may go out so.

        Args:
            parallel: how many runs of a job of the largest kind go on at once.
            out: how many runs are out.
            longest: for how long the first of them has been going on, in seconds.

        Returns:
            The first is 0 where more must be known before; the second None for any number.
        """
        if self._fixed is not None:
            return self._fixed, None
        typical = self._pace.median
        if typical is not None:
            size = int(self._seconds * parallel / max(_SHORTEST, typical))
            return max(1, min(MOST, size)), None
        if self._sent < _PROBES:
            return 1, _PROBES - self._sent
        # Where those that are out take that long, nothing is to be packed.
        return (0, 0) if out and longest < self._seconds else (1, None)

    def sent(self, runs: int) -> None:
        """Take note that so many runs went out."""
        self._sent += runs

    def time(self, one: float, waves: int, longest: float | None) -> float:
        """Return for how many seconds a job asks whose runs go on in so many waves.

        Args:
            one: for how long one run may go on.
            waves: how many runs follow one another.
            longest: the most that a job is given; None for no limit. Runs that are cut off by it
                are tried again alone.
        """
        whole = one * waves
        typical = self._pace.median if self._fixed is None else None
        if typical is not None:
            # One may take all of its time. Days for the case that each does would keep the job
            # waiting, or out.
            whole = min(whole, one + _GENEROUS * waves * max(_SHORTEST, typical))
        whole = whole * _MARGIN + _START_SECONDS
        return whole if longest is None else max(one, min(whole, longest))


def together(needs: Resources, slots: int) -> Resources:
    """Return what a job needs in which so many runs go on at once."""
    return Resources(
        cpus=(needs.cpus or 1) * slots,
        memory_bytes=None if needs.memory_bytes is None else needs.memory_bytes * slots,
        gpus=None if needs.gpus is None else needs.gpus * slots,
    )


def jobs_for(demands: Iterable[Demand], pack: int) -> int:
    """Return how many jobs runs with these demands make, where those alike share jobs."""
    # By what they look like, since options need not be hashable.
    kinds = Counter((one.alone, repr(one)) for one in demands)
    return sum(count if alone else -(-count // pack) for (alone, _), count in kinds.items())
