"""Which directories of finished runs a driver thins, and when: once their ends are on disk."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from multirun_core._staging.thin import Keep, drops, thin
from multirun_core._threads import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multirun_core._model.run import Run
    from multirun_core._model.status import RunStatus
    from multirun_core._threads import Work

_log = logging.getLogger("multirun.sweep")


def thin_run(run: Run, status: RunStatus) -> None:
    """Thin the directory of a run that has ended so.

    What is in the journal needs no file; other results stay, and what a failed run printed does.

    Raises:
        OSError: something cannot be removed.
    """
    thin(run.cwd, results=run.inline_result is None, output=status != "success")


class Thinner:
    """Thins what a sweep is not to keep.

    A failed run keeps its directory where a further attempt may go on from what is there: with
    `on_retry="keep"` or `checkpoints`, and after it was cancelled, which a resumed sweep makes
    good for. A run whose results could not be collected keeps it, since that can be tried again.
    """

    def __init__(self, keep: Keep, *, spares_failures: bool, work: Work) -> None:
        """Keep, of the directories of finished runs, what `keep` says."""
        self._keep: Keep = keep
        self._spares_failures = spares_failures
        self._told = False
        self._work = work

    def after(
        self, flushed: asyncio.Future[None], run: Run, status: RunStatus, reason: str | None
    ) -> asyncio.Future[None]:
        """Return what is done when the run's end is on disk and its directory is thin."""
        if not self._drops(run, status, reason):
            return flushed
        return asyncio.ensure_future(self._thin_after(flushed, run, status))

    def complete(self, runs: Iterable[Run]) -> None:
        """Thin runs that have ended earlier: a driver that was killed may not have come to it."""
        for run in runs:
            checkpoint()
            if self._drops(run, run.status, run.reason):
                self._thin(run, run.status)

    def _drops(self, run: Run, status: RunStatus, reason: str | None) -> bool:
        if status == "failure" and (self._spares_failures or reason == "cancelled"):
            return False
        return run.result_error is None and drops(self._keep, status)

    async def _thin_after(self, flushed: asyncio.Future[None], run: Run, status: RunStatus) -> None:
        await asyncio.shield(flushed)
        # Large trees take their time, which the journal and the event loop have not.
        await self._work.do(partial(self._thin, run, status))

    def _thin(self, run: Run, status: RunStatus) -> None:
        try:
            thin_run(run, status)
        except OSError as error:
            log = _log.debug if self._told else _log.warning
            self._told = True
            log("cannot thin %s: %s (further ones are not told)", run.cwd, error)
