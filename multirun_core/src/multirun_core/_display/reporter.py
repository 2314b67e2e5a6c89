"""`Reporter`, by which a sweep speaks to people; all of it on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from multirun_core._display.pace import Pace
from multirun_core._display.painter import Canvas, Painter, PlainLines
from multirun_core._display.stream import SafeStream, in_notebook, one_line, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from multirun_core._model.status import RunStatistics

_REFRESH = 0.2  # seconds between two states, at least
_SHARE = 0.02  # of the loop's time that counting may take
_LAST_WORD = 2.0  # seconds that a terminal has to take the last state

# Two bars would fight for the last line of the terminal: the second sweep writes plain lines.
_bar_lock = threading.Lock()


class Reporter:
    """Says what people should know about one sweep.

    Nothing here raises or waits for the terminal: a standard error that is closed, a pipe whose
    reader has gone or a terminal that was halted only lose what was to be said.
    """

    def __init__(self, progress: bool | None = None, stream: TextIO | None = None) -> None:
        """Make a reporter.

        Args:
            progress: None shows a bar on a terminal or in a notebook, and a plain line now and
                then otherwise; True shows the bar in any case; False says nothing at all.
            stream: where to; standard error by default.
        """
        self._progress = progress
        self._notebook = stream is None and progress is not False and in_notebook()
        self._stream = SafeStream(sys.stderr if stream is None else stream)
        self._painter: Painter | None = None

    def say(self, text: str) -> None:
        """Say one line, above the bar if one is shown; may be called from any thread."""
        if self._progress is False:
            return
        line = "multirun: " + one_line(text)
        painter = self._painter
        if painter is None or not painter.say(line):
            self._stream.write(line + "\n")
            self._stream.flush()

    async def watch(
        self,
        statistics: Callable[[], RunStatistics],
        label: str = "multirun",
        *,
        delay: float = 0.5,
    ) -> None:
        """Show how far the runs are until all of them are complete.

        Cancelling it leaves the last state on the screen and the terminal in order.

        Args:
            statistics: called in this loop, now and then, for the present state.
            label: what stands before the bar.
            delay: seconds before anything is shown; a sweep that is shorter imports no rich.
        """
        if self._progress is False or not self._stream.usable or self._painter is not None:
            return
        started = time.monotonic()
        pace = Pace()
        state, cost = _timed(statistics)
        pace.update(started, state)
        try:
            while state.complete_count < state.total_count:
                now = time.monotonic()
                pause = max(_REFRESH, cost / _SHARE)
                if self._painter is None and now - started < delay:
                    pause = min(pause, started + delay - now)
                else:
                    if self._painter is None:
                        self._painter = Painter(lambda: self._canvas(label, started), pace)
                    self._painter.show(now, state)
                await asyncio.sleep(pause)
                state, cost = _timed(statistics)
        finally:
            await self._finish(statistics, state)

    async def _finish(self, statistics: Callable[[], RunStatistics], state: RunStatistics) -> None:
        painter = self._painter
        if painter is None:
            return
        # Whatever ended the watch must come through, not an error of a last look.
        with contextlib.suppress(Exception):
            state = statistics()
        painter.show(time.monotonic(), state)
        painter.close()
        end = time.monotonic() + _LAST_WORD
        try:
            while painter.alive and time.monotonic() < end:  # noqa: ASYNC110 - a thread ends it
                await asyncio.sleep(0.005)
        finally:
            self._painter = None

    def _canvas(self, label: str, started: float) -> Canvas:
        place = place_of(self._stream)
        forced = self._progress is True and os.environ.get("TERM", "").lower() != "dumb"
        bar = self._notebook or forced or place == "terminal"
        if not bar or not _bar_lock.acquire(blocking=False):
            return PlainLines(self._stream, started)
        try:
            from multirun_core._display.bar import NotebookBar, TerminalBar

            if self._notebook:
                return _Alone(NotebookBar(self._stream, label))
            return _Alone(TerminalBar(self._stream, label, force=place != "terminal"))
        except BaseException:
            _bar_lock.release()
            raise


def _timed(statistics: Callable[[], RunStatistics]) -> tuple[RunStatistics, float]:
    begun = time.perf_counter()
    return statistics(), time.perf_counter() - begun


class _Alone:
    """A bar that holds the lock while it is shown."""

    def __init__(self, bar: Canvas) -> None:
        self._bar = bar
        self.draw = bar.draw
        self.say = bar.say

    def close(self) -> None:
        try:
            self._bar.close()
        finally:
            _bar_lock.release()
