"""`Overseer`: sees each attempt through, from what is to be done to how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multirun_core._runners.scheduler.ending import CANCELLED
from multirun_core._waiting import finish
from multirun_core.errors import BackendError

if TYPE_CHECKING:
    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._runners.scheduler.adoption import Adoption
    from multirun_core._runners.scheduler.batching import Batcher
    from multirun_core._runners.scheduler.desk import Desk
    from multirun_core._runners.scheduler.ending import Ender
    from multirun_core._runners.scheduler.haste import Haste
    from multirun_core._runners.scheduler.lessons import Lessons
    from multirun_core._runners.scheduler.metering import Meter
    from multirun_core._runners.scheduler.ordering import Ordering
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.scheduler.submission import Demand, Work
    from multirun_core._runners.task import TaskRunner

_log = logging.getLogger("multirun.runner")

_BRING_SECONDS = 25.0


class Overseer:
    """Has attempts carried out, or found again; those that are cancelled, ended."""

    def __init__(
        self,
        runner: TaskRunner,
        title: str,
        *,
        site: Site,
        ordering: Ordering,
        batcher: Batcher,
        desk: Desk,
        ender: Ender,
        adoption: Adoption,
        lessons: Lessons,
        meter: Meter,
        haste: Haste,
    ) -> None:
        """Prepare.

        Args:
            runner: whose runs they are.
            title: what the queue system is called.
            site: where jobs run.
            ordering: says what is to be done.
            batcher: submits it.
            desk: finds out how it ends.
            ender: ends it before its time.
            adoption: finds again what an earlier driver has submitted.
            lessons: is told of ends.
            meter: finds out how much memory runs took.
            haste: whether the user has asked twice.
        """
        self._runner = runner
        self._title = title
        self._site = site
        self._ordering = ordering
        self._batcher = batcher
        self._desk = desk
        self._ender = ender
        self._adoption = adoption
        self._lessons = lessons
        self._meter = meter
        self._haste = haste
        self._out: dict[Run, Work] = {}
        self._sought: set[Run] = set()
        self._unneeded: set[Run] = set()
        self._why: str | None = None

    async def carry_out(self, run: Run, demand: Demand) -> ExitStatus:
        """Carry out the next attempt of a run as a job, or a part of one.

        Raises:
            BackendError: the queue system has taken no job for an hour.
        """
        work = self._ordering.work(run, demand)
        self._batcher.add(work)
        return await self._see_through(work)

    async def find_again(self, run: Run) -> ExitStatus | None:
        """See the attempt through that an earlier driver began; None where it surely has not.

        Raises:
            BackendError: the queue system does not tell, for an hour.
        """
        work = self._ordering.work(run)
        finding = asyncio.create_task(self._adopt(work, run.handle))
        self._sought.add(run)
        try:
            await asyncio.wait([finding])
        except asyncio.CancelledError:
            try:
                if not self._runner.letting_go:
                    await finish(self._end_found(work, finding))
            finally:
                finding.cancel()
            raise
        finally:
            self._sought.discard(run)
        if not finding.result():
            if run in self._unneeded:
                raise asyncio.CancelledError
            return None
        return await self._see_through(work)

    def drop(self, run: Run) -> bool:
        """Have a run given up unless it has begun; False where it was not handed over at all."""
        work = self._out.get(run)
        if work is not None and self._batcher.holds(work):
            return False
        if work is not None:
            self._ender.spare(work)
        elif run in self._sought:
            self._unneeded.add(run)
        return work is not None or run in self._sought

    async def end_left(self, runs: Sequence[Run], ends: dict[Run, ExitStatus]) -> None:
        """End what an earlier driver left, all of it together; see `TaskRunner.end_left`.

        Args:
            runs: the runs.
            ends: gets the ends of those that have ended.
        """
        works = [self._ordering.work(run) for run in runs]
        found = await asyncio.gather(*(self._adopt(work, work.run.handle) for work in works))
        live = [work for work, there in zip(works, found, strict=True) if there]
        await asyncio.gather(*(self._end(work) for work in live))
        over = [work for work in live if work.is_over and not self._ender.has_left(work)]
        ends.update((work.run, work.done.result()) for work in over)
        self._runner.not_ended |= {work.run for work in live} - {work.run for work in over}
        if names := list(self._ender.left):
            some = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise BackendError(
                f"{self._title} still has {len(names)} jobs that are to end ({some}); say "
                "multirun cancel again"
            )
        if len(over) < len(live):
            left = len(live) - len(over)
            raise BackendError(f"{left} runs could not be seen to end, and may go on")

    def give_up(self, why: str) -> None:
        """Tell all that wait, now or later, that nobody looks after them any more."""
        self._why = why
        for work in self._out.values():
            if not work.done.done():
                work.done.set_exception(BackendError(f"{why}. They go on; resume the sweep later"))

    async def _adopt(self, work: Work, handle: Mapping[str, Any]) -> bool:
        """Take a run over that was handed over once; False where it surely was not."""
        if "job" not in handle or "number" not in handle:
            raise BackendError(
                f"run {work.run.index} was not handed over to {self._title}; carry on "
                "with the runner that it was given to"
            )
        place = self._site.recall(work, handle)
        submission = await self._adoption.find(str(handle["job"]), place)
        if submission is None:
            return False
        (left,) = await self._site.evidence([work])
        record = left.record
        work.number, work.submission = int(handle["number"]), submission
        if record is not None:
            work.take_end(record)
            self._ordering.began(work)
        elif not submission.ids and not left.claimed:
            self._lessons.note_vain(work, submission)
            return False
        elif not submission.ids:
            submission.sight(submission.task_of(work)).miss()
        submission.works[work.number] = work
        self._desk.watch(submission)
        return True

    async def _see_through(self, work: Work) -> ExitStatus:
        """Wait for the verdict on a run that is out; cancelled, end it."""
        self._out[work.run] = work
        if work.run in self._unneeded:
            self._ender.spare(work)
        if self._why is not None:
            self.give_up(self._why)
        try:
            await asyncio.wait([work.done])
        except asyncio.CancelledError:
            if self._runner.letting_go:
                self._batcher.withdraw(work)
                self._desk.drop(work)
            else:
                await finish(self._end(work))
            raise
        finally:
            del self._out[work.run]
        end = work.done.result()
        if end is CANCELLED:  # it is not needed, and nobody has begun it
            await finish(self._ender.spared())
            raise asyncio.CancelledError
        try:
            end = await self._site.bring(work, end)
        except asyncio.CancelledError:
            if not self._runner.letting_go:
                await finish(self._bring(work))
            raise
        self._lessons.learn(work, end)
        self._have_measured(work, end)
        return end

    def _have_measured(self, work: Work, end: ExitStatus) -> None:
        """Find out what neither a record nor the queue tells of a run that had a job to itself."""
        submission = work.submission
        if work.accounted or end.started is None or submission is None or submission.pack > 1:
            return
        sight = submission.sight(submission.task_of(work))
        if len(submission.ids) != 1 or (sight.state is not None and sight.state.restarts):
            return  # the account may be that of a job which has done nothing
        key = self._desk.key(submission, submission.task_of(work))
        self._meter.note(work.run, key, submission.name)

    async def _end(self, work: Work) -> None:
        """End a run, and have what it has left brought here; bounded."""
        if self._batcher.withdraw(work):
            return
        try:
            await self._ender.end(work, self._runner.limits(work.run).grace)
        except Exception:
            _log.exception("ending run %s failed", work.run.index)
        if work.is_over:
            await self._bring(work)
        else:
            self._runner.not_ended.add(work.run)

    async def _end_found(self, work: Work, finding: asyncio.Task[bool]) -> None:
        """End a run once it is found; where that takes too long, it is left as it is."""
        with contextlib.suppress(TimeoutError):
            async with self._haste.bound(_BRING_SECONDS):
                await asyncio.wait([finding])
        if not finding.done() or finding.exception() is not None:
            self._runner.not_ended.add(work.run)
            _log.warning(
                "run %s may go on: %s does not tell about it. multirun cancel DIR ends it",
                work.run.index,
                self._title,
            )
        elif finding.result():
            await self._end(work)

    async def _bring(self, work: Work) -> None:
        """Have what a run has left brought here, if that can be done at once."""
        with contextlib.suppress(TimeoutError, BackendError):
            async with self._haste.bound(_BRING_SECONDS):
                await self._site.bring(work, work.done.result())
