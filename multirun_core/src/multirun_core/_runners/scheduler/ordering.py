"""`Ordering`: what is to be done for attempts, and by what they are found again."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multirun_core._runners.scheduler.submission import Demand, Work
from multirun_core._threads import heard
from multirun_core._transport.wrapper import Order

if TYPE_CHECKING:
    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._runners.scheduler.lessons import Lessons
    from multirun_core._runners.scheduler.site import Site
    from multirun_core._runners.task import TaskRunner


class Ordering:
    """Says what is to be done for attempts."""

    def __init__(
        self, runner: TaskRunner, site: Site, lessons: Lessons, setup: Sequence[str]
    ) -> None:
        """Prepare.

        Args:
            runner: knows what holds for its runs.
            site: where they are carried out.
            lessons: what earlier attempts have taught.
            setup: lines of shell text before each run's program.
        """
        self._runner = runner
        self._site = site
        self._lessons = lessons
        self._setup = tuple(setup)

    def work(self, run: Run, demand: Demand | None = None) -> Work:
        """Return what is to be done for the next attempt of a run.

        Args:
            run: the run.
            demand: what it asks for; None where it has been given that.
        """
        attempt = run.attempts + 1
        submission, earlier = self._lessons.take_vain(run)
        done: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        done.add_done_callback(heard)  # who was cancelled waits no more
        return Work(
            run,
            attempt=attempt,
            directory=self._site.directory(run, attempt, earlier),
            done=done,
            demand=demand or Demand(),
            submission=submission,
        )

    def order(self, work: Work, token: str, log: str) -> Order:
        """Return what the wrapper is told to do."""
        run, limits = work.run, self._runner.limits(work.run)
        env = {**run.environment, **limits.env}
        env.pop("MULTIRUN_RUN_DIR", None)  # the wrapper knows it
        factor = self._lessons.factors(run).seconds
        return Order(
            cmd=self._site.command(run),
            attempt=work.attempt,
            token=token,
            index=run.index,
            env=env,
            setup=(*self._site.setup, *self._setup),
            timeout=None if limits.timeout is None else limits.timeout * factor,
            grace=limits.grace,
            log=log,
        )

    async def hold(self, work: Work) -> None:
        """Write down what a run is found again by."""
        if work.submission is None:
            raise AssertionError("it is in a submission by now")
        handle = {
            "job": work.submission.token,
            "number": work.number,
            "time": round(work.submission.time, 3),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **self._site.handle(work),
        }
        await self._runner.keep_handle(work.run, handle)

    def began(self, work: Work) -> None:
        """Note that an attempt has begun, once."""
        if not work.begun and work.run.status == "pending":
            work.begun = True
            self._runner.begin(work.run)
