"""`TaskRunner`: slots, attempts, time limits, cancellation; a runner adds one coroutine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import abstractmethod
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from multirun_core._model.policy import Policy, parse_time_limit
from multirun_core._model.resources import Resources
from multirun_core._model.run import ExitStatus, Run
from multirun_core._model.status import RunStatistics
from multirun_core._runners.attempts import Attempts
from multirun_core._runners.pace import Pace
from multirun_core.errors import (
    BackendError,
    RunnerClosedError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from multirun_core._transport.process import ProcessId

_log = logging.getLogger("multirun.runner")

_STAGED_AHEAD = 8
_LOOK_SECONDS = 1.0


class TaskRunner(Attempts):
    """Base of runners that carry out each run in a task of its own.

    A subclass writes `execute`. Slots, retries, time limits, cancellation and statistics are here.
    A runner serves several calls one after another, each in an event loop of its own if need be;
    it cannot serve two sweeps at once.

    Attributes:
        runs: all runs that were added, in order.
        guardian: the process that ends all runs when this one dies, if the runner has one.
        root: the directory of the sweep that it works for, if it does for one.
        say: shows people a line beside the progress of that sweep.
    """

    knows_resources: ClassVar[bool] = False
    """Whether `execute` gives a run what `needs` returns, so that a sweep may say it."""

    def __init__(
        self,
        *,
        max_parallel: int | None = None,
        timeout: float | str | None = None,
        retries: int = 0,
        retry_delay: float = 1.0,
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
        infrastructure_retries: int = 0,
    ) -> None:
        """Make a runner; nothing is started yet.

        Args:
            max_parallel: how many runs go on at once; None for no limit here.
            timeout: running time of one attempt in seconds, or such as "5x median"; None for no
                limit.
            retries: how many further attempts a failed run gets.
            retry_delay: seconds before the second attempt, doubled for each further one up to 60.
            env: variables that each run gets.
            grace: seconds between TERM and KILL when a run is ended.
            infrastructure_retries: how many further attempts a run gets that do not count as
                `retries`, where what carried it was lost.
        """
        if max_parallel is not None and max_parallel < 1:
            raise UsageError(f"max_parallel is {max_parallel}; at least one run must fit")
        self.max_parallel = max_parallel
        self.policy = Policy(
            **parse_time_limit(timeout),
            retries=retries,
            retry_delay=retry_delay,
            env=env or {},
            grace=grace,
            infrastructure_retries=infrastructure_retries,
        )
        self.default_needs = Resources()
        self.pace = Pace()
        self.runs: list[Run] = []
        self.letting_go = False
        self.not_ended: set[Run] = set()
        self.guardian: ProcessId | None = None
        self.on_guardian: Callable[[ProcessId], Awaitable[None]] | None = None
        self.say: Callable[[str], None] | None = None
        self.semaphore: asyncio.Semaphore | None = self._slots()
        self._staging = asyncio.Semaphore(_STAGED_AHEAD)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._live: set[asyncio.Task[None]] = set()
        self._waiting: list[Run] = []
        self._timers: dict[Run, asyncio.Timeout] = {}
        self._owner: object | None = None
        self.root: Path | None = None
        self._opening = asyncio.Lock()
        self._opened = False

    # What an author writes.

    @abstractmethod
    async def execute(self, run: Run) -> ExitStatus:
        """Carry out one attempt of a run and return how it ended.

        Called with a slot taken. `run.cmd`, `run.cwd`, `run.environment` and `self.limits(run)`
        say what to do. Cancelled, it must end the run's processes and raise `CancelledError`; if
        the runner can reattach and `self.letting_go` is set, it must leave them alive instead.
        Where they cannot be reached and may go on, it puts the run into `self.not_ended` before it
        raises: then no end is recorded, and the next driver, or `multirun cancel`, finds the run.

        Raises:
            SubmitError: the run could not be handed over; it becomes a failure, or is retried.
            BackendError: the backend is gone for good; the sweep stops, its runs stay pending.
        """

    async def reattach(self, run: Run) -> ExitStatus | None:
        """Find a run again that an earlier driver started, by `run.handle`; return how it ended.

        Called instead of `execute` on resume, for a run with a handle whose end is not recorded.
        A runner that overrides this may leave its runs alive when its driver dies; `execute` must
        then call `keep_handle`.

        Returns:
            Its end, when it has come; None where there is proof that it neither lives nor left an
            end, so that it is executed again.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot reattach {run!r}")

    async def end_left(self, runs: Sequence[Run]) -> None:
        """End runs that an earlier driver started, by `run.handle`; return when none lives.

        Asked for by `multirun cancel` where the driver has died; `reattach` is called for each of
        them after that. By default each is reattached, and that is cancelled. A runner that has
        many runs in one place ends them together. Those that may go on all the same it puts into
        `not_ended`: they have no end, and the others have theirs.

        Raises:
            BackendError: it cannot be told whether they have ended: those in `not_ended`, or, where
                there are none, all.
        """
        for run in runs:
            task = asyncio.ensure_future(self.reattach(run))
            await asyncio.wait([task], timeout=_LOOK_SECONDS)  # it may have ended by itself
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        if left := self.not_ended.intersection(runs):
            raise BackendError(f"{len(left)} runs could not be seen to end, and may go on")

    detaches: bool = False
    """Whether a sweep returns once all of its runs are handed over; they go on without a driver."""

    leaves_on_interrupt: bool = False
    """Whether runs under way go on when their sweep is interrupted, for the next driver."""

    async def handed_over(self) -> None:
        """Return once all runs that were added go on without a driver, or have ended.

        Called where `detaches` is set.
        """

    async def check_detach(self, runs: Sequence[Run]) -> None:
        """Refuse to let go of these runs; called after `open`, where `detaches` is set.

        Raises:
            UsageError: they cannot all be handed over at once; says how many do not fit.
        """

    sends_driver: bool = False
    """Whether `send_driver` has the sweep driven elsewhere, as far as is known before."""

    async def send_driver(self, env: Mapping[str, str], only: str | None) -> bool:
        """Have the sweep in `root` driven elsewhere, as `multirun resume` does; after `open`.

        It must begin there only when the present driver has closed its segment of the journal.

        Args:
            env: the variables that the sweep gives to its runs.
            only: the runs to execute, as `multirun resume --only` takes them, such as
                "3,17,20-29"; None for all that have not succeeded.

        Returns:
            Whether it is; False, the default, to have it driven here.

        Raises:
            UsageError: it cannot be driven elsewhere; nothing has been sent.
        """
        return False

    def drives(self, root: Path) -> None:
        """Take note that this process holds the sweep in a directory, and drives it from now on.

        Called before `open`, also where nothing is left to execute.
        """

    def sent_drivers(self, root: Path) -> list[str]:
        """Return what the drivers are called that were sent for a sweep and may not have begun.

        It looks at the sweep's directory alone.
        """
        return []

    async def end_drivers(self) -> None:
        """End the drivers that `sent_drivers` tells of, for the sweep in `root`; after `open`.

        Called to cancel the sweep, and before it is driven by this process.

        Returns when all of them are gone.

        Raises:
            BackendError: one is not, or nobody can tell.
        """

    @property
    def can_reattach(self) -> bool:
        """Whether runs outlive their driver and are found again by their handle."""
        return type(self).reattach is not TaskRunner.reattach

    async def keep_handle(self, run: Run, handle: Any) -> None:
        """Write down what the run can be found again by; on disk when this returns.

        Args:
            run: the run that is being executed.
            handle: any JSON value: a job id, a host and pid, or a token that is looked for.
        """
        run.handle = handle
        if run.keeper is not None:
            await run.keeper.hold(run)

    async def open(self) -> None:
        """Connect, start helpers; called before the first run of a call."""

    async def close(self) -> None:
        """Let go of what `open` took, all or part of it; called when no run is left.

        Also called where `open` failed or was cancelled half-way. Must be bounded.
        """

    def remarks(self) -> list[str]:
        """Return lines for people about what a sweep took, when it is over."""
        return []

    def tell(self, text: str) -> None:
        """Tell people what they should know while runs go on; also logged, at INFO."""
        _log.info("%s", text)
        if self.say is not None:
            self.say(text)

    def hurry(self) -> None:
        """End what is being cancelled without further grace: the user has asked twice."""

    def drop(self, run: Run) -> None:
        """Cancel a run unless it has begun: then it goes on.

        Called when a sweep is to start nothing more. By default a run has begun when its status
        says so; a runner overrides this whose runs may begin before it hears of it.
        """
        if run.status == "pending" and run.task is not None:
            run.task.cancel()

    @property
    def broken(self) -> bool:
        """Whether what `open` took is of no use any more, so that it must be opened again."""
        return False

    @property
    def ahead(self) -> int:
        """How many runs a sweep may add at once; bounds tasks and staged directories."""
        return 2 * (self.max_parallel or 64) + 128

    def check_needs(self, needs: Resources) -> None:
        """Refuse what no run can ever get here; asked before a sweep creates anything.

        Raises:
            UsageError: says what is needed and what there is.
        """

    # The three methods of every runner.

    def computeStatistics(self) -> RunStatistics:
        """Return how many of the runs that were added have which status."""
        return RunStatistics.of(Counter(run.status for run in self.runs))

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        """Add a run; see `AbstractRunner.add`.

        Outside a running event loop the run waits, without a task, for `gather`.

        Raises:
            RunnerClosedError: a sweep is using this runner.
        """
        if self._owner is not None:
            raise RunnerClosedError("a sweep is using this runner; add runs when it has ended")
        run = Run(cmd=list(cmd), cwd=Path(cwd))
        self.submit(run)
        return run

    async def gather(self) -> None:
        """Wait for all runs that were added; see `AbstractRunner.gather`.

        Raises:
            BackendError: the backend was lost for good; the first such error, after the end of
                all runs. OSError likewise, where the disk is full or not writable.
        """
        for run in self._waiting:
            self._start(run)
        self._waiting.clear()
        tasks = set(self._live)
        try:
            while self._live:
                tasks |= self._live
                await asyncio.wait(self._live)
        except asyncio.CancelledError:
            await self.cancel_all()
            raise
        finally:
            if self._owner is None:
                await self.release()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    # For sweeps.

    def reserve(self, owner: object | None) -> None:
        """Keep the runner for one sweep; None gives it back.

        Raises:
            RunnerClosedError: it is in use.
        """
        if owner is not None and (self._owner is not None or self._live):
            raise RunnerClosedError(
                "this runner is busy with other runs; give each sweep that goes on at the same "
                "time a runner of its own"
            )
        self._owner, self.root, self.say = owner, None, None
        self.letting_go = False
        self.not_ended.clear()
        self.pace = Pace()

    def recall(self, runs: Iterable[Run]) -> None:
        """Take note of how long runs took that succeeded under an earlier driver."""
        for run in runs:
            if run.status == "success" and run.duration is not None:
                self.pace.add(run.duration)

    def submit(self, run: Run) -> None:
        """Take on a run whose handle exists already."""
        self.runs.append(run)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._waiting.append(run)
        else:
            self._start(run)

    async def ready(self) -> None:
        """Open the runner unless it is open; one that is broken is closed first.

        Raises:
            BackendError: it cannot be opened, such as for a host that refuses.
        """
        loop = asyncio.get_running_loop()
        if self._opened and self._loop is loop and not self._opening.locked() and not self.broken:
            return
        self._bind()
        async with self._opening:
            if self.broken:
                await self.release()
            if self._opened:
                return
            self._opened = True
            try:
                await self.open()
            except BaseException as error:
                with contextlib.suppress(Exception):  # why it did not open says more
                    await self.release()
                if isinstance(error, OSError):
                    raise BackendError(
                        f"{type(self).__name__} cannot be opened: {error}"
                    ) from error
                raise

    async def release(self) -> None:
        """Close the runner if it is open."""
        if self._opened:
            self._opened = False
            await self.close()

    async def cancel_all(self) -> None:
        """Cancel every live run and wait until each has been cleaned up, cancelled or not."""
        for task in self._live:
            task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while self._live:
            try:
                await asyncio.wait(self._live)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    # The life of a run.

    def _slots(self) -> asyncio.Semaphore | None:
        return None if self.max_parallel is None else asyncio.Semaphore(self.max_parallel)

    def _bind(self) -> asyncio.AbstractEventLoop:
        """Belong to the running loop; locks and semaphores belong to the one that used them."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:  # at first they are new, and a slot may be held already
                self.semaphore, self._staging = self._slots(), asyncio.Semaphore(_STAGED_AHEAD)
            self._opening, self._opened = asyncio.Lock(), False
            self._live.clear()
            self._loop = loop
        return loop

    def _start(self, run: Run) -> None:
        loop = self._bind()
        run.task = loop.create_task(self.drive_run(run))
        self._live.add(run.task)
        run.task.add_done_callback(partial(self._ended, run))

    def _ended(self, run: Run, task: asyncio.Task[None]) -> None:
        self._live.discard(task)
        # Cancelled before its first step, a task does not even learn of it. In a sweep, the sweep
        # gives such a run its end.
        if task.cancelled() and run.status == "pending" and run.keeper is None:
            run.reason = "cancelled"
            run.status = "skipped"
