"""`Recorder`: stages the runs of a sweep, and writes down what becomes of them."""

from __future__ import annotations

import errno
import json
import math
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from multirun_core._inrun import store_results
from multirun_core._staging.rundir import Stager, tidy
from multirun_core._sweep import results
from multirun_core._sweep.collect import Collector, collect
from multirun_core._sweep.keeper import Reader
from multirun_core._sweep.thinning import Thinner
from multirun_core.errors import ResultsError, StagingError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._model.status import RunStatus
    from multirun_core._sweep.call import Call
    from multirun_core._sweep.journal import Journal
    from multirun_core._sweep.opening import Opened
    from multirun_core._threads import Work

# What a program can do to its own directory, so that nobody can clear it any more.
_OF_ONE_RUN = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENOTDIR})


class Recorder(Reader):
    """Keeper of the runs of a sweep that this process carries out.

    Attributes:
        stopping: why nothing new starts: "cancelled" or "max_failures"; None while all goes on.
        work: carries out what blocks.
    """

    def __init__(self, call: Call, opened: Opened, journal: Journal, work: Work) -> None:
        """Prepare for the runs that are to be executed."""
        again = {run.index for run in opened.again}
        for run in opened.todo if len(opened.new) < len(opened.todo) else ():  # new ones are new
            begin_anew(run, adopt=call.runner.can_reattach and run.index not in again)
        runs = opened.history.runs
        super().__init__(call.root, opened.manifest.cmd, runs, allow_pickle=True)
        self.policy = call.policy
        self.stopping: str | None = None
        self.work = work
        self._journal = journal
        self._stager = Stager(call.root, opened.inputs, call.on_retry, call.checkpoints)
        self._thinner = Thinner(call.keep, spares_failures=call.goes_on, work=work)
        self._collector = call.collector
        self._host = socket.gethostname()
        self._host_json = json.dumps(self._host)
        self._resumed = opened.number > 1
        self._seen: set[int] = set()

    def failed(self) -> None:
        """Take notice of a run that has failed for good."""

    async def prepare(self, run: Run) -> None:
        """Put the run's directory in order for its next attempt.

        Raises:
            StagingError: an input of this run is not to be had.
            SweepSupersededError: another driver has taken over.
            OSError: the directory cannot be written.
        """
        self._journal.check_ours(lately=True)
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
                await self.work.do(stage)
        except OSError as error:
            inside = f"{self.directory_text(run)}/"
            if error.errno in _OF_ONE_RUN and str(error.filename).startswith(inside):
                raise StagingError(f"cannot put the run directory in order: {error}") from error
            raise

    def began(self, run: Run) -> None:
        """Write down that an attempt starts."""
        if run.started is None:
            raise AssertionError("a run that begins has a time")
        line = (
            f'{{"event": "start", "run": {run.index}, "attempt": {run.attempts}, '
            f'"time": {round(run.started, 6)}, "host": {self._host_json}}}\n'
        )
        self._journal.append(line.encode())

    async def conclude(self, run: Run) -> None:
        """Collect the results of an attempt that has succeeded, where there is a rule for it."""
        if self._collector is not None:
            await self.work.do(partial(self._collect, run, self._collector))

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
        known = [f', "{name}": {_text(fact)}' for name, fact in facts.items() if fact is not None]
        line = f'{{"event": "end"{"".join(known)}}}'
        run.inline_result = None
        if end.started is not None:
            directory = self.directory_text(run)
            run.inline_result = results.peek(directory)
            if run.inline_result is not None:
                line = f'{line[:-1]}, "result": {run.inline_result}}}'
            self._journal.after_flush(partial(tidy, directory))
        self._journal.append(line.encode() + b"\n")
        if status == "failure" and reason != "cancelled":
            self.failed()
        return self._thinner.after(self._journal.flushed(), run, status, reason)

    def amend(self, run: Run, facts: Mapping[str, object]) -> None:
        """Write down what became known of the last attempt after its end."""
        self._journal.event("amend", run=run.index, attempt=run.attempts, **facts)


def begin_anew(run: Run, *, adopt: bool) -> None:
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


def line_of(run: Run) -> bytes:
    """Return the line by which a run begins to exist."""
    return f'{{"event": "run", "run": {run.index}, "params": {run.params_json}}}\n'.encode()


def _text(fact: Any) -> str:
    """Return a fact as JSON; a number as json has it, in a tenth of the time."""
    is_number = type(fact) is int or (type(fact) is float and math.isfinite(fact))
    return repr(fact) if is_number else json.dumps(fact)


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
