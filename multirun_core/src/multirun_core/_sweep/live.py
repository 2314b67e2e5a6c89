"""A sweep that goes on while its user works with it: ends as they come, further runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from multirun_core._model import params
from multirun_core._model.command import check_filled
from multirun_core._model.run import Run
from multirun_core.errors import RunnerClosedError, UsageError

if TYPE_CHECKING:
    from multirun_core._sweep.driver import Driver
    from multirun_core._sweep.opening import Opened


class Live:
    """What the user's side and the driver's side of a sweep under way share.

    The driver may work in another thread; a lock guards what both touch.
    """

    def __init__(self, driver: Driver, opened: Opened, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the runs that the call has given."""
        self._driver = driver
        self._match = opened.match
        self._loop = loop
        self._changed = threading.Condition()
        self._wakers: set[Callable[[], None]] = set()
        self._asked = set(opened.asked)
        self._done = [run for run in opened.asked if run.done]
        self._accepting = True
        self._over = False
        self._outcome: Callable[[], object] | None = None
        self._cancel: Callable[[], object] | None = None
        self._task: asyncio.Task[Any] | None = None
        driver.on_done = self._note

    def add(self, given: Mapping[str, Any]) -> Run:
        """Add a run; it is written down before it starts.

        In a sweep that was resumed, a run with equal parameters that is there already is taken;
        one that has succeeded is not executed again.

        Raises:
            ParamError: a parameter cannot be stored, or not be given to the command.
            RunnerClosedError: the sweep takes no further runs.
        """
        with self._changed:
            if not self._accepting:
                raise RunnerClosedError(
                    f"{self._driver.root} takes no further runs: it was closed or has ended"
                )
            index = len(self._driver.runs)
            text = params.to_json(index, given)
            check_filled(index, self._driver.cmd, given)
            run = self._match(text)
            new = run is None
            if run is None:
                run = Run(index=index, params=text, keeper=self._driver)
                self._driver.runs.append(run)
            self._asked.add(run)
            if run.status == "success":
                self._done.append(run)
            else:
                self._loop.call_soon_threadsafe(self._driver.take_on, run, new)
        return run

    def attend(self, outcome: Callable[[], object], cancel: Callable[[], object]) -> None:
        """Learn how to wait for a driver in another thread, and how to cancel it."""
        self._outcome, self._cancel = outcome, cancel

    def attend_async(self, task: asyncio.Task[Any]) -> None:
        """Learn which task of this event loop drives the sweep."""
        self._task, self._cancel = task, task.cancel

    def wait(self) -> None:
        """Take no further runs and wait for the driver in the other thread; see `Sweep.wait`."""
        if self._task is not None:
            raise UsageError("this sweep was begun by multirunAsync: use `await sweep.finished()`")
        self.close()
        if self._outcome is not None:
            with contextlib.suppress(concurrent.futures.CancelledError):  # by `cancel`
                self._outcome()

    async def finished(self) -> None:
        """Take no further runs and wait for the task; see `Sweep.finished`."""
        self.close()
        if self._task is None:
            raise UsageError("this sweep was begun by multirun: use `sweep.wait()`")
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([self._task])
            raise
        if not self._task.cancelled():
            self._task.result()

    def cancel(self) -> None:
        """End the runs under way and skip the rest; returns at once."""
        self.close()
        if self._cancel is not None:
            self._cancel()

    def close(self) -> None:
        """Take no further runs; the sweep ends when those it has have ended."""
        with self._changed:
            if not self._accepting:
                return
            self._accepting = False
            if not self._over:
                self._loop.call_soon_threadsafe(self._driver.close)

    def end(self) -> None:
        """Take note that the driver has ended; called by its side."""
        with self._changed:
            self._accepting = False
            self._over = True
        self._wake()

    def completed(self, position: int) -> Run | None:
        """Return the run that was the `position`-th to end; None where it has not come yet.

        Raises:
            StopIteration: it will not come.
        """
        with self._changed:
            if position < len(self._done):
                return self._done[position]
            if self._over or len(self._done) == len(self._asked):
                raise StopIteration
            return None

    def wait_for(self, position: int) -> Run:
        """Return the run that was the `position`-th to end, when it has come.

        Raises:
            StopIteration: it will not come.
        """
        while (run := self.completed(position)) is None:
            with self._changed:
                # Bounded, since a driver in another thread may die without a word.
                self._changed.wait(1.0)
        return run

    async def wait_for_async(self, position: int) -> Run:
        """Do the same without blocking the event loop.

        Raises:
            StopAsyncIteration: it will not come.
        """
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        self._wakers.add(wake)
        try:
            while (run := self._completed_or_stop(position)) is None:
                woken.clear()
                if (run := self._completed_or_stop(position)) is None:
                    await woken.wait()
                else:
                    break
        finally:
            self._wakers.discard(wake)
        return run

    def _completed_or_stop(self, position: int) -> Run | None:
        try:
            return self.completed(position)
        except StopIteration:
            raise StopAsyncIteration from None

    def _note(self, run: Run) -> None:
        with self._changed:
            if run not in self._asked:
                return
            self._done.append(run)
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
            for waker in self._wakers:
                with contextlib.suppress(RuntimeError):  # its loop has been closed meanwhile
                    waker()


class Completions(Iterator[Run], AsyncIterator[Run]):
    """The runs of a sweep in the order in which they end, by `for` or by `async for`.

    Ends when all runs that were asked for so far have ended, those that were added meanwhile too.
    """

    def __init__(self, live: Live | None, ended: list[Run]) -> None:
        """Follow a sweep under way, or go through the runs of one that has ended."""
        self._live = live
        self._ended = ended
        self._position = 0

    def __iter__(self) -> Completions:
        return self

    def __next__(self) -> Run:
        if self._live is None:
            run = self._of_ended()
            if run is None:
                raise StopIteration
        else:
            run = self._live.wait_for(self._position)
        self._position += 1
        return run

    def __aiter__(self) -> Completions:
        return self

    async def __anext__(self) -> Run:
        if self._live is None:
            run = self._of_ended()
            if run is None:
                raise StopAsyncIteration
        else:
            run = await self._live.wait_for_async(self._position)
        self._position += 1
        return run

    def _of_ended(self) -> Run | None:
        return self._ended[self._position] if self._position < len(self._ended) else None
