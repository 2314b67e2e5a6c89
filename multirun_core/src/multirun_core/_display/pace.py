"""How fast runs end, how long the rest takes, and how to say so in few words."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multirun_core._model.status import RunStatistics

# The rate is that of the last runs, so that it follows a sweep whose runs grow longer: of the last
# two minutes, or of the last 30 runs where these took longer.
_WINDOW_SECONDS = 120.0
_WINDOW_RUNS = 30


class Pace:
    """The rate at which runs end, seen from the first look on.

    What was complete at the first look does not count, so a resumed sweep shows no absurd rate.
    Skipped runs do not count either: nothing was executed for them.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._now = 0.0
        self._remaining = 0

    def update(self, now: float, statistics: RunStatistics) -> None:
        """Take notice of the statistics at the time `now`, in seconds of a steady clock."""
        executed = statistics.success_count + statistics.failure_count
        self._now = now
        self._remaining = max(0, statistics.total_count - statistics.complete_count)
        if not self._seen or executed != self._seen[-1][1]:
            self._seen.append((now, executed))
        while len(self._seen) > 2:
            since, count = self._seen[1]
            if now - since < _WINDOW_SECONDS or executed - count < _WINDOW_RUNS:
                break
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Runs that end per second; None while no run has ended yet."""
        if not self._seen:
            return None
        (since, first), (_, last) = self._seen[0], self._seen[-1]
        seconds = self._now - since
        return (last - first) / seconds if last > first and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest takes; None where nobody can tell, or nothing is left."""
        rate = self.rate
        return self._remaining / rate if rate and self._remaining else None


def rate_text(rate: float) -> str:
    """Say a rate given per second, in a unit that gives a handy number: `61/min`."""
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        number = rate * factor
        if number >= (10 if unit == "s" else 1):
            break
    return f"{number:.0f}/{unit}" if number >= 9.95 else f"{number:.2g}/{unit}"


def duration_text(seconds: float) -> str:
    """Say a duration in two units at most: `8 ms`, `42 s`, `31 min`, `5 h 20 min`, `3 d 4 h`."""
    seconds = max(0.0, seconds)
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def summarise(statistics: RunStatistics) -> str:
    """Say the statistics in one line: `120/2000 done, 2 failed, 4 running`."""
    said = [f"{statistics.complete_count}/{statistics.total_count} done"]
    for count, word in (
        (statistics.failure_count, "failed"),
        (statistics.skipped_count, "skipped"),
        (statistics.running_count, "running"),
    ):
        if count:
            said.append(f"{count} {word}")
    return ", ".join(said)


def outlook(pace: Pace) -> list[str]:
    """Say the rate and the time left, as far as known: `61/min` and `about 31 min left`."""
    said: list[str] = []
    if pace.rate is not None:
        said.append(rate_text(pace.rate))
    if pace.seconds_left is not None:
        said.append(f"about {duration_text(pace.seconds_left)} left")
    return said
