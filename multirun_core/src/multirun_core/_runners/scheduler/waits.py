"""`Waits`: tells people why jobs wait, each reason of a submission once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.command import JobState
    from multirun_core._runners.scheduler.submission import Submission

_log = logging.getLogger("multirun.runner")


class Waits:
    """Tells why jobs wait."""

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            title: the name of the queue system.
            say: shows people a line.
        """
        self._title = title
        self._say = say
        self._told: set[tuple[str, str]] = set()
        self._said: set[str] = set()

    def see(self, submission: Submission, before: JobState | None, state: JobState) -> None:
        """Take note of what a poll says of a task, and the one before it; tell what is new.

        What a first poll finds may have passed at the next one: only what is grave is told at once.
        """
        if state.phase != "waiting":
            return
        grave = state.hopeless or state.doubtful
        why = state.message or (state.word if state.hopeless else "")
        words = _words(why)
        steady = before is not None and _words(before.message or "") == words
        if not why or not (grave or steady) or (submission.token, words) in self._told:
            return
        self._told.add((submission.token, words))
        line = f"{self._title} job {'+'.join(submission.ids)}"
        line += f" cannot start: {why}" if state.hopeless else f" waits: {why}"
        if grave:
            _log.warning("%s", line)
        elif words in self._said:  # many may wait for the same, the first stands for all
            _log.info("%s", line)
        else:
            self._said.add(words)
            self._say(line)


def _words(why: str) -> str:
    """Return a reason without what is behind it in brackets: nodes there may change every time."""
    return why.partition(" (")[0]
