"""Makes a runner that implements only the specification's three methods a `TaskRunner`.

So retries, time limits, cancellation and the journal stay in one place. Such a runner hears of a
run by `add` alone: the variables of the run go before its command, by env(1).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar

from multirun_core._model.run import ExitStatus, Run
from multirun_core._model.status import TERMINAL, RunStatus
from multirun_core._runners.base import AbstractRunner
from multirun_core._runners.task import TaskRunner
from multirun_core.errors import SubmitError

_POLL_SECONDS = 0.05


class ForeignRunner(TaskRunner):
    """Carries runs out by the `add` of another runner, which keeps its own slots."""

    reports_start: ClassVar[bool] = True

    def __init__(self, inner: AbstractRunner) -> None:
        super().__init__()
        self.inner = inner
        self._gathering: asyncio.Task[None] | None = None
        self._rounds = 0
        self._handles: dict[Run, Run] = {}

    def drop(self, run: Run) -> None:
        """Cancel a run unless it has begun there; see `TaskRunner.drop`."""
        handle = self._handles.get(run)
        if handle is None or handle.status == "pending":
            super().drop(run)

    async def close(self) -> None:
        """Cancel the other runner's `gather`, should it still wait."""
        gathering, self._gathering = self._gathering, None
        if gathering is not None:
            gathering.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await gathering

    async def execute(self, run: Run) -> ExitStatus:
        """Add the run to the other runner and wait for its end; cancelled, cancel it there."""
        variables = {**run.environment, **self.limits(run).env}
        words = [f"{name}={value}" for name, value in variables.items()]
        handle = self.inner.add(["env", *words, *run.cmd], run.cwd)
        self._handles[run] = handle
        moved = asyncio.Event()
        # A runner may bring a handle class of its own, which need not be observable.
        observable = isinstance(handle, Run)  # pyright: ignore[reportUnnecessaryIsInstance]
        if observable:
            handle.observer = lambda _run, _previous: moved.set()
        try:
            await self._follow(run, handle, moved, observable=observable)
        except asyncio.CancelledError:
            if handle.task is not None:
                handle.task.cancel()
                await asyncio.wait([handle.task])
            raise
        finally:
            del self._handles[run]
        return _end_of(handle)

    async def _follow(
        self, run: Run, handle: Run, moved: asyncio.Event, *, observable: bool
    ) -> None:
        before = self._rounds
        while handle.status not in TERMINAL:
            if handle.status == "running" and run.status == "pending":
                self.begin(run)
            moved.clear()
            if handle.task is None and not self._gather(before):
                break
            waits = [asyncio.ensure_future(moved.wait())]
            timeout = None if observable and handle.task is not None else _POLL_SECONDS
            tasks = [handle.task] if handle.task is not None and not handle.task.done() else []
            done, _ = await asyncio.wait(
                [*waits, *tasks], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            waits[0].cancel()
            if handle.task is not None and handle.task.done() and waits[0] not in done:
                break
        if run.status == "pending" and handle.status != "skipped":
            self.begin(run)

    def _gather(self, before: int) -> bool:
        """Let a runner that starts runs only in its `gather` do so.

        Args:
            before: how often `gather` had been called when the run was added.

        Returns:
            False where it was called since then, and has returned.

        Raises:
            SubmitError: likewise, and it has failed.
        """
        gathering = self._gathering
        if gathering is None or (gathering.done() and self._rounds == before):
            self._rounds += 1
            self._gathering = asyncio.ensure_future(self.inner.gather())
            return True
        if not gathering.done():
            return True
        if not gathering.cancelled() and (error := gathering.exception()) is not None:
            raise SubmitError(f"its runner's gather: {type(error).__name__}: {error}") from error
        return False


def _end_of(handle: Run) -> ExitStatus:
    status: RunStatus = handle.status
    code: int | None = getattr(handle, "exit_code", None)
    reason: str | None = getattr(handle, "reason", None)
    if status == "success":
        return ExitStatus(code=0)
    if status == "failure" and (code or reason):
        return ExitStatus(code=code, reason=reason)
    if handle.task is not None and handle.task.done() and not handle.task.cancelled():
        error = handle.task.exception()
        if error is not None:
            text = f"{type(error).__name__}: {error}"
            return ExitStatus(code=None, reason="submit", message=text)
    text = f"its runner left it {status!r} and says no more"
    return ExitStatus(code=None, reason="exit" if status == "failure" else "lost", message=text)
