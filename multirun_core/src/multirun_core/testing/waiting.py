"""What checks of runners and of schedulers share: waiting with a bound, and a hostile directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

from multirun_core.testing.promises import HOSTILE, promise

_T = TypeVar("_T")


class Waits:
    """Waiting for what a check is about.

    Attributes:
        time_scale: how much more patience than for processes of this machine a check needs.
    """

    time_scale: ClassVar[float] = 1.0

    def patience(self, seconds: float) -> float:
        """Return how long to wait for what takes so many seconds on this machine at worst."""
        return seconds * self.time_scale

    def wait_until(self, condition: Callable[[], _T], what: str, seconds: float = 20.0) -> _T:
        """Return what `condition` does once that is true; fail after so many seconds, scaled.

        Args:
            condition: what is asked, again and again.
            what: what is waited for, for the message.
            seconds: how long.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + self.patience(seconds)
        while not (value := condition()):
            promise(time.monotonic() < deadline, what, f"not within {self.patience(seconds):g} s")
            time.sleep(0.005)
        return value

    @pytest.fixture
    def hostile_path(self, tmp_path: Path) -> Path:
        """A new directory with a name of spaces, quotes, `$`, `;`, globs, newline and unicode."""
        path = tmp_path / HOSTILE
        path.mkdir()
        return path
