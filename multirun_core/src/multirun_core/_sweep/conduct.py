"""`Conductor`: one call of `multirun`, from its checked arguments to the sweep."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from multirun_core._display.reporter import Reporter
from multirun_core._model.resources import size_text
from multirun_core._registry import Registry
from multirun_core._sweep.aside import aside
from multirun_core._sweep.claiming import give_up
from multirun_core._sweep.driver import Driver
from multirun_core._sweep.journal import Journal
from multirun_core._sweep.layout import JOURNAL
from multirun_core._sweep.live import Live
from multirun_core._sweep.observers import Observers
from multirun_core._sweep.opening import Opened, open_sweep
from multirun_core._sweep.segment import path_of
from multirun_core._sweep.sweep import Sweep
from multirun_core._threads import Work
from multirun_core.errors import RunsFailedError, SweepError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from multirun_core._sweep.call import Call

_NAMED_FAILURES = 10
_LOOK_SECONDS = 0.5
_FIRST_TOLD_SECONDS = 1.5
_TOLD_SECONDS = 12.0


class Conductor:
    """Opens the sweep, drives it, and shows how it goes.

    Attributes:
        sweep: the sweep, once it has been opened.
        live: what it shares with its user while it is open for more.
    """

    def __init__(
        self,
        call: Call,
        reporter: Reporter,
        *,
        check: bool = False,
        observers: Iterable[object] = (),
    ) -> None:
        self._call = call
        self._reporter = reporter
        self._check = check
        self._given = observers
        self._driver: Driver | None = None
        self._task: asyncio.Task[Sweep] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interrupted = False
        self._work = Work()
        self._read = 0
        self.sweep: Sweep | None = None
        self.on_open: Callable[[], None] | None = None
        self.live: Live | None = None

    async def conduct(self) -> Sweep:
        """Carry the sweep out. Cancelled, it cleans up and raises `CancelledError`.

        Raises:
            RunsFailedError: runs failed, and `check` was asked for.
            MultirunError: the sweep could not begin, or could not go on.
        """
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._interrupted:  # before it had begun
            raise asyncio.CancelledError
        call = self._call
        call.runner.reserve(self)
        call.runner.say = self._reporter.say
        try:
            observers = self._observers()
            return await self._drive(await self._open(), observers)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise SweepError(
                f"cannot write the sweep in {call.root}: {error.strerror or error}{where}. Put "
                "that right, then make the same call with resume=True, or: multirun resume DIR"
            ) from error
        finally:
            call.runner.reserve(None)
            if self.live is not None:
                self.live.end()

    async def _open(self) -> Opened:
        opened: list[Opened] = []
        told = asyncio.create_task(self._tell_reading())
        try:
            await self._work.do(
                lambda: opened.append(open_sweep(self._call, self._reporter.say)), self._count
            )
        except asyncio.CancelledError:
            for one in opened:
                give_up(self._call.root, one.number)
            raise
        finally:
            told.cancel()
        return opened[0]

    def _count(self, size: int) -> None:
        self._read += size

    async def _tell_reading(self) -> None:
        """Say now and then how much of the input files was read: they may be large."""
        pause = _FIRST_TOLD_SECONDS
        while True:
            await asyncio.sleep(pause)
            if self._read:
                self._reporter.say(f"reading the input files: {size_text(self._read)} so far")
                pause = min(pause * 2, _TOLD_SECONDS)

    def _observers(self) -> Observers:
        """Find the plugins that observe.

        Raises:
            UsageError: one that was given by the call is none.
        """
        try:
            plugins, failures = Registry().observers(self._given)
        except Exception as error:
            raise UsageError(f"observers: {error}") from error
        for failure in failures:
            self._reporter.say(f"the observer of {failure.provider} is left out: {failure.why}")
        return Observers(plugins, self._reporter.say)

    async def _drive(self, opened: Opened, observers: Observers) -> Sweep:
        call = self._call
        try:
            journal = Journal(path_of(call.root / JOURNAL, opened.number), opened.number)
        except BaseException:  # nobody is left who would let go of it
            give_up(call.root, opened.number)
            raise
        self._driver = driver = Driver(call, opened, journal, self._work)
        if call.policy.timeout_factor is not None:
            call.runner.recall(driver.runs)
        if call.stay_open:
            self.live = Live(driver, opened, asyncio.get_running_loop())
        self.sweep = sweep = Sweep(driver, self.live)
        driver.on_change = partial(observers.changed, sweep)
        observers.started(sweep)
        if self.on_open is not None:
            self.on_open()
        for note in opened.notes:
            self._reporter.say(note)
        watching = asyncio.create_task(self._watch(sweep, driver))
        try:
            with aside(len(driver.runs)):
                await driver.drive()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            observers.finished(sweep)
        for remark in call.runner.remarks():
            self._reporter.say(remark)
        if self._check and sweep.failures:
            raise failed(sweep)
        return sweep

    async def _watch(self, sweep: Sweep, driver: Driver) -> None:
        """Show how it goes; a sweep that is open for more may be complete several times."""
        await self._reporter.watch(lambda: sweep.statistics, self._call.root.name)
        while driver.open:
            await asyncio.sleep(_LOOK_SECONDS)
            if sweep.statistics.complete_count < len(sweep):
                await self._reporter.watch(lambda: sweep.statistics, self._call.root.name)

    def say(self, text: str) -> None:
        """Say a line to people; from any thread."""
        self._reporter.say(text)

    @property
    def interrupting(self) -> str:
        """What `interrupt` does to the runs under way, for people."""
        if self._call.runner.leaves_on_interrupt:
            return "letting go of the runs under way, which go on"
        return "ending the runs under way"

    def interrupt(self) -> None:
        """Begin to end all; from any thread, at any time."""
        self._interrupted = True
        if self._task is not None:
            self._soon(self._task.cancel)

    def hurry(self) -> None:
        """End all at once; from any thread, at any time."""
        self._soon(self._work.hurry)
        if self._driver is not None:
            self._soon(self._driver.hurry)

    def _soon(self, what: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: all is over
                self._loop.call_soon_threadsafe(what)


def failed(sweep: Sweep) -> RunsFailedError:
    """Return the error that names the failures of a sweep."""
    failures = sweep.failures
    told = [
        f"run {run.index} ({run.reason}"
        + (f", exit status {run.exit_code}" if run.reason == "exit" else "")
        + (f": {run.message}" if run.message else "")
        + f") {run.params_json}"
        for run in failures[:_NAMED_FAILURES]
    ]
    if len(failures) > _NAMED_FAILURES:
        told.append(f"and {len(failures) - _NAMED_FAILURES} more")
    return RunsFailedError(
        f"{len(failures)} of {len(sweep)} runs failed in {sweep.path}: {'; '.join(told)}", failures
    )
