"""`History`: what the journal of a sweep says, from its first line to its last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from multirun_core._model.run import AMENDED, Run
from multirun_core._model.status import STATUSES, RunStatus
from multirun_core._sweep import segment
from multirun_core._sweep.aside import uncollected
from multirun_core._sweep.layout import JOURNAL
from multirun_core._sweep.segment import Text
from multirun_core._transport.process import ProcessId
from multirun_core.errors import JournalError, SweepNotFoundError

_STATUS: dict[str, RunStatus] = {status: status for status in STATUSES}
_FACTS = ("exit_code", "reason", "message", "host", "started", "ended", "cpu_seconds",
          "max_rss_bytes", "handle")  # fmt: skip


class History:
    """The runs of a sweep as journaled, and who worked on it.

    Attributes:
        runs: all runs that were given, in order.
        complete: whether the first driver wrote down all runs that it was given.
        guardians: the processes that hold the runs of drivers which took no leave.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.complete = False
        self.guardians: list[ProcessId] = []
        self._handlers = {
            "run": self._run,
            "defined": self._defined,
            "start": self._start,
            "handle": self._handle,
            "end": self._end,
            "amend": self._amend,
            "result": self._result,
            "skipped": self._skipped,
            "rerun": self._rerun,
            "guardian": self._guardian,
            "close": self._close,
        }

    @classmethod
    def read(cls, root: Path, below: int | None = None) -> History:
        """Read the journal of the sweep at `root`, up to but without segment `below`.

        Raises:
            SweepNotFoundError: there is no journal.
            JournalError: it is damaged, or cannot be read.
        """
        directory = root / JOURNAL
        found = segment.numbers(directory)
        if not found:
            raise SweepNotFoundError(
                f"{root} holds no sweep: there is no {JOURNAL}/0001.jsonl in it; "
                "give the output directory of a sweep"
            )
        history = cls()
        for number in found:
            if below is None or number < below:
                path = segment.path_of(directory, number)
                with uncollected():
                    history.apply(segment.read(path, texts=True))
        return history

    def apply(self, events: Iterable[dict[str, Any]]) -> None:
        """Follow a segment's events; those of a kind unknown here are passed over."""
        for event in events:
            handler = self._handlers.get(str(event.get("event")))
            if handler is None:
                continue
            try:
                handler(event)
            except (LookupError, TypeError, ValueError) as error:
                raise JournalError(
                    f"the journal has an event that fits nothing: {event}"
                ) from error

    def _run(self, event: dict[str, Any]) -> None:
        index = event["run"]
        if index != len(self.runs):
            raise JournalError(
                f"the journal gives run {index} where run {len(self.runs)} was due: a line is lost"
            )
        params = event["params"]
        if not isinstance(params, Text):
            params = dict(params)
        self.runs.append(Run(index=index, params=_json(params)))

    def _of(self, event: dict[str, Any]) -> Run:
        return self._at(event["run"])

    def _at(self, index: int) -> Run:
        if index < 0:
            raise IndexError(index)
        return self.runs[index]

    def _defined(self, _event: dict[str, Any]) -> None:
        self.complete = True

    def _guardian(self, event: dict[str, Any]) -> None:
        self.guardians.append(ProcessId.from_json(event["process"]))

    def _close(self, event: dict[str, Any]) -> None:
        if "outcome" in event:  # it had ended all of its runs by then
            self.guardians.clear()

    def _start(self, event: dict[str, Any]) -> None:
        run = self._of(event)
        if run.status == "success":
            return
        run.attempts = int(event["attempt"])
        run.started = event["time"]
        run.ended = run.exit_code = run.reason = run.message = None
        run.inline_result = run.result_error = None
        run.host = event.get("host")
        run.restore("running")

    def _handle(self, event: dict[str, Any]) -> None:
        run = self._of(event)
        if run.status != "success" and event["attempt"] > run.attempts - (run.status == "running"):
            run.handle = event["handle"]
            if run.done:  # it was tried anew
                run.restore("pending")

    def _end(self, event: dict[str, Any]) -> None:
        run = self._of(event)
        if run.status == "success" or event["attempt"] < run.attempts:
            return  # what an earlier attempt, or its orphan, says does not count
        run.attempts = event["attempt"]
        told = event.get
        run.exit_code, run.reason, run.message = told("exit_code"), told("reason"), told("message")
        run.host, run.started, run.ended = told("host"), told("started"), told("ended")
        run.cpu_seconds, run.max_rss_bytes = told("cpu_seconds"), told("max_rss_bytes")
        run.handle = told("handle")
        if event["status"] == "pending":
            run.handle = None  # of the attempt that has ended
        self._result(event)
        run.restore(_STATUS[event["status"]])

    def _amend(self, event: dict[str, Any]) -> None:
        """Take what accounts told after the end."""
        run = self._of(event)
        if run.done and event["attempt"] == run.attempts:
            for fact in AMENDED:
                if fact in event:
                    setattr(run, fact, event[fact])

    def _result(self, event: dict[str, Any]) -> None:
        """Take the result from a run's end, or from a later collection."""
        run = self._of(event)
        run.inline_result = _json(event["result"]) if "result" in event else None
        run.result_error = event.get("result_error")

    def _skipped(self, event: dict[str, Any]) -> None:
        ranges: list[tuple[int, int]] = event["runs"]
        for first, last in ranges:
            for index in range(first, last + 1):
                run = self._at(index)
                for fact in _FACTS:
                    if fact != "handle":  # its job may be alive
                        setattr(run, fact, None)
                run.inline_result = None
                run.reason = event["reason"]
                run.restore("skipped")

    def _rerun(self, event: dict[str, Any]) -> None:
        indices: list[int] = event["runs"]
        for index in indices:
            run = self._at(index)
            run.handle = None  # of the attempt that has ended
            run.restore("pending")


def _json(value: Any) -> str:
    return value.json if isinstance(value, Text) else json.dumps(value)
