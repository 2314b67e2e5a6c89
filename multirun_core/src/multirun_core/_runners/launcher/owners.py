"""Find out which run an orphan belongs to.

An orphan is a process whose parent has died, so that it became the launcher's own child. It bears
the mark of its run (see `tags`), unless there are no marks or the program changed that limit. Then
what counts is, in this order: its process group, MULTIRUN_RUN_DIR in its environment, its current
directory and open files, and which runs were alive when it was started. Where several runs are
left, it is ended with the last of them.
"""

from __future__ import annotations

import os

from . import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .live import LiveRun
    from .tags import Tags

_TICKS = os.sysconf("SC_CLK_TCK")


class Owners:
    """Knows the orphans and the runs that they may belong to."""

    def __init__(self, tags: Tags, live: Mapping[int, LiveRun]) -> None:
        self._tags = tags
        self._live = live
        self._orphans: dict[int, list[LiveRun]] = {}

    def candidates(self, pid: int) -> list[LiveRun]:
        """Return the runs that the orphan `pid` may belong to and that have not ended.

        With none, it is nobody's: what was left of a run that could not be ended in time.
        """
        if pid not in self._orphans:
            self._orphans[pid] = self._find(pid)
        return [run for run in self._orphans[pid] if run.number in self._live]

    def owner(self, pid: int) -> LiveRun | None:
        """Return the run that the orphan `pid` belongs to; None where there is not just one."""
        runs = self.candidates(pid)
        return runs[0] if len(runs) == 1 else None

    def forget(self, pid: int) -> None:
        """Forget an orphan that was reaped: its pid may come back."""
        self._orphans.pop(pid, None)

    def _find(self, pid: int) -> list[LiveRun]:
        runs = list(self._live.values())
        if tag := self._tags.read(pid):
            return [run for run in runs if run.tag == tag]
        seen = tree.process(pid)
        if seen is None:
            return []
        runs = [run for run in runs if int(run.booted * _TICKS) <= seen.start]
        for run in runs:
            if seen.group == run.pid:
                return [run]
        folder = tree.variable(pid, b"MULTIRUN_RUN_DIR")
        for run in runs:
            if run.cwd == folder:
                return [run]
        users = [run for run in runs if tree.uses(pid, run.cwd)]
        return users if len(users) == 1 else runs
