"""`Desk`: follows the logs of all submissions, asks the queue about them, and gives verdicts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler import verdict
from multirun_core._runners.scheduler.accounting import accounts
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
            say: tells people why jobs wait.
        """
        self.submissions: dict[str, Submission] = {}
        self.freed = asyncio.Event()
        self.stale: dict[str, None] = {}
        self._scheduler = scheduler
        self._client = client
        self._site = site
        self._least_look, self._most_look = site.look_seconds
        self._least, self._most = interval
        self._grace = grace
        self._begin = begin
        self._waits = Waits(scheduler.title, say)
        self._interval = self._least
        self._polled = 0.0
        self._look = self._least_look
        self._wake = asyncio.Event()
        self._poll_soon = asyncio.Event()
        self._stir = asyncio.Event()
        self._lacking = 0

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
                await self._judge()
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
        if event.word == "start":
            work.started = event
            self._begin(work)
        elif work.ended is None:
            self._take_record(work, event)

    def _take_record(self, work: Work, event: Event) -> None:
        work.started = work.started or event
        work.ended = event
        work.noticed = time.monotonic()

    # The queue.

    async def poll(self) -> None:
        """Ask the queue about all jobs that are out, for ever; nothing while nothing is."""
        while True:
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
                await asyncio.sleep(_MOMENT)
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
        asked = list(self.submissions.values())
        try:
            done = await self._client.call("status", self._scheduler.status(ids))
            if done.code:
                raise ValueError(done.said)  # noqa: TRY301 - one way for all that fails
            states = self._scheduler.states(done.stdout.decode(errors="replace"))
        except (TransportError, ValueError) as error:
            self._lacking += 1
            if self._lacking in (1, 10, 100):
                _log.warning("%s does not tell about jobs: %s", self._scheduler.title, error)
            return False
        if self._lacking:
            _log.info("%s tells about jobs again", self._scheduler.title)
            self._lacking = 0
        changed = [self._see(submission, states) for submission in asked if submission.ids]
        if any(changed):
            self._stir.set()
        return any(changed)

    def _see(self, submission: Submission, states: Mapping[str, JobState]) -> bool:
        """Take note of what a good poll says of a submission; whether anything has changed."""
        changed = False
        for task in {submission.task_of(work) for work in submission.works.values()}:
            sight, state = submission.sight(task), self._state(submission, task, states)
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

    def _state(
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

    # Verdicts.

    async def _judge(self) -> None:
        late: list[Work] = []
        unsaid: list[Work] = []
        now = time.monotonic()
        for submission in list(self.submissions.values()):
            for work in list(submission.works.values()):
                sight = submission.sight(submission.task_of(work))
                state = sight.state if sight.missing == 0 else None
                if work.ended is not None:
                    packed, asked = submission.pack > 1, work.cancelling
                    if (
                        sight.over
                        and self._last_state(work) is None
                        and verdict.unexplained(work.ended, asked=asked, packed=packed)
                    ):
                        unsaid.append(work)
                        continue
                    self._judge_record(work, work.ended, state, over=sight.over, now=now)
                elif sight.over or self._put_back(work, state):
                    late.append(work)
                else:
                    work.noticed = None
        told = await self._accounts(unsaid)
        for work in unsaid:
            if work.ended is not None:
                self._judge_record(work, work.ended, told.get(work), over=True, now=now)
        if late:
            await self._judge_late(late)

    async def _accounts(self, works: Sequence[Work]) -> Mapping[Work, JobState]:
        """Return what accounts say of the jobs of runs that the queue has forgotten."""
        keys = {work: self._key_of(work) for work in works}
        told = await accounts(
            self._scheduler, self._client, [key for key in dict.fromkeys(keys.values()) if key]
        )
        return {work: told[key] for work, key in keys.items() if key in told}

    def _judge_record(
        self, work: Work, record: Event, state: JobState | None, *, over: bool, now: float
    ) -> None:
        submission = work.submission
        assert submission is not None  # noqa: S101 - it is in one
        waited = now - (work.noticed or now)
        packed = submission.pack > 1
        end = verdict.by_record(
            record,
            state,
            over=over,
            restarted=state is not None and state.restarts > 0,
            asked=work.cancelling,
            packed=packed,
            waited=waited,
        )
        if end is None:
            self.hurry()
            return
        self._clear_stale(submission, work, state)
        self.conclude(work, end)

    def _clear_stale(self, submission: Submission, work: Work, state: JobState | None) -> None:
        """Have a job ended that was put back: it would only start to leave again."""
        if state is not None and state.restarts > 0 and state.phase != "ended":
            self.stale[self.key(submission, submission.task_of(work))] = None

    def _put_back(self, work: Work, state: JobState | None) -> bool:
        """Whether a job that had begun a run waits, or runs, for another time."""
        return state is not None and state.restarts > 0 and work.started is not None

    async def _judge_late(self, works: Iterable[Work]) -> None:
        """Judge runs whose job is over; their records are looked for as long as they may take."""
        now = time.monotonic()
        due: list[Work] = []
        for work in works:
            if work.noticed is None:
                work.noticed, work.looked = now, 0.0
            if now - work.looked > min(1.0, self._grace / 4):
                work.looked = now
                due.append(work)
        if not due:
            return
        gone: list[Work] = []
        for work, found in zip(due, await self._site.evidence(due), strict=True):
            work.claimed = found.claimed
            if found.record is not None:
                self._take_record(work, found.record)
            elif now - (work.noticed or now) >= self._grace and await self._confirm(work):
                gone.append(work)
        told = await self._accounts([work for work in gone if self._last_state(work) is None])
        for work in gone:
            self._conclude_late(work, told.get(work))

    async def _confirm(self, work: Work) -> bool:
        """Ask another way whether a job is gone; whether that was answered, and it is."""
        submission = work.submission
        if submission is None or work.done.done():
            return False
        sight = submission.sight(submission.task_of(work))
        if sight.state is not None and sight.missing == 0:  # the queue itself says what it is
            return sight.over or self._put_back(work, sight.state)
        if submission.asked and time.monotonic() - submission.asked < self._least:
            return submission.confirmed
        submission.asked, submission.confirmed = time.monotonic(), False
        for name in (submission.name, *submission.earlier):
            found = await self._client.seek(name)
            if found is None:
                return False
            new = [job for job in found.ids if job not in submission.ids]
            if new:  # submitted all the same, when everybody thought that it was not
                submission.ids += new
                submission.sights.clear()
                self.hurry()
                return False
            self._see_alive(submission, found.states)
        submission.confirmed = sight.missing > 0
        return submission.confirmed

    def _see_alive(self, submission: Submission, states: Mapping[str, JobState]) -> None:
        """Believe what another way tells of tasks that go on, whatever polls have missed."""
        for task in {submission.task_of(work) for work in submission.works.values()}:
            state = self._state(submission, task, states)
            if state is not None and state.phase != "ended":
                submission.sight(task).see(state)
                self.hurry()

    def _key_of(self, work: Work) -> str:
        assert work.submission is not None  # noqa: S101 - it is in one
        if not work.submission.ids:
            return ""
        return self.key(work.submission, work.submission.task_of(work))

    def _last_state(self, work: Work) -> JobState | None:
        """Return how the queue has told that a job ended; None where it has not."""
        assert work.submission is not None  # noqa: S101 - it is in one
        sight = work.submission.sight(work.submission.task_of(work))
        ended = sight.state is not None and sight.state.phase == "ended"
        return sight.state if ended or not sight.missing else None

    def _conclude_late(self, work: Work, told: JobState | None) -> None:
        submission = work.submission
        assert submission is not None  # noqa: S101 - it is in one
        state = self._last_state(work) or told
        end = verdict.without_record(
            state,
            started=work.started is not None or work.claimed,
            packed=submission.pack > 1,
            restarted=state is not None and state.restarts > 0,
        )
        self._clear_stale(submission, work, state)
        if state is not None and state.host is not None:
            end = replace(end, host=state.host)
        if state is not None and submission.pack == 1:
            end = replace(end, cpu_seconds=state.cpu_seconds, max_rss_bytes=state.max_rss_bytes)
        if work.started is not None and end.started is None:
            end = replace(end, started=work.started.started, host=work.started.host)
        self.conclude(work, end)
