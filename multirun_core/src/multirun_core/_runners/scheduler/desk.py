"""`Desk`: follows the logs of all submissions, and asks the queue about them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler import verdict
from multirun_core._runners.scheduler.judging import Judge
from multirun_core._runners.scheduler.silence import Silence
from multirun_core._runners.scheduler.waits import Waits
from multirun_core.errors import BackendError, TransportError

if TYPE_CHECKING:
    from multirun_core._model.run import ExitStatus
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, JobState
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.scheduler.submission import Submission, Work
    from multirun_core._transport.wrapper import Event

_log = logging.getLogger("multirun.runner")

_MOMENT = 0.1
_GROWTH = 1.5


class Desk:
    """Knows what is out, and finds out how it ends.

    Attributes:
        submissions: those with runs that have no verdict yet, by token.
        freed: set when a run has got its verdict.
        stale: jobs, or tasks, that are in the queue although nobody waits for them.
    """

    def __init__(
        self,
        scheduler: CommandScheduler,
        client: Client,
        site: Site,
        *,
        interval: tuple[float, float],
        grace: float,
        begin: Callable[[Work], None],
        say: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            scheduler: the queue system.
            client: calls it.
            site: where jobs run.
            interval: the least and the most seconds between two polls.
            grace: how long a record may take to become visible here, in seconds.
            begin: is told of each run that is seen to have started, once.
            say: tells people why jobs wait, and whether the queue answers.
        """
        self.submissions: dict[str, Submission] = {}
        self.freed = asyncio.Event()
        self.stale: dict[str, None] = {}
        self._scheduler = scheduler
        self._client = client
        self._site = site
        self._least_look, self._most_look = site.look_seconds
        self._least, self._most = interval
        self._begin = begin
        self._waits = Waits(scheduler.title, say)
        self._interval = self._least
        self._polled = 0.0
        self._look = self._least_look
        self._wake = asyncio.Event()
        self._poll_soon = asyncio.Event()
        self._stir = asyncio.Event()
        self._silence = Silence(scheduler.title, say)
        self._judge = Judge(self, scheduler, client, site, grace=grace, pause=self._least)

    # What is out.

    def watch(self, submission: Submission) -> None:
        """Follow a submission until all of its runs have a verdict."""
        self.submissions[submission.token] = submission
        self._wake.set()
        self.hurry()

    def hurry(self) -> None:
        """Ask the queue as soon as that is decent."""
        self._interval = self._least
        self._poll_soon.set()
        self._stir.set()

    def key(self, submission: Submission, task: int, job: str | None = None) -> str:
        """Return what a task of a submission is called, by its first job's id or another."""
        job = submission.ids[0] if job is None else job
        return job if submission.tasks is None else self._scheduler.task_id(job, task)

    def state(
        self, submission: Submission, task: int, states: Mapping[str, JobState]
    ) -> JobState | None:
        """Return the state of a task: of the most alive of the jobs that bear its name."""
        found: list[JobState] = []
        for job in submission.ids:
            state = states.get(self.key(submission, task, job))
            if state is not None and state.name in (None, submission.name):
                found.append(state)
        order = ("running", "waiting", "ended")
        return min(found, key=lambda state: order.index(state.phase), default=None)

    @property
    def silent(self) -> bool:
        """Whether the queue does not answer."""
        return self._silence.lasts

    def answered(self, since: float) -> float:
        """Return for how many seconds after a moment the queue has answered all polls."""
        return self._silence.answered(since)

    def tasks_out(self) -> int:
        """Return how many jobs, each task of an array counted, may be in the queue."""
        return sum(
            len({submission.task_of(work) for work in submission.works.values()})
            for submission in self.submissions.values()
        )

    def runs_out(self) -> tuple[int, float]:
        """Return how many runs are out, and how long the first of them has been going on."""
        works = [work for one in self.submissions.values() for work in one.works.values()]
        begun = [work.started.started or 0.0 for work in works if work.started is not None]
        return len(works), max(0.0, time.time() - min(begun, default=time.time()))

    def drop(self, work: Work) -> None:
        """Forget a run: it has its verdict, or another driver will see to it."""
        submission = work.submission
        if submission is not None and submission.works.pop(work.number, None) is not None:
            if not submission.works:
                self.submissions.pop(submission.token, None)
            self.freed.set()

    def abandon(self, keys: Sequence[str]) -> None:
        """Have jobs, or tasks, ended that nobody waits for: soon, and until that is accepted."""
        if keys:
            self.stale |= dict.fromkeys(keys)
            self._wake.set()
            self.hurry()

    def conclude(self, work: Work, end: ExitStatus) -> None:
        """Give a run its verdict."""
        if not work.done.done():
            if work.started is not None or verdict.no_fault(end):
                # An attempt that may have been made counts, so that the next has another number.
                self._begin(work)
            work.done.set_result(end)
        self.drop(work)

    # The logs.

    async def follow(self) -> None:
        """Read what wrappers write, for ever; starts and ends are seen as they happen."""
        while True:
            await self._wake.wait()
            if not self.submissions:
                self._wake.clear()
                continue
            news = False
            try:
                for submission, event in await self._site.news(list(self.submissions.values())):
                    news = True
                    self._hear(submission, event)
                await self._judge.look()
            except BackendError as error:
                self._give_up(error)
            except Exception:
                _log.exception("judging what is out failed; it is tried again")
            stirred = news or self._stir.is_set()
            least, most = self._least_look, self._most_look
            self._look = least if stirred else min(most, self._look * _GROWTH)
            self._stir.clear()
            await asyncio.sleep(least)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look - least):
                    await self._stir.wait()

    def _give_up(self, error: BackendError) -> None:
        """Tell all that wait that nobody knows what becomes of their runs."""
        for submission in list(self.submissions.values()):
            for work in list(submission.works.values()):
                if not work.done.done():
                    work.done.set_exception(error)
                self.drop(work)

    def _hear(self, submission: Submission, event: Event) -> None:
        work = submission.work_of(event)
        if work is None:
            return
        self._silence.hear()
        if event.word == "start":
            work.started = event
            self._begin(work)
        elif work.ended is None:
            work.take_end(event)

    # The queue.

    async def poll(self) -> None:
        """Ask the queue about all jobs that are out, for ever; nothing while nothing is."""
        while True:
            if not self.stale:
                await self._wake.wait()
            pause = self._polled + self._interval - time.monotonic()
            if pause > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._poll_soon.wait()
                    await asyncio.sleep(max(0.0, self._polled + self._least - time.monotonic()))
            self._poll_soon.clear()
            await self.clear_away()
            ids = [id for submission in self.submissions.values() for id in submission.ids]
            if not ids:
                self._silence.forget()
                await asyncio.sleep(self._interval if self.stale else _MOMENT)
                continue
            changed = await self._ask(ids)
            self._polled = time.monotonic()
            self._interval = self._least if changed else min(self._most, self._interval * _GROWTH)

    async def clear_away(self) -> None:
        """Have jobs ended that nobody waits for; what fails is tried again with the next poll."""
        stale = list(self.stale)
        if stale:
            with suppress(TransportError):
                done = await self._client.call("cancel", self._scheduler.cancel(stale))
                if done.code == 0:
                    for key in stale:
                        del self.stale[key]

    async def _ask(self, ids: Sequence[str]) -> bool:
        """Poll once; whether anything has changed. A poll that fails changes nothing."""
        asked, began = list(self.submissions.values()), time.monotonic()
        try:
            done = await self._client.call("status", self._scheduler.status(ids))
            if done.code:
                raise ValueError(done.said)  # noqa: TRY301 - one way for all that fails
            states = self._scheduler.states(done.stdout.decode(errors="replace"))
        except (TransportError, ValueError) as error:
            try:
                self._silence.last(str(error))
            except BackendError as too_long:
                self._give_up(too_long)
            return False
        self._silence.end(began)
        changed = [self._see(submission, states) for submission in asked if submission.ids]
        if any(changed):
            self._stir.set()
        return any(changed)

    def _see(self, submission: Submission, states: Mapping[str, JobState]) -> bool:
        """Take note of what a good poll says of a submission; whether anything has changed."""
        changed = False
        for task in {submission.task_of(work) for work in submission.works.values()}:
            sight, state = submission.sight(task), self.state(submission, task, states)
            if state is None:
                sight.missing += 1
                sight.since = sight.since or time.monotonic()
                changed |= sight.missing <= 2
                continue
            before = sight.state
            changed |= before is None or (before.phase, before.word) != (state.phase, state.word)
            sight.see(state)
            self._waits.see(submission, before, state)
        return changed
