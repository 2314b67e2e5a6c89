"""The driver's half of the launcher."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

from multirun_core._runners.launcher.ahead import Ahead, Pending
from multirun_core._runners.launcher.arguments import encoded, order
from multirun_core._runners.launcher.connection import Connection
from multirun_core._runners.launcher.ends import END_BOUND, ended, lost, settled, start_failure
from multirun_core._runners.launcher.process import kill_session, spawn
from multirun_core._transport.process import ProcessId
from multirun_core.errors import RunnerClosedError, RunnerError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from multirun_core._model.run import ExitStatus

_START_BOUND = 30.0
_PING_EVERY = 10.0
_PINGS_MISSED = 12
_REAP_LOOKS = 1000
_REAP_EVERY = 0.002


class Launcher:
    """A small process that is the parent of all local runs of a sweep, and ends whole trees.

    It belongs to one event loop. When the driver dies, however it does, everything that the
    launcher has started is ended within 5 seconds. When the launcher itself is killed, what the
    driver still finds of its runs (by session and descent) is killed; a daemon that had left its
    session and its parents stays.

    Out of its reach are processes that are no descendants: containers of a daemon, what `at`,
    `systemd-run` or a batch system starts; and processes of another user, such as after `sudo`.

    Attributes:
        identity: which process it is.
        cold: warm interpreters that have ended, by number, and their last words.
    """

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket, errors: int) -> None:
        identity = ProcessId.of(process.pid)
        self.identity = identity or ProcessId("", "", process.pid, "")
        self._process = process
        self._errors = errors
        self._loop = asyncio.get_running_loop()
        self._runs: dict[int, Pending] = {}
        self._warm: dict[int, asyncio.Future[str | None]] = {}
        self.cold: dict[int, str] = {}
        self._count = 0
        self._why_lost: str | None = None
        self._closing = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._silent = 0
        self._connection = Connection(sock, self._handle, self._disconnect)

    @classmethod
    async def start(cls, base_env: Mapping[str, str] | None = None) -> Launcher:
        """Start the process and wait until it answers, for 30 seconds at most.

        Args:
            base_env: the environment that all runs have; by default this process's own.

        Raises:
            RunnerError: it could not be started.
        """
        ours, theirs = socket.socketpair()
        errors = os.memfd_create("multirun-launcher-errors")
        try:
            process = spawn(theirs.fileno(), errors)
        except OSError as error:
            ours.close()
            os.close(errors)
            raise RunnerError(f"cannot start the launcher: {error}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        launcher = cls(process, ours, errors)
        launcher._connection.send("hello", encoded(os.environb if base_env is None else base_env))
        try:
            async with asyncio.timeout(_START_BOUND):
                await asyncio.wait(
                    (launcher._ready, launcher._over), return_when=asyncio.FIRST_COMPLETED
                )
        except TimeoutError:
            launcher._lose(f"it did not answer within {_START_BOUND:g} seconds")
        except asyncio.CancelledError:
            launcher._lose("starting it was cancelled")
            await launcher.close()
            raise
        if launcher._why_lost is not None:
            await launcher.close()
            raise RunnerError(f"cannot start the launcher: {launcher._why_lost}")
        return launcher

    @property
    def lost(self) -> bool:
        """Whether the process died, or stopped answering, without being asked to end."""
        return self._why_lost is not None

    async def run(
        self,
        argv: Sequence[str],
        cwd: Path | str,
        env: Mapping[str, str],
        stdout: str,
        stderr: str,
        *,
        timeout: float | None,  # noqa: ASYNC109 - the launcher enforces it, driver present or not
        grace: float,
        cpus: Sequence[int] = (),
        data_bytes: int = 0,
        warm: tuple[int, int] | None = None,
    ) -> ExitStatus:
        """Run a program and return how it ended, once nothing of its process tree is left.

        Cancelling ends the tree (TERM, KILL after `grace`), waits for that (`grace` and 15
        seconds at most) and raises `CancelledError`, even if the program had just ended by itself.

        Args:
            argv: program and arguments; a relative program is looked up in `cwd`, a bare name in
                the PATH of its environment.
            cwd: its directory.
            env: variables added to those that all runs have.
            stdout: path of the file for its standard output; emptied first.
            stderr: the same for its standard error.
            timeout: seconds that it may run, or None.
            grace: seconds between TERM and KILL, also for processes that it leaves behind.
            cpus: the numbers of the CPUs that it may use; by default those of this process.
            data_bytes: how much memory each of its processes may allocate, 0 for no limit; see
                `starting.Confined`.
            warm: the number that `warm` gave to an interpreter, and the place in `argv` of the
                script or of "-m"; where that interpreter has ended, the run is started plainly.

        Returns:
            With reason "timeout" where the limit ended it, "lost" where the launcher died, and a
            `StartFailure` with reason "submit" where it could not be started.

        Raises:
            OSError: `stdout` or `stderr` cannot be opened because the disk is full, broken or
                read-only.
            RunnerClosedError: the launcher was closed.
        """
        if self._why_lost is not None:
            return lost(self._why_lost)
        told = (
            *order(argv, cwd, env, stdout, stderr, timeout, grace),
            (tuple(cpus), data_bytes) if cpus or data_bytes else None,
            warm,
        )
        number, pending = self._give("start", told, grace, timeout)
        end = await self.end_of(number, pending)
        if end is None:
            raise AssertionError("only what is lined up can be withdrawn")
        return end

    def line_up(
        self,
        argv: Sequence[str],
        cwd: Path | str,
        env: Mapping[str, str],
        stdout: str,
        stderr: str,
        *,
        timeout: float | None,
        grace: float,
        warm: tuple[int, int] | None = None,
        on_begin: Callable[[], object] | None = None,
    ) -> Ahead:
        """Have a program started, as `run` does, as soon as one that runs has succeeded.

        Of several the first is started first. After a failure none is until the task that waits
        for it has made its next step: that may be to stop. `on_begin` is called when it has been
        started so, before anybody learns of an end that comes later.
        """
        told = (*order(argv, cwd, env, stdout, stderr, timeout, grace), None, warm)
        number, pending = self._give("next", told, grace, timeout)
        pending.on_begin = on_begin
        return Ahead(self, number, pending)

    def go(self, number: int) -> None:
        """Have a program started that was lined up, unless it was."""
        if (pending := self._runs.get(number)) is not None:
            pending.begun = True
        self._connection.send("go", number)

    def take_back(self, number: int) -> None:
        """Have a program not started that was lined up, unless it has been."""
        self._connection.send("take back", number)

    async def end_of(self, number: int, pending: Pending) -> ExitStatus | None:
        """Wait for the end of a run; see `run`."""
        try:
            return await pending.future
        except asyncio.CancelledError:
            await self.end(number, pending)
            raise
        finally:
            self.decide(number, pending)

    def decide(self, number: int, pending: Pending) -> None:
        """Say that a failure has been dealt with, after the present step of the task."""
        if pending.failed:
            self._loop.call_soon(self._connection.send, "decided", number)

    def warm(
        self, argv: Sequence[str], env: Mapping[str, str], wanted: tuple[Any, ...]
    ) -> tuple[int, asyncio.Future[str | None]]:
        """Start a warm interpreter that runs can be forked from.

        Args:
            argv: the interpreter and its options.
            env: variables added to those that all runs have.
            wanted: what it shall import, see `warm_python`.

        Returns:
            Its number, and why it is refused: None once it is warm. When it ends later, its
            number is in `cold`.
        """
        number = self._count = self._count + 1
        self._warm[number] = future = self._loop.create_future()
        if self._why_lost is not None:
            future.set_result(self._why_lost)
        self._connection.send(
            "warm", number, [os.fsencode(word) for word in argv], encoded(env), wanted
        )
        return number, future

    def end_all(self, grace: float) -> None:
        """End all runs now, with KILL after `grace` seconds, or their own grace if shorter."""
        self._connection.send("end all", float(grace))

    async def close(self) -> None:
        """End what is left, with its grace, and the process. Bounded; may be called again.

        Cancelled, it ends what is left by KILL at once, then raises `CancelledError`.
        """
        bound = END_BOUND + max((pending.grace for pending in self._runs.values()), default=0.0)
        if not self._closing:
            self._closing = True
            self._connection.send("close")
        try:
            await asyncio.wait((self._over,), timeout=bound)
        except asyncio.CancelledError:
            self.end_all(0)
            await settled(self._over, END_BOUND)
            raise
        finally:
            if not self._over.done():
                self._lose("it did not end when it was closed")
            await self._reap()

    def _give(
        self, what: str, told: tuple[Any, ...], grace: float, limit: float | None
    ) -> tuple[int, Pending]:
        if self._closing:
            raise RunnerClosedError("the launcher is closed; open another one")
        number = self._count = self._count + 1
        pending = Pending(self._loop.create_future(), grace, limit, begun=what == "start")
        if self._why_lost is not None:
            pending.future.set_result(lost(self._why_lost))
            return number, pending
        self._runs[number] = pending
        if self._timer is None:
            self._timer = self._loop.call_later(_PING_EVERY, self._ping)
        self._connection.send(what, number, *told)
        return number, pending

    async def end(self, number: int, pending: Pending) -> None:
        """End one run and wait for that, whatever further cancellation comes."""
        if self._runs.get(number) is not pending:
            return
        pending.future = self._loop.create_future()
        self._connection.send("end", number)
        await settled(pending.future, pending.grace + END_BOUND)

    def _handle(self, message: tuple[Any, ...]) -> None:
        self._silent = 0
        what = message[0]
        if what == "ready":
            if not self._ready.done():
                self._ready.set_result(None)
        elif what == "warm":
            if not self._warm[message[1]].done():
                self._warm[message[1]].set_result(message[2])
        elif what == "cold":
            self.cold[message[1]] = message[2]
        elif what == "gone":
            self._why_lost = self._why_lost or message[1]
        elif what == "began":
            if (pending := self._runs.get(message[1])) is not None:
                pending.begun = True
                pending.answer()
                if pending.on_begin is not None:
                    self._loop.call_soon(pending.on_begin)
        elif what in ("end", "failed", "withdrawn"):
            pending = self._runs.pop(message[1], None)
            if pending is None:
                return
            _, _, *told = message
            if what == "end":
                code, timed_out, *_, left, trouble = told
                pending.failed = bool(code != 0 or timed_out or left or trouble)
            else:
                pending.failed = what == "failed"
            if pending.future.done():
                return
            if self._why_lost is not None:
                pending.future.set_result(lost(self._why_lost))
            elif what == "withdrawn":
                pending.future.set_result(None)
            elif what == "end":
                code, timed_out, *facts = told
                pending.future.set_result(ended(code, timed_out, pending.limit, *facts))
            else:
                try:
                    pending.future.set_result(start_failure(*told))
                except OSError as error:
                    pending.future.set_exception(error)

    def _ping(self) -> None:
        self._timer = None
        if not self._runs or self._over.done():
            return
        self._silent += 1
        if self._silent > _PINGS_MISSED:
            self._lose(f"it did not answer for {_PING_EVERY * _PINGS_MISSED:g} seconds")
            return
        self._connection.send("ping")
        self._timer = self._loop.call_later(_PING_EVERY, self._ping)

    def _lose(self, why: str) -> None:
        """Give the process up: kill it, and what can be found of its runs."""
        self._why_lost = self._why_lost or why
        self._disconnect()

    def _disconnect(self) -> None:
        """Take note of the end of the connection."""
        if self._over.done():
            return
        self._over.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()
        if not self._closing or self._runs:
            self._why_lost = self._why_lost or "the launcher died" + self._last_words()
        if self._why_lost is not None:
            kill_session(self._process, self.identity)
        for pending in self._runs.values():
            if not pending.future.done():
                pending.future.set_result(lost(self._why_lost or "the launcher died"))
        self._runs.clear()
        for future in self._warm.values():
            if not future.done():
                future.set_result(self._why_lost or "the launcher was closed")

    def _last_words(self) -> str:
        try:
            size = os.lseek(self._errors, 0, os.SEEK_END)
            text = os.pread(self._errors, 2000, max(0, size - 2000)).decode(errors="replace")
        except OSError:
            text = ""
        lines = text.strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    async def _reap(self) -> None:
        """Wait for the process, which is ending, and let go of everything."""
        cancelled = False
        for _ in range(_REAP_LOOKS):
            if self._process.poll() is not None:
                break
            try:
                await asyncio.sleep(_REAP_EVERY)
            except asyncio.CancelledError:
                cancelled = True
        else:
            self._process.kill()
            self._process.wait(_REAP_LOOKS * _REAP_EVERY)
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1
        if cancelled:
            raise asyncio.CancelledError
