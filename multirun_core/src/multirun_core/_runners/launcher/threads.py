"""Local runs without the launcher process, for systems that lack what it needs.

Weaker than `Launcher`: only the process group of a run is ended, so that a descendant with a
session of its own stays; nothing is ended when the driver is killed; the runs inherit the driver's
signal dispositions; and their peak memory is not known where it lies below the driver's own, which
a child inherits.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from multirun_core._runners.launcher import tree
from multirun_core._runners.launcher.arguments import absolute, encoded
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.launcher.ends import END_BOUND, ended, settled, start_failure
from multirun_core._runners.launcher.starting import Confined, StartError, start
from multirun_core._threads import Threads
from multirun_core._transport.process import ProcessId
from multirun_core.errors import RunnerClosedError, RunnerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from multirun_core._model.run import ExitStatus

_MOST_THREADS = 4096
_LOOK_EVERY = 0.01
_PATIENCE = 10.0
# The limit would be one of the driver's own process for the time of a start.
_NO_LIMITS = "memory_limit needs the launcher's process, which takes Linux 5.3 or newer"


async def open_launcher(
    base_env: Mapping[str, str] | None = None, *, limits_data: bool = False
) -> Launcher | ThreadLauncher:
    """Start what can carry out local runs here.

    That is the launcher process on Linux 5.3 and newer, and threads elsewhere, or where the
    variable MULTIRUN_LAUNCHER is "threads".

    Args:
        base_env: the environment that all runs have; by default this process's own.
        limits_data: whether runs will be started with `data_bytes`.

    Raises:
        RunnerError: it could not be started, or cannot do that.
    """
    if os.environ.get("MULTIRUN_LAUNCHER") == "threads" or not _has_pidfd() or not sys.executable:
        if limits_data:
            raise RunnerError(_NO_LIMITS)
        return ThreadLauncher(base_env)
    return await Launcher.start(base_env)


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class _Child:
    """A program that runs.

    Attributes:
        pid: its id, and that of its process group.
        grace: seconds between TERM and KILL.
        kill_at: when KILL is due, by the monotonic clock; None while it is not being ended.
        timed_out: whether its time limit ended it.
    """

    def __init__(self, pid: int, grace: float) -> None:
        self.pid = pid
        self.grace = grace
        self.kill_at: float | None = None
        self.timed_out = False
        self._reaped = False
        self._lock = threading.Lock()

    def signal(self, number: int) -> bool:
        """Send a signal to its group while its pid is certain to be its own; tell if it was."""
        with self._lock:
            return not self._reaped and _signal_group(self.pid, number)

    def wait(self) -> tuple[int, resource.struct_rusage]:
        """Wait for its end; return its wait status and usage. In a thread of its own."""
        if not hasattr(os, "waitid"):  # macOS has it since Python 3.13
            _, status, usage = os.wait4(self.pid, 0)
            self._reaped = True
            return status, usage
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _, status, usage = os.wait4(self.pid, 0)
            self._reaped = True
            return status, usage

    def end_group(self) -> int:
        """End what is left of its group; return 1 if that was not possible, else 0."""
        if not _signal_group(self.pid, signal.SIGTERM):
            return 0
        if self.kill_at is None:
            self.kill_at = time.monotonic() + self.grace
        while _signal_group(self.pid, 0) and _lives(self.pid):
            late = time.monotonic() - self.kill_at
            if late > _PATIENCE:
                return 1
            if late >= 0:
                _signal_group(self.pid, signal.SIGKILL)
            time.sleep(_LOOK_EVERY)
        return 0


def _lives(group: int) -> bool:
    """Whether a process group has members that are no zombies, as far as that can be told."""
    return not tree.HAS_PROC or any(
        one.group == group and one.state != b"Z" for one in tree.processes().values()
    )


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; whether it has a member that may be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class ThreadLauncher:
    """The interface of `Launcher`, with a waiting thread for each run.

    Attributes:
        identity: the driver's own process.
        lost: always False.
    """

    def __init__(self, base_env: Mapping[str, str] | None = None) -> None:
        self.identity = ProcessId.own()
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._base_env = encoded(os.environb if base_env is None else base_env)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._pool = Threads(_MOST_THREADS, "multirun-run")
        self._children: dict[_Child, asyncio.Future[ExitStatus]] = {}
        self._closing = False

    async def run(
        self,
        argv: Sequence[str],
        cwd: Path | str,
        env: Mapping[str, str],
        stdout: str,
        stderr: str,
        *,
        timeout: float | None,  # noqa: ASYNC109 - enforced by a timer of the loop
        grace: float,
        cpus: Sequence[int] = (),
        data_bytes: int = 0,
        warm: tuple[int, int] | None = None,
    ) -> ExitStatus:
        """Run a program and return how it ended; see `Launcher.run`.

        There are no warm interpreters here, so `warm` is None.

        Raises:
            RunnerError: a limit of memory is asked for.
        """
        if self._closing:
            raise RunnerClosedError("the launcher is closed; open another one")
        words = [os.fsencode(word) for word in argv]
        files = (absolute(cwd), absolute(stdout), absolute(stderr))
        environ = self._base_env | encoded(env)
        if data_bytes:
            raise RunnerError(_NO_LIMITS)
        confined = Confined(cpus, 0) if cpus else None
        return await self._run(words, files, environ, timeout, grace, confined)

    async def _run(
        self,
        words: list[bytes],
        files: tuple[bytes, bytes, bytes],
        environ: dict[bytes, bytes],
        limit: float | None,
        grace: float,
        confined: Confined | None,
    ) -> ExitStatus:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, began = time.time(), time.monotonic()
        try:
            pid = start(words, files[0], environ, *files[1:], self._null, confined)
            child = _Child(pid, grace)
        except StartError as error:
            return start_failure(error.errno, error.text, error.stream)
        future = self._loop.run_in_executor(
            self._pool, _carry_out, child, started, began, peak, limit
        )
        self._children[child] = future
        timers: list[asyncio.TimerHandle] = []
        if limit is not None:
            timers.append(self._loop.call_later(limit, self._time_out, child))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._end(child, grace)
            await settled(future, grace + END_BOUND)
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if future.done():
                del self._children[child]

    def end_all(self, grace: float) -> None:
        """End all runs now, with KILL after `grace` seconds, or their own grace if shorter."""
        for child in list(self._children):
            self._end(child, min(grace, child.grace))

    async def close(self) -> None:
        """End what is left, with its grace. Bounded; may be called again."""
        self._closing = True
        bound = END_BOUND + max((child.grace for child in self._children), default=0.0)
        self.end_all(float("inf"))
        if self._children:
            await asyncio.wait(list(self._children.values()), timeout=bound)
        self._pool.shutdown(wait=False)
        if self._null >= 0:
            os.close(self._null)
            self._null = -1

    def _time_out(self, child: _Child) -> None:
        if child.kill_at is None:
            child.timed_out = self._end(child, child.grace)

    def _end(self, child: _Child, grace: float) -> bool:
        """Begin to end a run; whether its main process still lived."""
        when = time.monotonic() + grace
        alive = child.kill_at is None and child.signal(signal.SIGTERM)
        if child.kill_at is None or when < child.kill_at:
            child.kill_at = when
            self._loop.call_later(grace, child.signal, signal.SIGKILL)
        return alive


def _carry_out(
    child: _Child, started: float, began: float, peak: int, limit: float | None
) -> ExitStatus:
    """Wait for a program, then end its process group. In a thread."""
    status, usage = child.wait()
    end = started + time.monotonic() - began
    left = child.end_group()
    return ended(
        os.waitstatus_to_exitcode(status),
        child.timed_out,
        limit,
        started,
        end,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss if usage.ru_maxrss > peak else None,
        left,
        None,
    )
