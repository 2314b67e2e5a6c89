"""`Ender`: ends runs that are out, each with its grace, and makes sure that they are gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multirun_core._model.run import ExitStatus
from multirun_core.errors import BackendError, TransportError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, JobState
    from multirun_core._runners.scheduler.desk import Desk
    from multirun_core._runners.scheduler.haste import Haste
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.scheduler.submission import Submission, Work

_log = logging.getLogger("multirun.runner")

_GATHER_SECONDS = 0.05
_MARGIN_SECONDS = 10.0  # for a signal to arrive, and an end to become visible
_GONE_SECONDS = 120.0  # for a job to be gone once the queue system has been told
_LEAST_PAUSE_SECONDS, _PAUSE_SECONDS = 0.2, 2.0
CANCELLED = ExitStatus(code=None, reason="cancelled")
"""How a run ends that nobody has begun."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One task, or a job without tasks, that is to end as a whole."""

    submission: Submission
    number: int
    job: str
    key: str

    def goes_on(self, states: Mapping[str, JobState]) -> bool:
        state = states.get(self.key)
        return (
            state is not None
            and state.phase != "ended"
            and state.name in (None, self.submission.name)
        )


class Ender:
    """Ends runs; what is asked at the same time is done with the same calls.

    Attributes:
        left: the jobs, or tasks, that the queue system may still have at the end of that.
    """

    def __init__(
        self, scheduler: CommandScheduler, client: Client, desk: Desk, site: Site, haste: Haste
    ) -> None:
        self._scheduler = scheduler
        self._client = client
        self._desk = desk
        self._site = site
        self.left: dict[str, None] = {}
        self._asked: list[tuple[Work, float]] = []
        self._batch: asyncio.Task[None] | None = None
        self._unneeded: list[Work] = []
        self._sparing: set[asyncio.Task[None]] = set()
        self._haste = haste
        self._hurried = haste.asked

    def has_left(self, work: Work) -> bool:
        """Whether the queue system may still have what carries a run."""
        return any(key in self.left for key in self._keys([work]))

    async def end(self, work: Work, grace: float) -> None:
        """End a run that is out; returns when it has ended, or cannot be seen to end."""
        work.cancelling = True
        self._asked.append((work, grace))
        if self._batch is None:
            self._batch = asyncio.create_task(self._gather())
        batch = self._batch
        await asyncio.wait([batch, *self._sparing])
        self._desk.drop(work)
        batch.result()

    def spare(self, work: Work) -> None:
        """Have a run that is out given up, unless it has begun: its end is `CANCELLED` then."""
        if not self._unneeded:
            sparing = asyncio.create_task(self._spare())
            self._sparing.add(sparing)
            sparing.add_done_callback(self._sparing.discard)
        self._unneeded.append(work)

    async def spared(self) -> None:
        """Return once what carried the runs that were given up is gone; bounded."""
        if self._sparing:
            await asyncio.wait(self._sparing)

    async def close(self, *, leave: bool) -> None:
        """Let go; unless all is to be left as it is, wait for what is being given up."""
        if not leave:
            await self.spared()
        for sparing in self._sparing:
            sparing.cancel()
        await self.spared()

    async def _spare(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        works = [work for work in self._unneeded if not work.done.done()]
        self._unneeded = []
        try:
            async with self._haste.bound(_GONE_SECONDS):
                spared = await self._site.spare(works)
        except (BackendError, TimeoutError) as error:
            why = str(error) or "it took too long"
            _log.warning("%d runs may begin that are not needed: %s", len(works), why)
            return
        await self._gone(await self._give_up(works, spared))

    async def _gather(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        asked, self._asked = self._asked, []
        self._batch = None
        works = [work for work, _ in asked if not work.done.done()]
        grace = max((grace for _, grace in asked), default=0.0)
        if works:
            await self._end_all(works, grace)

    async def _end_all(self, works: Sequence[Work], grace: float) -> None:
        try:
            async with self._haste.bound(_GONE_SECONDS):
                prevented = await self._site.prevent(works)
        except (BackendError, TimeoutError) as error:
            _log.warning(
                "%d runs could not be ended, and may go on: %s. multirun cancel DIR ends them",
                len(works),
                str(error) or "it took too long",
            )
            return
        begun = [work for work, never in zip(works, prevented, strict=True) if not never]
        unused = await self._give_up(works, prevented)
        tasks = self._tasks(begun, lambda work: work.cancelling)
        if begun:
            await self._end_begun(begun, grace)
        await self._gone([*unused, *tasks])

    async def _give_up(self, works: Sequence[Work], prevented: Sequence[bool]) -> list[_Task]:
        """Give those runs their end that nobody can begin any more; return what carried them."""
        never = [work for work, never in zip(works, prevented, strict=True) if never]
        for work in never:
            work.cancelling = True
            if not work.done.done():  # its submission may have been refused meanwhile
                work.done.set_result(CANCELLED)
        unused = self._tasks(never, lambda work: work.done.done())
        if useless := self._whole(unused):
            await self._until_accepted("cancel", self._scheduler.cancel(useless))
        for work in never:
            self._desk.drop(work)
        return unused

    async def _end_begun(self, works: Sequence[Work], grace: float) -> None:
        tasks = self._tasks(works, lambda work: work.cancelling)
        whole, known = self._whole(tasks), {task.key for task in tasks}
        shared = [key for key in self._keys(works) if key not in known]
        if grace > 0 and not self._hurried.is_set():
            told = await self._signal(whole, "TERM") | await self._signal(shared, "HUP")
            if told and await self._ended(works, grace + _MARGIN_SECONDS):
                return
        left = [work for work in works if not work.done.done()]
        if whole := self._whole(self._tasks(left, lambda work: work.cancelling)):
            if not await self._until_accepted("cancel", self._scheduler.cancel(whole)):
                return
            self._desk.hurry()
        with suppress(TimeoutError):
            async with self._haste.bound(_GONE_SECONDS):
                await self._ended(left, _GONE_SECONDS, hurried=False)

    async def _signal(self, ids: Sequence[str], number: str) -> bool:
        argv = self._scheduler.nudge(ids, number) if ids else None
        if argv is None:
            return False
        with suppress(TransportError, TimeoutError):
            async with self._haste.bound(_GONE_SECONDS):
                return (await self._client.call("signal", argv)).code == 0
        return False

    async def _ended(self, works: Sequence[Work], seconds: float, *, hurried: bool = True) -> bool:
        """Wait until runs have ended; whether they have within so many seconds."""
        hurry = asyncio.ensure_future(self._hurried.wait())
        deadline = time.monotonic() + seconds
        try:
            while left := [work.done for work in works if not work.done.done()]:
                if time.monotonic() > deadline or (hurried and hurry.done()):
                    return False
                waited: list[asyncio.Future[Any]] = [*left, hurry] if hurried else [*left]
                await asyncio.wait(waited, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
                self._desk.hurry()
        finally:
            hurry.cancel()
        return True

    async def _until_accepted(self, kind: str, argv: Sequence[str]) -> bool:
        """Call a command until it is accepted: a controller may be away for a while.

        Whether it was. In a hurry, it is called once more.
        """
        deadline, pause = time.monotonic() + _GONE_SECONDS, _PAUSE_SECONDS
        while True:
            why, last = "no answer", self._hurried.is_set()
            with suppress(TransportError, TimeoutError):
                async with self._haste.bound(_GONE_SECONDS):
                    done = await self._client.call(kind, argv)
                if done.code == 0:
                    return True
                why = done.said
            if last or time.monotonic() + pause > deadline:
                _log.warning("%s failed: %s", " ".join(argv[:20]), why)
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurried.wait()
            pause *= 2

    def _keys(self, works: Sequence[Work]) -> list[str]:
        """Return the jobs, or tasks of arrays, that runs are in."""
        keys: dict[str, None] = {}
        for work in works:
            submission = work.submission
            for job in [] if submission is None else submission.ids:
                keys[self._desk.key(submission, submission.task_of(work), job)] = None  # type: ignore[union-attr,arg-type]
        return list(keys)

    def _tasks(self, works: Sequence[Work], ending: Callable[[Work], bool]) -> list[_Task]:
        """Return the tasks of which nothing is to be left."""
        found: dict[tuple[Submission, int], None] = {}
        for work in works:
            if work.submission is not None:
                task = work.submission.task_of(work)
                if all(ending(mate) for mate in work.submission.mates(task)):
                    found[work.submission, task] = None
        return [
            _Task(one, number, job, self._desk.key(one, number, job))
            for one, number in found
            for job in one.ids
        ]

    def _whole(self, tasks: Sequence[_Task]) -> list[str]:
        """Return what tasks are called; whole arrays as one."""
        keys: dict[str, None] = {}
        for task in tasks:
            out = {task.submission.task_of(work) for work in task.submission.works.values()}
            whole = out <= {one.number for one in tasks if one.submission is task.submission}
            keys[task.job if whole else task.key] = None
        return list(keys)

    async def _gone(self, tasks: Sequence[_Task]) -> None:
        """Wait until the queue has nothing more of tasks that goes on; bounded."""
        deadline, pause = time.monotonic() + _GONE_SECONDS, _LEAST_PAUSE_SECONDS
        left: list[_Task] = list(tasks)
        while left and time.monotonic() < deadline and not self._hurried.is_set():
            with suppress(TransportError, ValueError):
                jobs = list(dict.fromkeys(task.job for task in left))
                done = await self._client.call("status", self._scheduler.status(jobs))
                if done.code == 0:
                    states = self._scheduler.states(done.stdout.decode(errors="replace"))
                    left = [task for task in left if task.goes_on(states)]
            if left:
                await asyncio.sleep(pause)
                pause = min(_PAUSE_SECONDS, pause * 2)
        if left:
            self.left |= {task.key: None for task in left}
            names = ", ".join(task.key for task in left[:20])
            _log.warning("%s still has %s; look after it yourself", self._scheduler.title, names)
