"""`Judge`: gives runs that are out their verdicts, from what they left and what the queue says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler import verdict
from multirun_core._runners.scheduler.accounting import accounts

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, JobState
    from multirun_core._runners.scheduler.desk import Desk
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.scheduler.submission import Submission, Work
    from multirun_core._transport.wrapper import Event


class Judge:
    """Finds out what became of runs whose job is over, or that have left a record."""

    def __init__(
        self,
        desk: Desk,
        scheduler: CommandScheduler,
        client: Client,
        site: Site,
        *,
        grace: float,
        pause: float,
    ) -> None:
        """Prepare.

        Args:
            desk: knows what is out, and is told the verdicts.
            scheduler: the queue system.
            client: calls it.
            site: where jobs run.
            grace: how long a record may take to become visible here, in seconds.
            pause: the least seconds between two searches for the same jobs by name.
        """
        self._desk = desk
        self._scheduler = scheduler
        self._client = client
        self._site = site
        self._grace = grace
        self._pause = pause

    async def look(self) -> None:
        """Judge what can be judged of all that is out.

        Raises:
            BackendError: what runs have left cannot be looked at.
        """
        late: list[Work] = []
        unsaid: list[Work] = []
        now = time.monotonic()
        for submission in list(self._desk.submissions.values()):
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
                work.accounted = work in told
                self._judge_record(work, work.ended, told.get(work), over=True, now=now)
        if late:
            await self._judge_late(late)

    async def _accounts(self, works: Sequence[Work]) -> Mapping[Work, JobState]:
        """Return what accounts say of the jobs of runs that the queue has forgotten."""
        keys = {work: self._key_of(work) for work in works}
        told = await accounts(
            self._scheduler, self._client, [key for key in dict.fromkeys(keys.values()) if key]
        )
        found = {work: told[key] for work, key in keys.items() if key in told}
        ours = {work: work.submission.name for work in works if work.submission is not None}
        # An id may have been given to somebody else's job, before or since.
        return {work: state for work, state in found.items() if state.name in (None, ours[work])}

    def _judge_record(
        self, work: Work, record: Event, state: JobState | None, *, over: bool, now: float
    ) -> None:
        submission = work.submission
        assert submission is not None  # noqa: S101 - it is in one
        noticed = work.noticed or now
        if work.cancelling or not submission.ids:  # it is told anyhow, or nothing is asked
            waited = now - noticed
        else:
            waited = self._desk.answered(noticed)
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
            if not self._desk.silent:
                self._desk.hurry()
            return
        if work.accounted and state is not None and not packed:
            end = replace(end, max_rss_bytes=state.max_rss_bytes)
        self._clear_stale(submission, work, state)
        self._desk.conclude(work, end)

    def _clear_stale(self, submission: Submission, work: Work, state: JobState | None) -> None:
        """Have a job ended that was put back: it would only start to leave again."""
        if state is not None and state.restarts > 0 and state.phase != "ended":
            self._desk.stale[self._desk.key(submission, submission.task_of(work))] = None

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
                work.take_end(found.record)
            elif now - (work.noticed or now) >= self._grace and await self._confirm(work):
                gone.append(work)
        told = await self._accounts([work for work in gone if self._last_state(work) is None])
        for work in gone:
            work.accounted = work in told
            self._conclude_late(work, told.get(work))

    async def _confirm(self, work: Work) -> bool:
        """Ask another way whether a job is gone; whether that was answered, and it is."""
        submission = work.submission
        if submission is None or work.done.done():
            return False
        sight = submission.sight(submission.task_of(work))
        if sight.state is not None and sight.missing == 0:  # the queue itself says what it is
            if not sight.over:
                return self._put_back(work, sight.state)
            # One that ended well may have left a run to another job, which had claimed it.
            if sight.state.reason is not None or not work.claimed:
                return True
        noticed = work.noticed or 0.0
        if not await self._seek(submission, noticed):
            return False
        if work.claimed and submission.elsewhere_until > noticed:
            work.noticed = time.monotonic()
            return False
        return sight.over

    async def _seek(self, submission: Submission, since: float) -> bool:
        """Look for jobs by their names, once since a moment; whether it is known that none is new.

        Whoever claimed a run before then is seen by any look after it.
        """
        if submission.confirmed and submission.asked > since:
            return True
        if submission.asked and time.monotonic() - submission.asked < self._pause:
            return False
        submission.asked, submission.confirmed = time.monotonic(), False
        elsewhere = False
        for name in (submission.name, *submission.earlier):
            found = await self._client.seek(name)
            if found is None:
                return False
            new = [job for job in found.ids if job not in submission.ids]
            if new:  # submitted all the same, when everybody thought that it was not
                submission.ids += new
                submission.sights.clear()
                for work in submission.works.values():
                    work.noticed = None if work.ended is None else work.noticed
                self._desk.hurry()
                return False
            if name == submission.name:
                self._see_alive(submission, found.states)
            else:  # its tasks have other numbers
                elsewhere |= any(
                    state.phase != "ended" and state.name in (None, name)
                    for state in found.states.values()
                )
        if elsewhere or submission.elsewhere:  # it goes on, or has ended since the last look
            submission.elsewhere_until = submission.asked
        submission.elsewhere, submission.confirmed = elsewhere, True
        return True

    def _see_alive(self, submission: Submission, states: Mapping[str, JobState]) -> None:
        """Believe what another way tells of tasks that go on, whatever polls have missed."""
        for task in {submission.task_of(work) for work in submission.works.values()}:
            state = self._desk.state(submission, task, states)
            if state is not None and state.phase != "ended":
                submission.sight(task).see(state)
                self._desk.hurry()

    def _key_of(self, work: Work) -> str:
        assert work.submission is not None  # noqa: S101 - it is in one
        if not work.submission.ids:
            return ""
        return self._desk.key(work.submission, work.submission.task_of(work))

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
        self._desk.conclude(work, end)
