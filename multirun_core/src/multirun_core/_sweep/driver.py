"""`Driver`: carries the runs of an opened sweep out, and writes down what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from multirun_core._inrun import store_results
from multirun_core._runners.task import TaskRunner
from multirun_core._staging.rundir import Stager, tidy
from multirun_core._sweep import control, results, segment
from multirun_core._sweep.collect import Collector, collect
from multirun_core._sweep.journal import Journal
from multirun_core._sweep.keeper import Reader
from multirun_core._sweep.layout import JOURNAL
from multirun_core._sweep.thinning import Thinner
from multirun_core.errors import ResultsError, StagingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._model.status import RunStatus
    from multirun_core._sweep.call import Call
    from multirun_core._sweep.opening import Opened
    from multirun_core._transport.process import ProcessId

_TICK_SECONDS = 0.5

# What a program can do to its own directory, so that nobody can clear it any more.
_OF_ONE_RUN = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENOTDIR})


class Driver(Reader):
    """Keeper of the runs of a sweep that this process carries out.

    Attributes:
        stopping: why nothing new starts: "cancelled" or "max_failures"; None while all goes on.
        open: whether further runs may come.
    """

    def __init__(self, call: Call, opened: Opened, journal: Journal) -> None:
        runs = opened.history.runs
        again = {run.index for run in opened.again}
        for run in opened.todo:
            _begin_anew(run, adopt=call.runner.can_reattach and run.index not in again)
        super().__init__(call.root, opened.manifest.cmd, runs, allow_pickle=True)
        self.policy = call.policy
        self.stopping: str | None = None
        self.on_change: Callable[[Run, RunStatus], None] | None = None
        self.on_done: Callable[[Run], None] | None = None
        self._runner: TaskRunner = call.runner
        self._opened = opened
        self._journal = journal
        self._stager = Stager(call.root, opened.inputs, call.on_retry)
        self._thinner = Thinner(call.keep, call.on_retry)
        self._collector = call.collector
        self._max_failures = call.max_failures
        self._failures = 0
        self._host = socket.gethostname()
        self._resumed = opened.number > 1
        self._seen: set[int] = set()
        self._cancelled: set[int] = set()
        self._fatal: BaseException | None = None
        self._live: set[Run] = set()
        self._todo = deque(opened.todo)
        self.open = call.stay_open
        self._more = asyncio.Event()

    # What a sweep does for its runs.

    async def prepare(self, run: Run) -> None:
        """Put the run's directory in order for its next attempt.

        Raises:
            StagingError: an input of this run is not to be had.
            SweepSupersededError: another driver has taken over.
            OSError: the directory cannot be written.
        """
        self._journal.check_ours()
        if run.index is None:
            raise AssertionError("a sweep's runs are numbered")
        if self._resumed and run.index not in self._seen:
            self._seen.add(run.index)
            run.attempts = max(run.attempts, self._stager.begun(run.index))
        attempt = run.attempts + 1
        stage = partial(self._stager.stage, run.index, run.params_json, attempt)
        try:
            if attempt == 1 and not self._stager.heavy:
                stage()
            else:
                await finish_in_thread(stage)
        except OSError as error:
            inside = f"{self.directory_text(run)}/"
            if error.errno in _OF_ONE_RUN and str(error.filename).startswith(inside):
                raise StagingError(f"cannot put the run directory in order: {error}") from error
            raise

    def began(self, run: Run) -> None:
        """Write down that an attempt starts."""
        self._journal.append(
            segment.encode(
                {
                    "event": "start",
                    "run": run.index,
                    "attempt": run.attempts,
                    "time": _round(run.started),
                    "host": self._host,
                }
            )
        )

    async def conclude(self, run: Run) -> None:
        """Collect the results of an attempt that has succeeded, where there is a rule for it."""
        if self._collector is not None:
            await finish_in_thread(partial(self._collect, run, self._collector))

    def _collect(self, run: Run, collector: Collector) -> None:
        directory = self.directory(run)
        try:
            store_results(str(directory), collect(collector, directory))
        except ResultsError as error:
            run.result_error = str(error)

    async def hold(self, run: Run) -> None:
        """Write down what the run is found again by, and for which attempt."""
        attempt = run.attempts + (run.status == "pending")
        self._journal.event("handle", run=run.index, attempt=attempt, handle=run.handle)
        await self._journal.flush()

    def record(self, run: Run, status: RunStatus, end: ExitStatus) -> asyncio.Future[None]:
        """Write the end of an attempt down, flushed, with its result where that is small."""
        reason = self.stopping or end.cause if status == "skipped" else end.cause
        facts: dict[str, Any] = {
            "event": "end",
            "run": run.index,
            "attempt": run.attempts,
            "status": status,
            "reason": reason,
            "message": end.message,
            "exit_code": end.code,
            "started": _round(end.started),
            "ended": _round(end.ended),
            "cpu_seconds": _round(end.cpu_seconds),
            "max_rss_bytes": end.max_rss_bytes,
            "host": None if end.started is None else end.host or self._host,
            "handle": run.handle,
            "result_error": run.result_error,
        }
        line = json.dumps({name: fact for name, fact in facts.items() if fact is not None})
        run.inline_result = None
        if end.started is not None:
            directory = self.directory(run)
            run.inline_result = results.peek(directory)
            if run.inline_result is not None:
                line = f'{line[:-1]}, "result": {run.inline_result}}}'
            self._journal.after_flush(partial(tidy, directory))
        self._journal.append(line.encode() + b"\n")
        if status == "failure" and reason != "cancelled":
            self._count_failure()
        return self._thinner.after(self._journal.flushed(), run, status, reason)

    def changed(self, run: Run, previous: RunStatus) -> None:
        """Keep the counts, and say of a run that never began why the sweep stopped."""
        super().changed(run, previous)
        if run.status == "skipped" and run.reason == "cancelled":
            run.reason = self.stopping or run.reason
        if run.status == "pending" and self._stopped and run.task is not None:
            run.task.cancel()  # it waits for a further attempt, which will not be
        if self.on_change is not None:
            self.on_change(run, previous)
        if self.on_done is not None and run.done:
            self.on_done(run)

    def _count_failure(self) -> None:
        self._failures += 1
        if self._max_failures is not None and self._failures > self._max_failures:
            self._stop("max_failures")

    # The sweep.

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
        ticking = asyncio.create_task(self._tick())
        earlier = [run for run in self.runs if run.done]
        outcome = "interrupted"
        try:
            self._define()
            await self._journal.flush()
            if self._opened.todo:
                await self._runner.ready()
            await self._feed()
            await self._wait()
            await finish_in_thread(partial(self._thinner.complete, earlier))
            outcome = self.stopping or "done"
        except asyncio.CancelledError:
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

    def _define(self) -> None:
        """Write down all runs, before the first process starts."""
        opened = self._opened
        if opened.new:
            self._journal.append(b"".join(map(_line_of, opened.new)))
        if opened.new or not opened.history.complete:
            self._journal.event("defined", runs=len(self.runs))
        if opened.again:
            self._journal.event("rerun", runs=[run.index for run in opened.again])
        if not self.open:
            self._skip(opened.excluded, "excluded")

    def take_on(self, run: Run, new: bool) -> None:
        """Execute a further run, while the sweep is open for more; in its event loop."""
        if new:
            self._journal.append(_line_of(run))
            self.counts["pending"] += 1
        else:
            previous = run.status
            _begin_anew(run, adopt=self._runner.can_reattach)
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
        while (run := await self._next()) is not None:
            await room.acquire()
            if self._stopped:
                break
            if run.index in self._cancelled:
                self._skip([run], "cancelled")
                room.release()
                continue
            self._runner.submit(run)
            if run.task is not None:
                self._live.add(run)
                run.task.add_done_callback(partial(self._ended, run, room))

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
        left = [run for run in self.runs if not run.done]
        self._skip([run for run in left if id(run) in excluded], "excluded")
        self._skip([run for run in left if not run.done], self.stopping or "cancelled")
        await self._journal.flush()

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
        self._journal.event("skipped", reason=reason, runs=_ranges(runs))

    def _stop(self, why: str, *, running: bool = False) -> None:
        """Start nothing new; `running` ends what runs, too."""
        self.stopping = self.stopping or why
        self._more.set()
        self._cancel_live(running=running)

    def _cancel_live(self, *, running: bool, only: set[int] | None = None) -> None:
        for run in list(self._live):
            if run.task is None or (only is not None and run.index not in only):
                continue
            if running or run.status == "pending":
                run.task.cancel()

    async def _write_guardian(self, guardian: ProcessId) -> None:
        self._journal.event("guardian", process=guardian.to_json())
        await self._journal.flush()

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
            await asyncio.sleep(_TICK_SECONDS)


async def finish(coroutine: Any) -> None:
    """Await something to its end, whatever cancels the caller meanwhile; then pass that on."""
    task = asyncio.ensure_future(coroutine)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def finish_in_thread(work: Any) -> Any:
    """Run blocking work off the event loop; a cancellation waits until it is over."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()


def _begin_anew(run: Run, *, adopt: bool) -> None:
    """Forget the end of what an earlier driver executed; the number of attempts stays.

    A run that may be alive keeps its handle, and goes on with the attempt that it is in.
    """
    if not adopt or run.status not in ("pending", "running"):
        run.handle = None
    elif run.handle is not None and run.status == "running":
        run.attempts -= 1
    run.restore("pending")
    run.exit_code = run.reason = run.message = run.host = None
    run.started = run.ended = run.cpu_seconds = run.max_rss_bytes = None
    run.inline_result = run.result_error = None


def _line_of(run: Run) -> bytes:
    """Return the line by which a run begins to exist."""
    return f'{{"event": "run", "run": {run.index}, "params": {run.params_json}}}\n'.encode()


def _ranges(runs: list[Run]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for index in sorted(run.index for run in runs if run.index is not None):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ranges


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
