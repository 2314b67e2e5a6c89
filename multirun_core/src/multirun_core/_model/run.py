"""`Run`, the handle of one run, and `ExitStatus`, how one attempt of it ended."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from multirun_core._model.status import TERMINAL, RunStatus, check_move

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from multirun_core._model.policy import Policy

_decode = json.JSONDecoder().raw_decode  # json.loads takes thrice the time for small texts
STDOUT, STDERR = "stdout.txt", "stderr.txt"
PRIVATE = ".multirun"
"""In a run directory: the folder for what is between core and its backends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How one attempt ended, as far as there is evidence.

    Attributes:
        code: the exit status; negative for the number of the signal that ended the process;
            None where there is no evidence, which is never a success.
        reason: why, where the code does not say it: "timeout", "cancelled", "lost", "submit",
            "staging", "out_of_memory", "node_fail", "preempted". None lets the code speak.
        message: one line for people, or None.
        started: when the process was started, in seconds since the epoch; None where it never was.
        ended: when it ended, in seconds since the epoch.
        cpu_seconds: CPU time of the process and the descendants that were waited for.
        max_rss_bytes: the largest resident set of one process among them.
        host: the host it ran on; this one by default.
    """

    code: int | None
    reason: str | None = None
    message: str | None = None
    started: float | None = None
    ended: float | None = None
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None
    host: str | None = None

    @property
    def ok(self) -> bool:
        """Whether this is proof of success: exit status 0, and nothing that says otherwise."""
        return self.code == 0 and self.reason is None

    @property
    def cause(self) -> str | None:
        """The `Run.reason` that follows: None for a success."""
        if self.reason is not None or self.code == 0:
            return self.reason
        if self.code is None:
            return "lost"
        return "signal" if self.code < 0 else "exit"


AMENDED = ("cpu_seconds", "max_rss_bytes", "message")
"""What accounts may tell after the end."""


class Keeper(Protocol):
    """What a sweep does for its runs; a run added to a bare runner has none."""

    @property
    def policy(self) -> Policy:
        """How hard the runs are tried."""
        ...

    def directory(self, run: Run) -> Path:
        """Return the run's directory."""
        ...

    def command(self, run: Run) -> list[str]:
        """Return the run's command, filled in."""
        ...

    def environment(self, run: Run) -> Mapping[str, str]:
        """Return the variables that tell the program about its run."""
        ...

    def result(self, run: Run) -> Any:
        """Load what the run posted."""
        ...

    async def prepare(self, run: Run) -> None:
        """Put the directory in order for attempt `run.attempts + 1`; may raise `StagingError`."""
        ...

    async def conclude(self, run: Run) -> None:
        """Collect the results of an attempt that has succeeded, before that is recorded."""
        ...

    def began(self, run: Run) -> None:
        """Take notice that attempt `run.attempts` is about to be executed."""
        ...

    async def hold(self, run: Run) -> None:
        """Return once `run.handle` is safely on disk."""
        ...

    def record(self, run: Run, status: RunStatus, end: ExitStatus) -> asyncio.Future[None]:
        """Write down that an attempt led to `status`; done once that is safely on disk."""
        ...

    def amend(self, run: Run, facts: Mapping[str, object]) -> None:
        """Write down what became known of an attempt after its end."""
        ...

    def changed(self, run: Run, previous: RunStatus) -> None:
        """Take notice of a new status."""
        ...


class Run:
    """Handle of one run and what is known about it.

    Attributes:
        task: the task that carries the run out, once there is one; cancelling it ends the run's
            whole process tree and raises `CancelledError` in whoever awaits it.
        status: "pending", "running", "success", "failure" or "skipped"; setting one that cannot
            follow raises `InvalidTransitionError`.
        index: the number of the run in its sweep, from 0; None outside a sweep.
        exit_code: exit status of the last attempt; negative for a signal; None where unknown.
        reason: why the run failed or was skipped: a short stable word; None for a success.
        message: one line that explains the reason, or None.
        host: the host of the last attempt.
        attempts: how many attempts were begun.
        started, ended: of the last attempt, in seconds since the epoch.
        cpu_seconds: CPU time of the last attempt.
        max_rss_bytes: largest resident set of the last attempt.
        handle: what a backend finds its work again by, such as a job id; JSON.
        result_error: why no result could be collected from what the program wrote, or None.
    """

    __slots__ = (
        "__weakref__",
        "_cmd",
        "_cwd",
        "_params",
        "_status",
        "attempts",
        "cpu_seconds",
        "ended",
        "exit_code",
        "handle",
        "host",
        "index",
        "inline_result",
        "keeper",
        "max_rss_bytes",
        "message",
        "observer",
        "reason",
        "result_error",
        "started",
        "task",
    )

    def __init__(
        self,
        task: asyncio.Task[None] | None = None,
        status: RunStatus = "pending",
        *,
        cmd: Sequence[str] | None = None,
        cwd: Path | None = None,
        index: int | None = None,
        params: str | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.task = task
        self._status: RunStatus = status
        self._cmd = cmd
        self._cwd = cwd
        self._params = params
        self.keeper = keeper
        self.index = index
        self.attempts = 0
        self.exit_code: int | None = None
        self.reason: str | None = None
        self.message: str | None = None
        self.host: str | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.cpu_seconds: float | None = None
        self.max_rss_bytes: int | None = None
        self.handle: Any = None
        self.inline_result: str | None = None
        self.result_error: str | None = None
        self.observer: Callable[[Run, RunStatus], None] | None = None

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        number = "" if self.index is None else f" {self.index}"
        return f"<Run{number}: {self._status}{why}>"

    @property
    def status(self) -> RunStatus:
        """Where the run stands."""
        return self._status

    @status.setter
    def status(self, new: RunStatus) -> None:
        previous = self._status
        if new == previous:
            return
        check_move(previous, new)
        self._status = new
        if self.keeper is not None:
            self.keeper.changed(self, previous)
        if self.observer is not None:
            self.observer(self, previous)

    @property
    def done(self) -> bool:
        """Whether the status is final."""
        return self._status in TERMINAL

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, as the program sees them; a new dict at each call."""
        return {} if self._params is None else dict(_decode(self._params)[0])

    @property
    def params_json(self) -> str:
        """The parameters as JSON text."""
        return "{}" if self._params is None else self._params

    @property
    def cmd(self) -> list[str]:
        """The command with its placeholders filled in."""
        if self._cmd is None and self.keeper is not None:
            return self.keeper.command(self)
        return list(self._cmd or ())

    @property
    def cwd(self) -> Path:
        """The run directory; it exists once the run has been staged."""
        if self._cwd is None and self.keeper is not None:
            return self.keeper.directory(self)
        return self._cwd or Path()

    @property
    def stdout(self) -> Path:
        """Where the program's standard output is; no file where it is empty or not kept."""
        return self.cwd / STDOUT

    @property
    def stderr(self) -> Path:
        """Where the program's standard error is; no file where it is empty or not kept."""
        return self.cwd / STDERR

    @property
    def environment(self) -> Mapping[str, str]:
        """The `MULTIRUN_…` variables for the present attempt, which a runner must set."""
        return {} if self.keeper is None else self.keeper.environment(self)

    @property
    def duration(self) -> float | None:
        """Running time of the last attempt in seconds."""
        if self.started is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.started)

    @property
    def result(self) -> Any:
        """What the run posted, loaded now; None where nothing was posted.

        Raises:
            ResultsError: none could be collected, the file cannot be read, or it is a pickle in a
                sweep that was opened without `allow_pickle`.
        """
        return None if self.keeper is None else self.keeper.result(self)

    def restore(self, status: RunStatus) -> None:
        """Set the status as a journal has it: no move, so nothing is checked and nobody told."""
        self._status = status

    def take(self, end: ExitStatus) -> None:
        """Copy the facts of an attempt's end; the status is set apart."""
        self.exit_code = end.code
        self.reason = end.cause
        self.message = end.message
        self.host = end.host or (socket.gethostname() if end.started is not None else self.host)
        self.started = end.started
        self.ended = end.ended
        self.cpu_seconds = end.cpu_seconds
        self.max_rss_bytes = end.max_rss_bytes

    def amend(self, facts: Mapping[str, object]) -> None:
        """Take what became known only after the end of the last attempt: some of `AMENDED`."""
        for name in AMENDED:
            if name in facts:
                setattr(self, name, facts[name])
        if self.keeper is not None:
            self.keeper.amend(self, facts)
