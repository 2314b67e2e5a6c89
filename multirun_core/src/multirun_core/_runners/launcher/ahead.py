"""`Ahead`: a run that the launcher starts by itself, as soon as another one has succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from multirun_core._model.run import ExitStatus
    from multirun_core._runners.launcher.client import Launcher


class Pending:
    """A run whose end has not been reported.

    Attributes:
        future: how it ended; None where it was withdrawn before it began.
        grace: seconds between TERM and KILL.
        limit: its time limit in seconds.
        begun: whether the launcher has been told to start it, or has told that it did.
        on_begin: is called when it has told that it did.
        failed: whether it has ended otherwise than by success.
        asked: where it is to be taken back, done once it is known whether it has begun.
    """

    __slots__ = ("asked", "begun", "failed", "future", "grace", "limit", "on_begin")

    def __init__(
        self,
        future: asyncio.Future[ExitStatus | None],
        grace: float,
        limit: float | None,
        *,
        begun: bool,
    ) -> None:
        """Take the terms on which it is executed."""
        self.future = future
        self.grace = grace
        self.limit = limit
        self.begun = begun
        self.failed = False
        self.on_begin: Callable[[], object] | None = None
        self.asked: asyncio.Future[None] | None = None

    def answer(self) -> None:
        """Take note that it is known whether it has begun."""
        if self.asked is not None and not self.asked.done():
            self.asked.set_result(None)


class Ahead:
    """A run that was given to a launcher before there is a slot for it.

    Without this a slot would be empty while its end is told to the driver, and the next order
    comes back: as long as a short run takes.
    """

    def __init__(self, launcher: Launcher, number: int, pending: Pending) -> None:
        """See `Launcher.line_up`."""
        self._launcher = launcher
        self._number = number
        self._pending = pending

    @property
    def begun(self) -> bool:
        """Whether it was started, as far as the driver has heard."""
        return self._pending.begun

    def held_by(self, launcher: object) -> bool:
        """Whether it can be started still, or was, by this launcher."""
        return self.begun or (self._launcher is launcher and not self._launcher.lost)

    async def run(self) -> ExitStatus | None:
        """Start it now, unless it was started, and return how it ended; see `Launcher.run`.

        None says that the launcher has dropped it, since it was to end everything.
        """
        if not self.begun:
            self._launcher.go(self._number)
        return await self._launcher.end_of(self._number, self._pending)

    def take_back(self, on_gone: Callable[[], object]) -> None:
        """Keep it from being started unless it has been, which is left alone.

        `on_gone` is called when it is known that it will not be.
        """
        pending = self._pending
        if pending.begun or pending.asked is not None:
            return
        pending.asked = pending.future.get_loop().create_future()

        def gone(_: object) -> None:
            if not pending.begun:
                on_gone()
            pending.answer()

        pending.future.add_done_callback(gone)
        self._launcher.take_back(self._number)

    async def answered(self) -> None:
        """Return once it is known whether it has begun, where it is to be taken back."""
        if self._pending.asked is not None:
            await self._pending.asked

    async def withdraw(self) -> bool:
        """End it, or keep it from being started; whether it was started.

        It waits for that as a cancelled `Launcher.run` does, whatever further cancellation comes.
        """
        await self._launcher.end(self._number, self._pending)
        self._launcher.decide(self._number, self._pending)
        return self.begun
