"""`Fetching`: what runs have left comes back from where jobs ran, and is removed there."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._runners.attempts import stops_all
from multirun_core._runners.scheduler.gathering import Gathering
from multirun_core._staging.mirror import Mirror, MirrorError
from multirun_core.errors import TransportError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.link import Link, Login
    from multirun_core._runners.scheduler.submission import Work
    from multirun_core._staging.mirror import Fetched

_log = logging.getLogger("multirun.runner")

_AT_ONCE, _REMOVED_AT_ONCE = 64, 512
_KEPT_SECONDS = 30.0  # until an end has surely been flushed to the journal


class Fetching:
    """Brings run directories back, several by each command.

    What has come stays there for a while: a driver that dies before it has written down how a run
    ended leaves it to the next one.
    """

    def __init__(
        self,
        login: Login,
        mirror: Mirror,
        link: Link,
    ) -> None:
        """Prepare.

        Args:
            login: says what to bring, and whether it stays there.
            mirror: brings it.
            link: is waited for where it breaks.
        """
        self._login = login
        self._mirror = mirror
        self._link = link
        self._gathering: Gathering[Work, str | None] = Gathering(self._bring, most=_AT_ONCE)
        self._stale: list[tuple[float, Path]] = []

    async def bring(self, work: Work) -> str | None:
        """Bring what is new in the directory of a run; return why it did not come.

        Raises:
            OSError: it cannot be written here.
            BackendError: the link was broken for longer than anybody waits.
        """
        return await self._gathering.ask(work)

    async def clear(self) -> None:
        """Remove all that has come.

        Raises:
            TransportError: it may still be there.
        """
        await self._remove(0.0)

    async def close(self) -> None:
        """Give up what is being brought."""
        await self._gathering.close()

    async def _bring(self, works: Sequence[Work]) -> list[str | None]:
        answers: dict[Work, str | None] = {}
        for folder in dict.fromkeys(work.directory.parent for work in works):
            some = [work for work in works if work.directory.parent == folder]
            answers |= await self._bring_from(str(folder), some)
        try:
            await self._remove(_KEPT_SECONDS)
        except TransportError as error:
            _log.info("%s: %s", self._login.name, error)
        return [answers[work] for work in works]

    async def _bring_from(self, folder: str, works: Sequence[Work]) -> dict[Work, str | None]:
        wanted = {work.directory.name: work.run.cwd for work in works}

        def fetch() -> Awaitable[Fetched]:
            return self._mirror.fetch(folder, wanted, self._login.fetch, lambda _: True)

        try:
            fetched = await self._link.insist(fetch)
        except OSError as error:
            if stops_all(error):
                raise
            return await self._bring_each(folder, works, error)
        answers: dict[Work, str | None] = {}
        for work in works:
            name = work.directory.name
            answers[work] = fetched.failed.get(name)
            for note in fetched.notes.get(name, ()):
                _log.warning("%s, run %s: %s", self._login.name, work.run.index, note)
            if answers[work] is None and not self._login.keep:
                self._stale.append((time.monotonic(), work.directory))
        return answers

    async def _bring_each(
        self, folder: str, works: Sequence[Work], error: OSError
    ) -> dict[Work, str | None]:
        """Bring run directories one by one: one of them has something that this disk refuses."""
        if len(works) == 1:
            return {works[0]: str(error)}
        answers: dict[Work, str | None] = {}
        for work in works:
            answers |= await self._bring_from(folder, [work])
        return answers

    async def _remove(self, age: float) -> None:
        """Remove what came so many seconds ago."""
        before = time.monotonic() - age
        while self._stale and self._stale[0][0] <= before:
            some = [path for when, path in self._stale[:_REMOVED_AT_ONCE] if when <= before]
            for folder in dict.fromkeys(path.parent for path in some):
                names = [path.name for path in some if path.parent == folder]
                try:
                    await self._mirror.remove(str(folder), names)
                except MirrorError as error:
                    _log.warning("%s: %s could not be removed: %s", self._login.name, folder, error)
            del self._stale[: len(some)]
