"""`Login`, by which jobs are reached whose files this machine lacks, and `Link`, the way there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from multirun_core._runners.scheduler.submission import CALL_SECONDS
from multirun_core.errors import BackendError, TransportError

if TYPE_CHECKING:
    from multirun_core._transport.base import Completed, Transport

_log = logging.getLogger("multirun.runner")

_T = TypeVar("_T")
_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How jobs are reached whose files this machine does not see.

    Attributes:
        name: what a later driver knows it by.
        connect: makes the way to a machine that sees them and has the queue system's commands;
            called each time that a runner is opened.
        program: a command that must be found there, by the PATH of a login shell if need be.
        place: where sweeps have their directories there; one that is not absolute is below the
            home directory, and "" stands for `multirun` in the login's cache.
        fetch: patterns of the files that come back; None for all that is new.
        keep: whether what is there stays at the end.
        python: what `python` in a command is called there; None to leave it.
        near: whether "there" is a place that this machine sees as well, such as for attempts that
            are to be kept apart: then runs have the environment of this process, and programs
            import what is installed.
        patience: seconds for which it may be out of reach while runs are out.
    """

    name: str
    connect: Callable[[], Transport]
    program: str = "sh"
    place: str = ""
    fetch: Sequence[str] | None = None
    keep: bool = False
    python: str | None = None
    near: bool = False
    patience: float = 3600.0

    @property
    def option(self) -> str:
        """How it was asked for, for people, and for a later driver to compare."""
        return f"{self.name}=True" if self.near else f"login={self.name!r}"


class Link:
    """Carries commands there; one that is broken is waited for.

    Attributes:
        transport: the way there.
    """

    def __init__(self, login: Login) -> None:
        """Prepare; nothing is connected yet."""
        self.transport = login.connect()
        self._login = login
        self._silent: float | None = None

    async def verb(
        self,
        *words: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = CALL_SECONDS,  # noqa: ASYNC109 - the transport keeps it
    ) -> Completed:
        """Run a verb of `far.sh`."""
        argv = ["sh", "-c", _script(), "sh", *words]
        return await self.transport.run(argv, stdin=stdin, env=env, timeout=timeout)

    async def insist(self, do: Callable[[], Awaitable[_T]], patience: float | None = None) -> _T:
        """Do something until the link lasts long enough for it.

        Raises:
            BackendError: that took longer than anybody waits, or trying again is of no use.
        """
        began, pause = time.monotonic(), _PAUSE_SECONDS
        while True:
            try:
                result = await do()
            except TransportError as error:
                if patience is not None and time.monotonic() - began > patience:
                    raise BackendError(str(error)) from error
                self.lost(error)
            else:
                self.back()
                return result
            await asyncio.sleep(pause)
            pause = min(_MOST_PAUSE_SECONDS, 2 * pause)

    def lost(self, error: TransportError) -> None:
        """Take note that the link is broken; that is no news of any run.

        Raises:
            BackendError: it has been for longer than anybody waits.
        """
        now = time.monotonic()
        if self._silent is None:
            self._silent = now
            _log.warning("%s; what runs there goes on, and is looked for again", error)
        if error.permanent or now - self._silent > self._login.patience:
            raise BackendError(
                f"{self._login.option} has been out of reach for {now - self._silent:.0f} s: "
                f"{error}. What runs there goes on; resume the sweep later"
            ) from error

    def back(self) -> None:
        """Take note that something has come through."""
        if self._silent is not None:
            seconds = time.monotonic() - self._silent
            _log.warning("%s can be reached again, after %.0f s", self._login.name, seconds)
            self._silent = None


@cache
def _script() -> str:
    """Return the script for the far side."""
    lines = Path(__file__).with_name("far.sh").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))  # it is sent each time
