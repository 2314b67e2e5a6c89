"""How long runs take, for time limits that are relative to others."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

ENOUGH = 5
"""So many successes must be known before there is a limit."""

LEAST_SECONDS = 1.0
"""No limit is shorter, since starting a process takes a varying time."""

_MOST = 1000


class Pace:
    """Knows the median running time of the last 1,000 successes."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take note of the running time of a success."""
        if len(self._order) == _MOST:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(seconds)
        insort(self._sorted, seconds)

    @property
    def median(self) -> float | None:
        """The median in seconds; None until there are enough successes."""
        count = len(self._sorted)
        if count < ENOUGH:
            return None
        return (self._sorted[(count - 1) // 2] + self._sorted[count // 2]) / 2

    def limit(self, factor: float) -> float | None:
        """Return so many times the median, in seconds; None until there are enough successes."""
        median = self.median
        return None if median is None else max(LEAST_SECONDS, factor * median)
