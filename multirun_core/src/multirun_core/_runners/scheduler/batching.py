"""`Batcher`: hands runs over that become ready together, in as few submissions as may be."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import shlex
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._model.run import ExitStatus
from multirun_core._runners.scheduler import packing
from multirun_core._runners.scheduler.client import (
    MOST_PAUSE_SECONDS,
    PATIENCE_SECONDS,
    PAUSE_SECONDS,
)
from multirun_core._runners.scheduler.command import Job, Refusal
from multirun_core._runners.scheduler.submission import Demand, Submission, Work
from multirun_core._runners.scheduler.submitting import Submitter
from multirun_core.errors import BackendError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.adoption import Adoption
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler
    from multirun_core._runners.scheduler.desk import Desk
    from multirun_core._runners.scheduler.haste import Haste
    from multirun_core._runners.scheduler.packing import Packer
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.warmth import Warmth
    from multirun_core._transport.wrapper import Order

_log = logging.getLogger("multirun.runner")

_QUIET_SECONDS = 0.2  # so long nothing more must have become ready
_LOOK_SECONDS = 5.0  # between two looks whether what waits may go out
_LONGEST_SECONDS = 2.0  # and so long the first that is ready waits at most
_HELD_AT_ONCE = 256


class Batcher:
    """Collects runs and submits them.

    Attributes:
        submitted: how many submissions were accepted.
    """

    def __init__(
        self,
        scheduler: CommandScheduler,
        client: Client,
        desk: Desk,
        site: Site,
        *,
        order: Callable[[Work, str, str], Order],
        hold: Callable[[Work], asyncio.Future[None]],
        packer: Packer,
        max_jobs: Callable[[], int | None],
        at_once: Callable[[Demand, int], int],
        longest: Callable[[Demand], float | None],
        throttle: int | None,
        warmth: Warmth | None,
    ) -> None:
        """Prepare.

        Args:
            scheduler: the queue system.
            client: calls it.
            desk: takes over what has been submitted.
            site: where jobs run.
            order: returns the order of a run, given its token and the path of the log.
            hold: writes down what a run is found again by.
            packer: decides how many runs go into a job.
            max_jobs: returns how many jobs may be out at once; None for no limit.
            at_once: returns how many runs of a job with so many go on at once.
            longest: returns the most seconds that such a job is given; None for no limit.
            throttle: how many tasks of an array may run at once; None for no limit.
            warmth: lets runs that share a job be forked from a warm interpreter; None for none.
        """
        self.submitted = 0
        self._scheduler = scheduler
        self._client = client
        self._submitter = Submitter(scheduler, client, desk)
        self._desk = desk
        self._site = site
        self._order = order
        self._hold = hold
        self._packer = packer
        self._max_jobs = max_jobs
        self._at_once = at_once
        self._longest = longest
        self._throttle = throttle
        self._warmth = warmth
        self._waiting: dict[Work, None] = {}
        self._broken_off: Sequence[Work] = ()
        self._arrived = asyncio.Event()
        self._most: float = math.inf  # tasks in one submission; less after a refusal
        self._pause = PAUSE_SECONDS  # after a refusal
        self._busy = -math.inf  # when jobs of ours were last out at a refusal

    def add(self, work: Work) -> None:
        """Take on a run that is ready."""
        self._waiting[work] = None
        self._arrived.set()

    def withdraw(self, work: Work) -> bool:
        """Give a run back that was not yet handed over; False where it was."""
        return self._waiting.pop(work, self) is None

    def holds(self, work: Work) -> bool:
        """Whether a run was not yet handed over."""
        return work in self._waiting

    @property
    def idle(self) -> bool:
        """Whether all that came has been handed over."""
        return not self._waiting

    async def serve(self) -> None:
        """Submit what comes, for ever."""
        while True:
            await self._arrived.wait()
            await self._gather()
            self._desk.freed.clear()
            chunk, pack = self._chunk()
            if chunk:
                await self._hand_over(chunk, pack)
            elif not self._waiting:
                self._arrived.clear()
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._desk.freed.wait()

    async def settle(self, adoption: Adoption, haste: Haste) -> None:
        """Have ended what the last submission, which was broken off, has queued for nobody.

        To be called when `serve` has ended; bounded.
        """
        if self._broken_off:
            await self._submitter.settle(self._broken_off, adoption, haste)

    async def _gather(self) -> None:
        """Wait until nothing more comes for a moment."""
        first = time.monotonic()
        while self._waiting and time.monotonic() - first < _LONGEST_SECONDS:
            before = len(self._waiting)
            await asyncio.sleep(_QUIET_SECONDS)
            if len(self._waiting) == before:
                break

    def _chunk(self) -> tuple[list[Work], int]:
        """Take the runs of the next submission, alike in what they demand; and runs per job."""
        first = next(iter(self._waiting), None)
        room = int(min(self._scheduler.array_limit, self._most))
        if (most_out := self._max_jobs()) is not None:
            room = min(room, most_out - self._desk.tasks_out())
        if first is None or room < 1:
            return [], 1
        pack, most = 1, room
        if not first.demand.alone:
            out, longest = self._desk.runs_out()
            parallel = self._at_once(first.demand, self._packer.most)
            pack, limit = self._packer.plan(parallel=parallel, out=out, longest=longest)
            most = room * pack if limit is None else min(room * pack, limit)
        alike = (work for work in self._waiting if work.demand == first.demand)
        chunk = list(itertools.islice(alike, most))
        for work in chunk:
            del self._waiting[work]
        self._packer.sent(len(chunk))
        return chunk, max(1, min(pack, len(chunk)))

    async def _hand_over(self, works: Sequence[Work], pack: int) -> None:
        """Submit runs; what goes wrong becomes their end, or that of the whole."""
        submission = None
        try:
            submission, job = await self._prepare(works, pack)
            argv = self._scheduler.submit(job, str(submission.directory / "script"))
            refused = await self._submitter.submit(submission, list(argv))
        except asyncio.CancelledError:
            if submission is not None and submission is self._submitter.unsure:
                self._broken_off = works
            raise
        except Exception as error:
            self._fail(works, error)
            return
        if refused is None:
            self.submitted += 1
            self._most *= 2
            self._pause = PAUSE_SECONDS
            self._submitter.drop_useless(submission, works)
        elif refused.crowded:
            await self._make_smaller(works, submission, refused)
        elif refused.oversized and (tasks := submission.tasks or 1) > 1:
            self._scheduler.array_limit = tasks // 2
            _log.info("%s: %s; arrays are smaller now", self._scheduler.title, refused.message)
            self._waiting = {**self._taken_back(works), **self._waiting}
        else:
            self._refuse(works, refused.message)

    def _fail(self, works: Sequence[Work], error: Exception) -> None:
        for work in works:
            self._desk.drop(work)
            if not work.done.done():
                work.done.set_exception(error)

    def _refuse(self, works: Sequence[Work], message: str) -> None:
        for work in works:
            self._desk.conclude(work, ExitStatus(code=None, reason="submit", message=message))

    # Before.

    async def _prepare(self, works: Sequence[Work], pack: int) -> tuple[Submission, Job]:
        """Write down all that is needed, and the intent, before anything is submitted."""
        token = uuid.uuid4().hex[:12]
        demand = works[0].demand
        place = self._site.home(works[0].run, token)
        submission = Submission(token, *place, pack=pack, runs=len(works))
        for number, work in enumerate(works):
            earlier, work.number = work.submission, number
            work.submission = submission
            if not work.done.done():
                submission.works[number] = work
            if earlier is not None:
                submission.earlier += {earlier.name, *earlier.earlier} - {*submission.earlier}
        slots = self._at_once(demand, pack)
        job = self._job(submission, demand, slots)
        script = self._scheduler.script(job)
        log = str(submission.directory / "log")
        orders = {work: self._order(work, f"{token}-{work.number}", log) for work in works}
        if self._warmth is not None and pack > 1:
            submission.more = self._warmth.prepare(orders)
        lacking = await self._site.lay_out(submission, works, orders, script, slots)
        for work, why in lacking.items():
            self._desk.conclude(work, ExitStatus(code=None, reason="staging", message=why))
        self._desk.watch(submission)
        live = [work for work in works if not work.done.done()]
        for first in range(0, len(live), _HELD_AT_ONCE):  # a task each, and one flush for all
            await asyncio.gather(*map(self._hold, live[first : first + _HELD_AT_ONCE]))
        return submission, job

    def _job(self, submission: Submission, demand: Demand, slots: int) -> Job:
        """Say what a submission asks the queue system for."""
        needs, seconds = demand.needs, demand.seconds
        if submission.pack > 1:
            needs = packing.together(needs, slots)
            if seconds is not None:
                waves = math.ceil(submission.pack / slots)
                seconds = self._packer.time(seconds, waves, self._longest(demand))
        home = str(submission.directory)
        return Job(
            name=submission.name,
            directory=home,
            tasks=submission.tasks,
            body=body(home),
            needs=needs,
            seconds=seconds,
            packed=submission.pack > 1,
            options=demand.options,
            throttle=self._throttle,
        )

    # After.

    async def _make_smaller(
        self, works: Sequence[Work], submission: Submission, refused: Refusal
    ) -> None:
        """Wait until there may be room, and try with fewer."""
        kept = self._taken_back(works)
        tasks, out = submission.tasks or 1, self._desk.tasks_out()
        alone = tasks == 1 and not out
        if out:
            self._busy = time.monotonic()
        if alone and self._out_of_patience(list(kept), refused):
            return
        # What is refused though nothing is out may be so for what it asks for: others come first.
        demand = works[0].demand
        others = [work for work in self._waiting if work.demand != demand] if alone else []
        self._waiting = {**dict.fromkeys(others), **kept, **self._waiting}
        if tasks > 1:
            self._most = max(1, tasks // 2)
        _log.warning(
            "%s takes no more jobs now (%s); %d runs wait, %d jobs are out",
            self._scheduler.title,
            refused.message,
            len(self._waiting),
            out,
        )
        if tasks == 1 or out:
            pause = min(self._pause, MOST_PAUSE_SECONDS)
            self._pause = pause * 2 if tasks == 1 else PAUSE_SECONDS
            self._desk.freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._desk.freed.wait()

    def _taken_back(self, works: Sequence[Work]) -> dict[Work, None]:
        """Return what is to be submitted of runs that were refused."""
        for work in works:
            self._desk.drop(work)
            work.submission = None
        return dict.fromkeys(work for work in works if not work.done.done())

    def _out_of_patience(self, works: Sequence[Work], refused: Refusal) -> bool:
        """Give runs up that have been refused for long though nothing of ours is out.

        Where others were taken meanwhile, it is for what these ask for; else it is for us all.
        """
        now = time.monotonic()
        for work in works:
            work.refused = work.refused or now
        first = max((work.refused for work in works), default=now)
        if now - max(first, self._busy) < PATIENCE_SECONDS:
            return False
        why = f"refused for {PATIENCE_SECONDS / 60:.0f} minutes, with no job of ours in the queue"
        if self._submitter.taken > first:
            self._refuse(works, f"{why}: {refused.message}")
        else:
            title = self._scheduler.title
            self._fail(works, BackendError(f"{title}: jobs were {why}: {refused.message}"))
        return True


def body(home: str) -> str:
    """Return the lines of shell text that carry out a task.

    Where this driver is itself a run of another sweep, that run's variables are left out.
    """
    names = [n for n in os.environ if n.startswith(RUN_VARIABLES) and n.isidentifier()]
    unset = f"unset {' '.join(names)}\n" if names else ""
    directory = shlex.quote(home)
    return f'{unset}exec sh {directory}/job.sh {directory} "$mr_task" "$mr_restart"\n'
