"""`Driver`: carries out the runs of an opened sweep."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from multirun_core._sweep import control, segment
from multirun_core._sweep.layout import JOURNAL
from multirun_core._sweep.recorder import Recorder, begin_anew, line_of
from multirun_core._sweep.selection import left_out, range_texts, ranges_of
from multirun_core._waiting import finish
from multirun_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from multirun_core._model.run import Run
    from multirun_core._model.status import RunStatus
    from multirun_core._runners.task import TaskRunner
    from multirun_core._sweep.call import Call
    from multirun_core._sweep.journal import Journal
    from multirun_core._sweep.opening import Opened
    from multirun_core._threads import Work
    from multirun_core._transport.process import ProcessId

_log = logging.getLogger("multirun.sweep")

_TICK_SECONDS = 0.5
_SETTLED_AT_ONCE = 64
_DEFINED_AT_ONCE = 2000  # runs; some milliseconds


class Driver(Recorder):
    """Carries out the runs of a sweep.

    Attributes:
        open: whether further runs may come.
        on_change: is told of each change of a run's status.
        on_done: is told of each run that has ended.
    """

    def __init__(self, call: Call, opened: Opened, journal: Journal, work: Work) -> None:
        """Prepare for an opened sweep; `drive` does the work."""
        super().__init__(call, opened, journal, work)
        self.on_change: Callable[[Run, RunStatus], None] | None = None
        self.on_done: Callable[[Run], None] | None = None
        self._runner: TaskRunner = call.runner
        self._opened = opened
        self._max_failures = call.max_failures
        self._failures = 0
        self._cancelled: set[int] = set()
        self._feeding = False
        self._fatal: BaseException | None = None
        self._live: set[Run] = set()
        self._todo = deque(opened.todo)
        self._ends_only, self._ends_drivers = call.ends_only, call.ends_drivers
        self.open = call.stay_open
        self._more = asyncio.Event()

    def changed(self, run: Run, previous: RunStatus) -> None:
        """Keep the counts, and say of a run that never began why the sweep stopped."""
        super().changed(run, previous)
        self._journal.hasty = not self.open and not self.counts["pending"]
        if run.status == "skipped" and run.reason == "cancelled":
            run.reason = self.stopping or run.reason
        if run.status == "pending" and self._stopped and run.task is not None:
            run.task.cancel()  # it waits for a further attempt, which will not be
        if self.on_change is not None:
            self.on_change(run, previous)
        if self.on_done is not None and run.done:
            self.on_done(run)

    def failed(self) -> None:
        """Stop when there are more failures than the budget allows."""
        self._failures += 1
        if self._max_failures is not None and self._failures > self._max_failures:
            self._stop("max_failures")

    async def drive(self) -> None:
        """Execute all runs that are to be executed.

        Cancelled, it ends those that run, skips the others, writes that down and raises
        `CancelledError`.

        Raises:
            SweepError: the journal cannot be written, or another driver has taken over.
            BackendError: the backend is gone; what has not ended stays pending.
            OSError: the disk is full or cannot be written; likewise.
        """
        self._runner.on_guardian = self._write_guardian
        self._runner.root = self.root
        ticking = asyncio.create_task(self._tick())
        earlier = [run for run in self.runs if run.done] if self._resumed else []
        outcome = "interrupted"
        try:
            await finish(self._define())
            await self._journal.flush(at_once=True)
            await self.work.do(partial(self._runner.drives, self.root))
            if self._opened.todo or self._ends_drivers:
                await self._runner.ready()
            if self._ends_drivers:
                await self._runner.end_drivers()
            if self._ends_only:
                await self._end_left()
            elif await self._send() or await self._detach():
                self.detached = True
            else:
                await self._feed()
                await self._wait()
            await self.work.do(partial(self._thinner.complete, earlier))
            outcome = self.stopping or ("detached" if self.detached else "done")
            outcome = "failed" if self._fatal is not None else outcome
        except asyncio.CancelledError:
            if self._runner.leaves_on_interrupt:
                outcome, self.detached = "detached", True
                await finish(self._abandon())
            elif not self._ends_only:
                self._stop("cancelled", running=True)
                await finish(self._wait())
            raise
        except Exception as error:
            outcome = "failed"
            self._fatal = self._fatal or error
            await finish(self._abandon())
        finally:
            ticking.cancel()
            await finish(self._leave(outcome))
        if self._fatal is not None:
            raise self._fatal

    def hurry(self) -> None:
        """Give what is being ended no further grace."""
        self._runner.hurry()

    async def _define(self) -> None:
        """Write down all runs, before the first process starts; other tasks go on meanwhile."""
        opened = self._opened
        step = len(opened.new) if self.open else _DEFINED_AT_ONCE  # none may be added in between
        for first in range(0, len(opened.new), step or 1):
            self._journal.append(b"".join(map(line_of, opened.new[first : first + step])))
            if first + step < len(opened.new):
                await asyncio.sleep(0)
        if opened.new or not opened.history.complete:
            self._journal.event("defined", runs=len(self.runs))
        if opened.again:
            self._journal.event("rerun", runs=[run.index for run in opened.again])
        if not self.open and not self._ends_only:
            self._skip([run for run in opened.excluded if not self._may_live(run)], "excluded")

    def take_on(self, run: Run, new: bool) -> None:
        """Execute a further run, while the sweep is open for more; in its event loop."""
        if new:
            self._journal.append(line_of(run))
            self.counts["pending"] += 1
        else:
            previous = run.status
            begin_anew(run, adopt=self._runner.can_reattach)
            self.changed(run, previous)
        self._todo.append(run)
        self._more.set()

    def close(self) -> None:
        """Take on nothing more; the sweep ends with what it has."""
        self.open = False
        self._more.set()

    async def _next(self) -> Run | None:
        """Return the next run to hand over; None where none will come."""
        while not self._todo:
            if not self.open or self._stopped:
                return None
            self._more.clear()
            await self._more.wait()
            await self._journal.flush()
        return self._todo.popleft()

    @property
    def _stopped(self) -> bool:
        return self.stopping is not None or self._fatal is not None

    async def _feed(self) -> None:
        """Hand runs to the runner, a bounded number ahead of their execution."""
        room = asyncio.Semaphore(self._runner.ahead)
        self._feeding = True
        self._skip_cancelled()
        while (run := await self._next()) is not None:
            await room.acquire()
            if self._stopped:
                break
            if run.index in self._cancelled and not self._may_live(run):
                self._skip([] if run.done else [run], "cancelled")
                room.release()
                continue
            self._runner.submit(run)
            if run.task is not None:
                self._live.add(run)
                run.task.add_done_callback(partial(self._ended, run, room))
                if run.index in self._cancelled:  # it may live; before its first step it is deaf
                    asyncio.get_running_loop().call_soon(run.task.cancel)

    def _skip_cancelled(self) -> None:
        """Skip runs that were cancelled one by one, and have not been handed over."""
        cancelled = [self.runs[i] for i in self._cancelled if 0 <= i < len(self.runs)]
        waiting = [run for run in cancelled if not run.done and run not in self._live]
        self._skip([run for run in waiting if not self._may_live(run)], "cancelled")

    async def _send(self) -> bool:
        """Have the sweep driven elsewhere where that is asked for, else by this driver alone."""
        runner, todo = self._runner, self._opened.todo
        if todo and not self.open:
            only = ",".join(range_texts(todo)) if left_out(self._opened) else None
            if await runner.send_driver(self.policy.env, only):
                return True
        sent = await self.work.do(partial(runner.sent_drivers, self.root))
        if sent and (todo or self.open):
            await runner.ready()
            await runner.end_drivers()  # they would execute once more what fails here
        return False

    async def _detach(self) -> bool:
        """Let go of all where that is asked for; whether the runs go on without this driver."""
        runner, todo = self._runner, self._opened.todo
        if not todo or self.open:
            return False
        if not runner.detaches or all(run.handle is not None for run in todo):
            return False  # a resume waits for what was handed over before
        await runner.check_detach(todo)
        await self._feed()
        await runner.handed_over()
        await self._abandon()
        if self._fatal is not None:
            raise self._fatal
        return True

    async def _end_left(self) -> None:
        """End what an earlier driver left running; write down how each run ended."""
        left, runner = list(self._opened.todo), self._runner
        try:
            await runner.end_left(left)
        except BackendError as error:
            if not runner.not_ended:
                raise  # of none it is known whether it has ended
            self._fatal = error
        room = asyncio.Semaphore(_SETTLED_AT_ONCE)

        async def settle(run: Run) -> None:
            async with room:
                await runner.settle(run)

        # One that fails must not keep the ends of the others from being written down.
        settling = (settle(run) for run in left if run not in runner.not_ended)
        for outcome in await asyncio.gather(*settling, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _ended(self, run: Run, room: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        run.task = None
        self._live.discard(run)
        room.release()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Stop all for an error that concerns all."""
        if self._fatal is None:
            self._fatal = error
            self._let_go()
            self._more.set()

    def _let_go(self) -> None:
        """Cancel what is under way without a verdict: this driver cannot go on."""
        self._runner.letting_go = True
        self._cancel_live(running=True)

    async def _wait(self) -> None:
        """Wait for the runs under way, then skip those that never were."""
        await self._empty()
        if self._fatal is not None:
            raise self._fatal
        excluded = {id(run) for run in self._opened.excluded}
        left = [run for run in self.runs if not run.done and not self._may_live(run)]
        self._skip([run for run in left if id(run) in excluded], "excluded")
        self._skip([run for run in left if not run.done], self.stopping or "cancelled")
        self._tell_left()
        await self._journal.flush()

    def _may_live(self, run: Run) -> bool:
        """Whether a run that has not ended is found by its handle alone: nothing may be written."""
        return run in self._runner.not_ended or (
            run.handle is not None and self._runner.can_reattach and not run.done
        )

    def _tell_left(self) -> None:
        """Say how many runs of an earlier driver this one has left as they are."""
        left = [run for run in self.runs if self._may_live(run)]
        for run in left:
            if run.status == "running":  # as its dead driver left it
                run.restore("pending")
                self.changed(run, "running")
        if unasked := len(left) - len(self._runner.not_ended):
            _log.warning(
                "%d runs of an earlier driver may go on: multirun cancel DIR ends them, and a "
                "resumed sweep takes them over",
                unasked,
            )

    async def _abandon(self) -> None:
        """After an error that concerns all: let go of what runs; it is as if it had not ended."""
        self._let_go()
        await self._empty()

    async def _empty(self) -> None:
        while tasks := [run.task for run in self._live if run.task is not None]:
            await asyncio.wait(tasks)

    async def _leave(self, outcome: str) -> None:
        try:
            await self._runner.release()
        finally:
            self._runner.on_guardian = None
            with contextlib.suppress(Exception):
                self._journal.event("close", outcome=outcome)
            try:
                await self._journal.close()
            except Exception as error:
                self._fatal = self._fatal or error

    def _skip(self, runs: list[Run], reason: str) -> None:
        if not runs:
            return
        for run in runs:
            run.reason = reason
            if run.status == "running":  # as its dead driver left it
                run.restore("pending")
                self.changed(run, "running")
            run.status = "skipped"
        self._journal.event("skipped", reason=reason, runs=ranges_of(runs))

    def _stop(self, why: str, *, running: bool = False) -> None:
        """Start nothing new; `running` ends what runs, too."""
        self.stopping = self.stopping or why
        self._more.set()
        self._cancel_live(running=running)

    def _cancel_live(self, *, running: bool, only: set[int] | None = None) -> None:
        for run in list(self._live):
            if run.task is None or (only is not None and run.index not in only):
                continue
            if running:
                run.task.cancel()
            else:
                self._runner.drop(run)

    async def _write_guardian(self, guardian: ProcessId) -> None:
        self._journal.event("guardian", process=guardian.to_json())
        await self._journal.flush(at_once=True)

    async def _tick(self) -> None:
        """Renew the lease, look for a driver that took over, hear requests."""
        renewed = 0.0
        while True:
            if time.monotonic() - renewed > segment.RENEW_SECONDS:
                self._journal.renew()
                renewed = time.monotonic()
            try:
                self._journal.check_ours()
            except Exception as error:
                self._fail(error)
                return
            for asked in control.take_requests(self.root / JOURNAL):
                if asked is None:
                    self._stop("cancelled", running=True)
                else:
                    self._cancelled |= set(asked)
                    self._cancel_live(running=True, only=set(asked))
                    if self._feeding:
                        self._skip_cancelled()
            await asyncio.sleep(_TICK_SECONDS)
