"""Draws in a thread of its own, so that a terminal that was halted (Ctrl-S) halts no sweep."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

from multirun_core._display.pace import duration_text, outlook, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from multirun_core._display.pace import Pace
    from multirun_core._display.stream import SafeStream
    from multirun_core._model.status import RunStatistics

_log = logging.getLogger("multirun.display")
_FIRST_LINE, _LONGEST_PAUSE = 5.0, 60.0


class Canvas(Protocol):
    """Something that shows the latest state, and lines above it."""

    def draw(self, statistics: RunStatistics, pace: Pace) -> None:
        """Show this state."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def close(self) -> None:
        """Leave what is shown, and put everything back in order."""
        ...


class PlainLines:
    """A line after 5 seconds, then at pauses that double up to a minute, and one at the end."""

    def __init__(
        self, stream: SafeStream, started: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._started, self._clock = stream, started, clock
        self._pause = _FIRST_LINE
        self._next = started + _FIRST_LINE
        self._last: RunStatistics | None = None

    def draw(self, statistics: RunStatistics, pace: Pace) -> None:
        """Write a line if it is time for one."""
        self._last = statistics
        now = self._clock()
        if now < self._next or statistics.complete_count == statistics.total_count:
            return
        self.say("multirun: " + ", ".join([summarise(statistics), *outlook(pace)]))
        # From 5 s on every line doubles the time since the start, as far as a minute apart.
        self._next = now + self._pause
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    def say(self, text: str) -> None:
        """Write a line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Write the last line."""
        if self._last is not None:
            took = duration_text(self._clock() - self._started)
            self.say(f"multirun: {summarise(self._last)}, in {took}")


class Painter:
    """The thread that owns a canvas; whoever hands it something never waits."""

    def __init__(self, make_canvas: Callable[[], Canvas], pace: Pace) -> None:
        self._make_canvas, self._pace = make_canvas, pace
        self._wake = threading.Condition()
        self._lines: list[str] = []
        self._state: tuple[float, RunStatistics] | None = None
        self._closing = False
        self._over = False
        # A kernel of Jupyter finds the cell to display in by a context variable.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="multirun-display", daemon=True
        )
        self._thread.start()

    def show(self, now: float, statistics: RunStatistics) -> None:
        """Show this state, and not those before it that were not shown yet."""
        with self._wake:
            self._state = (now, statistics)
            self._wake.notify()

    def say(self, text: str) -> bool:
        """Show a line that stays; False where the canvas is closed already."""
        with self._wake:
            if self._over:
                return False
            self._lines.append(text)
            self._wake.notify()
            return True

    def close(self) -> None:
        """Ask for the end; the last state is shown before it."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    @property
    def alive(self) -> bool:
        """Whether something may still be drawn."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            canvas = self._make_canvas()
            try:
                self._paint(canvas)
            finally:
                canvas.close()
        except Exception:
            # What cannot be shown must not end a sweep, nor spill a traceback over the terminal.
            _log.debug("the display failed", exc_info=True)
        finally:
            with self._wake:
                self._over = True

    def _paint(self, canvas: Canvas) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._lines or self._state or self._closing)
                lines, self._lines = self._lines, []
                state, self._state = self._state, None
                if self._closing and not lines and state is None:
                    self._over = True
                    return
            for line in lines:
                canvas.say(line)
            if state is not None:
                self._pace.update(*state)
                canvas.draw(state[1], self._pace)
