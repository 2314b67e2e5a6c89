"""`Silence`: for how long a queue system has not told about jobs, and when that is too long."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from multirun_core.errors import BackendError

_log = logging.getLogger("multirun.runner")

TELL_SECONDS = 300.0
"""Between two times that people are told of it."""

PATIENCE_SECONDS = 12 * 3600.0
"""How long it may last while nothing is heard of any run either.

Longer than for what must be known to go on: what is out needs the queue for nothing but bad news,
and a night's maintenance of the controller is no reason to let go of it.
"""


class Silence:
    """Tells people that a queue system does not answer, and gives up when that lasts too long."""

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            title: the name of the queue system.
            say: shows people a line.
        """
        self._title = title
        self._say = say
        self._since: float | None = None
        self._clock = ""
        self._heard = -math.inf
        self._answered = -math.inf
        self._steady = math.inf
        self._told = 0.0
        self._lasting = False

    def hear(self) -> None:
        """Take note of a sign of life of some run, such as its beginning or its end."""
        self._heard = time.monotonic()

    def forget(self) -> None:
        """Take note that it is asked for nothing at the moment."""
        self._since, self._lasting = None, False

    @property
    def lasts(self) -> bool:
        """Whether the queue system was last asked in vain."""
        return self._since is not None

    def answered(self, since: float) -> float:
        """Return for how many seconds after a moment it has answered all that it was asked."""
        return max(0.0, self._answered - max(since, self._steady))

    def end(self, asked: float) -> None:
        """Take note that the queue system has answered what it was asked then."""
        self._answered, self._steady = asked, min(asked, self._steady)
        if self._since is not None:
            text = f"{self._title} tells about jobs again"
            _log.info("%s", text)
            if self._lasting:
                self._say(text)
        self.forget()

    def last(self, why: str) -> None:
        """Take note that it was asked in vain.

        Raises:
            BackendError: that has lasted too long.
        """
        now = time.monotonic()
        self._steady = math.inf
        if self._since is None:
            self._since = self._told = now
            self._clock = time.strftime("%H:%M")
            _log.warning("%s does not tell about jobs: %s", self._title, why)
            return
        if now - max(self._since, self._heard) > PATIENCE_SECONDS:
            raise BackendError(
                f"{self._title} has not told about jobs for {_lasted(now - self._since)}, and "
                f"nothing was heard of any run: {why}. They may go on; resume the sweep later"
            )
        if now - self._told >= TELL_SECONDS:
            self._told, self._lasting = now, True
            _log.warning(
                "%s has not told about jobs since %s, for %s: %s. Runs go on, and those that end "
                "are told by what they leave",
                self._title,
                self._clock,
                _lasted(now - self._since),
                why,
            )


def _lasted(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
