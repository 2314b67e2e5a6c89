"""Blocking calls over the asynchronous core: from scripts, event loops and notebooks alike.

The sweep always goes on in a thread with an event loop of its own, and the caller waits. Signals
are taken by handlers in the main thread: the first ends the sweep in good order, the second at
once, a third gives up waiting.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import signal
import threading
import time
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

from multirun_core._sweep.sweep import Sweep
from multirun_core._sweep.unwaited import see_to_its_end

if TYPE_CHECKING:
    from multirun_core._display.reporter import Reporter
    from multirun_core._sweep.conduct import Conductor

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HURRY_SECONDS = 15.0
_LOOK_SECONDS = 0.2


class Interrupted(BaseException):
    """Raised after the clean-up when a signal has ended the sweep.

    Attributes:
        signum: the signal.
        sweep: the sweep as it was left; None where it had not been opened yet.
    """

    def __init__(self, signum: int, sweep: Sweep | None) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.sweep = sweep


class _Signals:
    """What signals have come, and what they set off."""

    def __init__(self, conductor: Conductor, reporter: Reporter) -> None:
        self.first: int | None = None
        self.patience = math.inf
        self.abandoned = False
        self._count = 0
        self._conductor = conductor
        self._reporter = reporter

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self.first = signum
            name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
            self._reporter.say(f"{name}: {self._conductor.interrupting} (once more: at once)")
            self._conductor.interrupt()
        elif self._count == 2:
            self.patience = time.monotonic() + _HURRY_SECONDS
            self._conductor.hurry()
        else:
            self.abandoned = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def taken(self) -> Generator[None, None, None]:
        """Take the signals meanwhile; one that is ignored stays ignored."""
        before = {
            number: handler
            for number in _SIGNALS
            if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
        }
        try:
            for number in before:
                signal.signal(number, self.handle)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_blocking(conductor: Conductor, reporter: Reporter) -> Sweep:
    """Carry a sweep out and wait for its end.

    Raises:
        Interrupted: a signal has ended it; all is cleaned up and written down.
    """
    outcome: concurrent.futures.Future[Sweep] = concurrent.futures.Future()
    thread = threading.Thread(
        target=_work, args=(conductor, outcome), name="multirun-sweep", daemon=True
    )
    signals = _Signals(conductor, reporter)
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        _wait(outcome, conductor, signals)
        return _result(outcome, thread)
    with signals.taken():
        thread.start()
        if _wait(outcome, conductor, signals):
            with contextlib.suppress(concurrent.futures.CancelledError):
                _result(outcome, thread)
        if signals.first is not None:
            _tell(conductor, reporter)
    # A signal that came when all was done already must not be lost either.
    if signals.first is None:
        return _result(outcome, thread)
    raise Interrupted(signals.first, conductor.sweep)


def _wait(
    outcome: concurrent.futures.Future[Sweep], conductor: Conductor, signals: _Signals
) -> bool:
    """Wait for the end; return whether it has come, and not just the end of patience.

    What a handler of the caller's raises here, such as for an alarm, ends the sweep in good order.
    """
    # `Thread.join` would lose the thread when a handler raises; a Future does not.
    try:
        while not concurrent.futures.wait([outcome], _LOOK_SECONDS).done:
            if time.monotonic() > signals.patience:
                return False
    except BaseException:
        if not signals.abandoned:
            conductor.interrupt()
            if not concurrent.futures.wait([outcome], _HURRY_SECONDS).done:
                conductor.hurry()
                concurrent.futures.wait([outcome], _HURRY_SECONDS)
        raise
    return True


def start_live(conductor: Conductor) -> Sweep:
    """Begin a sweep that goes on in a thread; return it as soon as it has been opened."""
    opened: concurrent.futures.Future[None] = concurrent.futures.Future()
    outcome: concurrent.futures.Future[Sweep] = concurrent.futures.Future()
    conductor.on_open = lambda: opened.set_result(None)
    thread = threading.Thread(
        target=_work, args=(conductor, outcome), name="multirun-sweep", daemon=True
    )
    thread.start()
    either: list[concurrent.futures.Future[Any]] = [opened, outcome]
    try:
        concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)
    except BaseException:  # nobody would hold a sweep that goes on
        conductor.interrupt()
        concurrent.futures.wait([outcome], _HURRY_SECONDS)
        raise
    if conductor.sweep is None or conductor.live is None:
        return _result(outcome, thread)
    see_to_its_end(outcome, conductor)
    conductor.live.attend(lambda: _result(outcome, thread), conductor.interrupt)
    return conductor.sweep


async def start_live_async(conductor: Conductor) -> Sweep:
    """Do the same in the running event loop."""
    opened = asyncio.Event()
    conductor.on_open = opened.set
    task = asyncio.ensure_future(conductor.conduct())
    opening = asyncio.ensure_future(opened.wait())
    try:
        await asyncio.wait([task, opening], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    finally:
        opening.cancel()
    if conductor.sweep is None or conductor.live is None:
        return await task
    conductor.live.attend_async(task)
    return conductor.sweep


def _work(conductor: Conductor, outcome: concurrent.futures.Future[Sweep]) -> None:
    try:
        sweep = asyncio.run(conductor.conduct())
    except asyncio.CancelledError:
        outcome.set_exception(concurrent.futures.CancelledError())
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(sweep)


def _result(outcome: concurrent.futures.Future[Sweep], thread: threading.Thread) -> Sweep:
    try:
        return outcome.result()
    finally:
        if outcome.done():
            thread.join()


def _tell(conductor: Conductor, reporter: Reporter) -> None:
    if conductor.sweep is None:
        reporter.say("interrupted before the sweep had begun")
        return
    statistics = conductor.sweep.statistics
    reporter.say(
        f"interrupted: {statistics.success_count} of {statistics.total_count} runs succeeded. "
        f"Carry on with: multirun resume {conductor.sweep.path}   "
        "(or the same call with resume=True)"
    )
