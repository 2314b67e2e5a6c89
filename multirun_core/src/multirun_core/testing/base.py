"""What all checks share: calls with a bound, drivers, and looking at processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._sweep.api import multirunAsync
from multirun_core.testing import drive, report
from multirun_core.testing.declared import Declared
from multirun_core.testing.loop import run_bounded
from multirun_core.testing.promises import HOSTILE, expect, promise, requires

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._runners.base import AbstractRunner
    from multirun_core._sweep.sweep import Sweep

_T = TypeVar("_T")

__all__ = ["HOSTILE", "KitBase", "expect", "promise", "requires"]


class KitBase(Declared):
    """What the checks are made with: calls with a bound, drivers, looking at processes."""

    # Calls.

    def bounded(self, work: Coroutine[Any, Any, _T], seconds: float = 30.0) -> _T:
        """Run a coroutine in an event loop of its own; fail after so many seconds, scaled.

        Raises:
            AssertionError: it did not end in time; it has been cancelled.
        """
        return run_bounded(work, self.patience(seconds))

    def run_sweep(
        self,
        runs: int | Iterable[Mapping[str, Any]],
        cmd: Sequence[str],
        path: Path,
        *,
        options: Mapping[str, Any] | None = None,
        runner: AbstractRunner | None = None,
        seconds: float = 30.0,
        **keywords: Any,
    ) -> Sweep:
        """Carry out a sweep and return it.

        Args:
            runs: the parameters; a number stands for so many runs with a parameter `n` from 0.
            cmd: the command.
            path: the directory of the sweep.
            options: for `make_runner`.
            runner: one to use instead of a new one.
            seconds: when to give up, scaled.
            keywords: for `multirun`.
        """
        return self.bounded(
            self.sweep(runs, cmd, path, options=options, runner=runner, **keywords), seconds
        )

    def sweep(
        self,
        runs: int | Iterable[Mapping[str, Any]],
        cmd: Sequence[str],
        path: Path,
        *,
        options: Mapping[str, Any] | None = None,
        runner: AbstractRunner | None = None,
        **keywords: Any,
    ) -> Coroutine[Any, Any, Sweep]:
        """Return what `run_sweep` runs, for checks with an event loop of their own."""
        return multirunAsync(
            runs=[{"n": n} for n in range(runs)] if isinstance(runs, int) else runs,
            cmd=cmd,
            output_path=path,
            runner=self.make_runner(**(options or {})) if runner is None else runner,
            progress=False,
            **keywords,
        )

    def run_bare(
        self,
        commands: Iterable[Sequence[str]],
        folder: Path,
        *,
        options: Mapping[str, Any] | None = None,
        runner: AbstractRunner | None = None,
        seconds: float = 30.0,
    ) -> list[Run]:
        """Add commands to a runner without a sweep, gather them, and return the runs.

        Each gets a new directory `folder/0`, `folder/1`, …
        """
        runner = self.make_runner(**(options or {})) if runner is None else runner

        async def work() -> list[Run]:
            added: list[Run] = []
            for number, cmd in enumerate(commands):
                cwd = folder / str(number)
                cwd.mkdir(parents=True)
                added.append(runner.add(list(cmd), cwd))
            await runner.gather()
            return added

        return self.bounded(work(), seconds)

    def both_ways(
        self,
        commands: Sequence[Sequence[str]],
        path: Path,
        *,
        options: Mapping[str, Any] | None = None,
        seconds: float = 30.0,
    ) -> Iterator[tuple[str, list[Run]]]:
        """Carry the same commands out by `add` and `gather`, and then in a sweep.

        Yields:
            How they were carried out, for messages, and the runs in order of the commands, which
            must all have the same number of words.
        """
        yield (
            "added to the runner",
            self.run_bare(commands, path / "bare", options=options, seconds=seconds),
        )
        names = [f"word{number}" for number in range(len(commands[0]))]
        sweep = self.run_sweep(
            [dict(zip(names, cmd, strict=True)) for cmd in commands],
            [f"{{{name}}}" for name in names],
            path / "sweep",
            options=options,
            seconds=seconds,
        )
        yield "in a sweep", list(sweep.runs)

    def driver(
        self,
        path: Path,
        runs: int | Iterable[Mapping[str, Any]],
        cmd: Sequence[str],
        *,
        options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
        prefix: Sequence[str] = (),
        **keywords: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a process that carries out a sweep as `run_sweep` does; for checks that kill it.

        The process is a session leader; what is left of it at the end of the check is killed.

        Args:
            path: the directory of the sweep.
            runs: the parameters, or how many runs.
            cmd: the command.
            options: for `make_runner`.
            environment: variables of the driver, on top of those of this process.
            stdout: as in `subprocess.Popen`.
            prefix: a command that executes the driver's, such as env(1).
            keywords: for `multirun`.
        """
        call = {
            "runs": [{"n": n} for n in range(runs)] if isinstance(runs, int) else list(runs),
            "cmd": list(cmd),
            "output_path": path,
            **keywords,
        }
        process = drive.start(
            self, dict(options or {}), call, dict(environment or {}), stdout, prefix
        )
        self._drivers.append(process)
        return process

    # Waiting and looking.

    async def until(
        self,
        condition: Callable[[], _T],
        what: str,
        seconds: float = 20.0,
        during: asyncio.Future[Any] | None = None,
    ) -> _T:
        """Do as `wait_until`, in a coroutine.

        Args:
            condition: what is asked, again and again.
            what: what is waited for, for the message.
            seconds: how long.
            during: what must go on meanwhile; where it fails, its error is raised.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + self.patience(seconds)
        while not (value := condition()):
            if during is not None and during.done():
                during.result()
                promise(False, what, "it was over before")
            promise(time.monotonic() < deadline, what, f"not within {self.patience(seconds):g} s")
            await asyncio.sleep(0.005)
        return value

    def processes_of(self, path: Path) -> dict[int, str]:
        """Return the processes of this machine that a path gives away: pid and command.

        They have it in their command, environment or working directory. Zombies have none.
        """
        text, found = os.fsencode(path), dict[int, str]()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                command = (entry / "cmdline").read_bytes()
                seen = command + b"\0" + os.fsencode((entry / "cwd").readlink()) + b"\0"
                seen += (entry / "environ").read_bytes()
                if text in seen and int(entry.name) != os.getpid():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    # Fixtures.

    @pytest.fixture(autouse=True)
    def _in_the_kit(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[None]:
        """Report the check at the end, keep a surrounding run out, and kill what a check leaves."""
        report.note(request)
        for name in [name for name in os.environ if name.startswith(RUN_VARIABLES)]:
            monkeypatch.delenv(name)
        self._drivers: list[subprocess.Popen[bytes]] = []
        yield
        for driver in self._drivers:
            driver.kill()
            driver.wait()
            for pipe in (driver.stdin, driver.stdout):
                if pipe is not None:
                    pipe.close()
        if self.runs_on_this_machine:
            for pid in self.processes_of(tmp_path):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
