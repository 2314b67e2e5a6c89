"""`Attempts`: the life of a run, from its directory to its verdict, attempt after attempt."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from multirun_core._model.resources import Resources, needs_of
from multirun_core._model.run import ExitStatus, Run
from multirun_core._runners.base import AbstractRunner
from multirun_core._waiting import Firm
from multirun_core.errors import (
    BackendError,
    ParamError,
    StagingError,
    SubmitError,
    SweepError,
)

if TYPE_CHECKING:
    from multirun_core._model.policy import Policy
    from multirun_core._model.run import Keeper
    from multirun_core._model.status import RunStatus
    from multirun_core._runners.pace import Pace

_log = logging.getLogger("multirun.runner")

# With these nothing that is written can be trusted to arrive, so no further run may start.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})


def stops_all(error: BaseException) -> bool:
    """Whether an error concerns all runs, so that the sweep must stop rather than the run fail."""
    if isinstance(error, OSError):
        return error.errno in _DISK_ERRORS or isinstance(error, PermissionError)
    return isinstance(error, (BackendError, SweepError))


class Attempts(AbstractRunner):
    """What `TaskRunner` does with each run, given what an author has written.

    Attributes:
        semaphore: the slots; None where their number is not limited here.
        policy: time limit, retries, variables and grace, for runs that bring none of their own.
        letting_go: whether runs are cancelled only because this driver cannot go on: a runner
            that can reattach then leaves them alive for the next one.
        not_ended: runs that were cancelled and may go on all the same, see `TaskRunner.execute`;
            in a sweep they are as they were, for the next driver.
        default_needs: what each run needs whose sweep says nothing about it.
        pace: how long the runs take that succeed; known while a time limit is relative to it.
    """

    enforces_timeout: ClassVar[bool] = False
    """Whether `execute` keeps the time limit itself; else it is cancelled when time is up."""

    reports_start: ClassVar[bool] = False
    """Whether `execute` calls `begin` when the run starts; else it counts as started at once."""

    semaphore: asyncio.Semaphore | None
    policy: Policy
    letting_go: bool
    not_ended: set[Run]
    default_needs: Resources
    pace: Pace
    _staging: asyncio.Semaphore
    _timers: dict[Run, asyncio.Timeout]

    @abstractmethod
    async def execute(self, run: Run) -> ExitStatus:
        """Carry out one attempt of a run and return how it ended."""

    @abstractmethod
    async def reattach(self, run: Run) -> ExitStatus | None:
        """Find a run again that an earlier driver started."""

    @abstractmethod
    async def ready(self) -> None:
        """Open the runner unless it is open."""

    def limits(self, run: Run) -> Policy:
        """Return what holds for a run: its sweep's policy, or the runner's own.

        A time limit that is relative to other runs is in seconds here, as it is at this moment.
        """
        policy = self._policy(run)
        if policy.timeout_factor is None:
            return policy
        return replace(policy, timeout=self.pace.limit(policy.timeout_factor))

    def needs(self, run: Run) -> Resources:
        """Return what a run needs: as its sweep says, completed by `default_needs`.

        Raises:
            ParamError: the sweep's `resources` failed; raised from `execute`, the run fails.
        """
        ask = self._policy(run).resources
        if ask is None:
            return self.default_needs
        return needs_of(ask, run.index, run.params).over(self.default_needs)

    def begin(self, run: Run) -> None:
        """Note that the attempt starts now; for runners with `reports_start`."""
        timer = self._timers.get(run)
        if timer is not None and (limit := self.limits(run).timeout) is not None:
            timer.reschedule(asyncio.get_running_loop().time() + limit)
        run.attempts += 1
        run.started = time.time()
        if run.keeper is not None:
            run.keeper.began(run)
        run.status = "running"

    async def drive_run(self, run: Run) -> None:
        made = {True: 0, False: 0}  # attempts that are excused, and the others
        last = None
        while True:
            last = end = await self._attempt(run, last)
            limits = self.limits(run)
            excused = limits.excuses(end.cause)
            made[excused] += 1
            if end.ok and run.keeper is not None:
                await self._conclude(run, run.keeper, end)
            self._learn(run, end)
            delay = None if end.ok else limits.delay(made[excused], end.cause)
            if delay is None:
                await self._finish(run, "success" if end.ok else "failure", end)
                return
            try:
                await self._finish(run, "pending", end)
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                if not self.letting_go:
                    await self._finish(run, "failure", end)
                raise

    async def settle(self, run: Run) -> None:
        """Write down how a run ended that an earlier driver started, and that does not live."""
        end = await self._execute(run, adopt=True)
        if run.status == "pending":
            if end is None or (end.started is None and end.reason == "cancelled"):
                await self._finish(run, "skipped", ExitStatus(code=None, reason="cancelled"))
                return
            self.begin(run)
        if end is None:
            message = "it was ended, and nothing tells how"
            end = ExitStatus(code=None, reason="cancelled", message=message, started=run.started)
        if end.ok and run.keeper is not None:
            await self._conclude(run, run.keeper, end)
        await self._finish(run, "success" if end.ok else "failure", end)

    def _policy(self, run: Run) -> Policy:
        return self.policy if run.keeper is None else run.keeper.policy

    def _learn(self, run: Run, end: ExitStatus) -> None:
        """Take note of how long a success took, where a time limit asks for it."""
        if self._policy(run).timeout_factor is None or not end.ok:
            return
        if end.started is not None and end.ended is not None:
            self.pace.add(end.ended - end.started)

    async def _attempt(self, run: Run, last: ExitStatus | None) -> ExitStatus:
        """Stage, wait for a slot, execute; a cancelled run is given its end here."""
        adopted = run.handle is not None and last is None
        try:
            async with self._staging:
                if run.keeper is not None and not adopted:
                    await run.keeper.prepare(run)
                await self._take_slot(run)
        except StagingError as error:
            return ExitStatus(code=None, reason="staging", message=str(error))
        except asyncio.CancelledError:
            if adopted:  # nobody has looked for it
                self.not_ended.add(run)
            await self._finish_cancelled(run, last)
            raise
        try:
            end = await self._execute(run, adopt=adopted)
        except asyncio.CancelledError:
            await self._finish_cancelled(run, last)
            raise
        except BaseException:
            if run.status == "running":
                run.status = "pending"
            raise
        finally:
            if self.semaphore is not None:
                self.semaphore.release()
        if end is not None:
            return end
        run.handle = None
        if run.status == "running":
            run.status = "pending"
        return await self._attempt(run, last)

    async def _take_slot(self, run: Run) -> None:
        """Wait until one more may be executed; cancelled, none is."""
        if self.semaphore is not None:
            await self.semaphore.acquire()

    async def _conclude(self, run: Run, keeper: Keeper, end: ExitStatus) -> None:
        try:
            await keeper.conclude(run)
        except asyncio.CancelledError:
            await self._finish(run, "success", end)
            raise

    async def _finish_cancelled(self, run: Run, last: ExitStatus | None) -> None:
        """A running run failed; one between attempts failed as its last did; others never began.

        Where the sweep lets go of a run, or could not end it, nothing of that has happened: it is
        as it was.
        """
        if self.letting_go or (run in self.not_ended and run.keeper is not None):
            if run.status == "running":
                run.status = "pending"
        elif run.status == "running":
            end = ExitStatus(code=None, reason="cancelled", started=run.started, ended=time.time())
            await self._finish(run, "failure", end)
        elif last is not None:
            await self._finish(run, "failure", last)
        else:
            await self._finish(run, "skipped", ExitStatus(code=None, reason="cancelled"))

    async def _execute(self, run: Run, *, adopt: bool) -> ExitStatus | None:
        """Execute an attempt, or find the one that an earlier driver started."""
        try:
            await self.ready()
        except asyncio.CancelledError:
            if adopt:
                self.not_ended.add(run)
            raise
        timer = None
        try:
            if self.enforces_timeout:
                return await self._executed(run, adopt=adopt)
            self._timers[run] = timer = asyncio.timeout(None)  # set by `begin`: queueing is free
            async with timer:
                return await self._executed(run, adopt=adopt)
        except Exception as error:
            if timer is not None and timer.expired():
                limit = self.limits(run).timeout
                reason, message = "timeout", f"it took longer than {limit:g} s"
            elif stops_all(error):
                raise
            elif adopt:  # that says nothing about the run, which may go on
                why = f"run {run.index} may go on, and cannot be found again: {error}"
                raise BackendError(why) from error
            elif isinstance(error, SubmitError | ParamError):
                reason, message = "submit", str(error)
            else:
                _log.exception("runner %s failed to execute %r", type(self).__name__, run)
                reason, message = "submit", f"{type(error).__name__}: {error}"
        finally:
            self._timers.pop(run, None)
        return ExitStatus(
            code=None, reason=reason, message=message, started=run.started, ended=time.time()
        )

    async def _executed(self, run: Run, *, adopt: bool) -> ExitStatus | None:
        if not self.reports_start:
            self.begin(run)
        end = await (self.reattach(run) if adopt else self.execute(run))
        return None if end is None else _timed(end, run)

    async def _finish(self, run: Run, status: RunStatus, end: ExitStatus) -> None:
        """Write down the end of an attempt, then show it; a cancellation waits for that."""
        cancelled: asyncio.CancelledError | None = None
        if run.keeper is not None:
            recorded = run.keeper.record(run, status, end)
            while not recorded.done():
                try:
                    await (recorded if isinstance(recorded, Firm) else asyncio.shield(recorded))
                except asyncio.CancelledError as error:
                    cancelled = error
            recorded.result()
        run.take(end)
        run.status = status
        if cancelled is not None:
            raise cancelled


def _timed(end: ExitStatus, run: Run) -> ExitStatus:
    """Fill in the times where the author's `execute` gave none."""
    if end.started is not None or end.cause in ("submit", "staging"):
        return end
    return replace(end, started=run.started, ended=end.ended or time.time())
