"""What all checks share: what an author declares, calls with a bound, and looking at processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._sweep.api import multirunAsync
from multirun_core.testing import drive, report
from multirun_core.testing.loop import run_bounded
from multirun_core.testing.promises import HOSTILE, expect, promise, requires

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._runners.base import AbstractRunner
    from multirun_core._sweep.sweep import Sweep

_T = TypeVar("_T")

__all__ = ["HOSTILE", "KitBase", "expect", "promise", "requires"]


class KitBase:
    """What an author declares of a runner, and what the checks are made with.

    Only `make_runner` must be written. It is also called in other processes: instance attributes,
    as an autouse fixture may set them, are passed along and must therefore be picklable, and the
    class must stand at the top of its module or in another class.

    Attributes:
        slots_option: the option that limits how many runs go on at once; None where the backend
            decides.
        grace_option: the option for the seconds between TERM and KILL when a run is ended; None
            where there is none.
        many: how many runs the check of their cost makes; where that takes too long, fewer.
        time_scale: how much more patience than for processes of this machine a check needs.
        python: the Python that runs use; `multirun_core` must be importable there.
        hook_module: the module with the plugin's hooks, if its lightness is to be checked.
        heavy_modules: what importing `hook_module` must not import.
        can_reattach: whether a new driver finds runs again that outlived theirs; None to ask the
            runner's `can_reattach`.
        needs_shared_filesystem: whether runs see the files of this machine since they must.
        runs_on_this_machine: whether runs are processes of this machine, to be looked at by pid
            (which takes Linux), and so see its files.
        measures_usage: whether CPU time and memory of a run are recorded.
        captures_output: whether output is in `stdout.txt` and `stderr.txt` in the run directory.
        reports_exit_codes: whether `run.exit_code` and the reason "signal" are known, not only
            success and failure.
        ends_whole_trees: whether what ends a run ends all of its descendants too, those that
            ignore TERM or have a session of their own included.
        ends_with_driver: whether runs end when their driver is killed, unless they are found
            again later.
        sees_private_mounts: whether a sweep may lie in a file system that is mounted for its
            driver alone: its runs are children of the driver, or files are carried to them.
    """

    slots_option: ClassVar[str | None] = "max_parallel"
    grace_option: ClassVar[str | None] = "grace"
    time_scale: ClassVar[float] = 1.0
    many: ClassVar[int] = 2000
    python: ClassVar[str] = sys.executable
    hook_module: ClassVar[str | None] = None
    heavy_modules: ClassVar[Sequence[str]] = ()

    can_reattach: ClassVar[bool | None] = None
    needs_shared_filesystem: ClassVar[bool] = True
    runs_on_this_machine: ClassVar[bool] = True
    measures_usage: ClassVar[bool] = True
    captures_output: ClassVar[bool] = True
    reports_exit_codes: ClassVar[bool] = True
    ends_whole_trees: ClassVar[bool] = True
    ends_with_driver: ClassVar[bool] = True
    sees_private_mounts: ClassVar[bool] = True

    def make_runner(self, **options: Any) -> AbstractRunner:
        """Return a new runner with these options; the one method that an author writes."""
        raise NotImplementedError(f"{type(self).__name__} must define make_runner(self, **options)")

    # What applies.

    def why_not(self, capability: str) -> str | None:
        """Return why checks that need a capability do not apply; None where they do."""
        if capability == "can_reattach" and self.can_reattach is None:
            able = getattr(self.make_runner(), "can_reattach", False)
            return None if able else "its runner cannot reattach"
        if capability == "shares_files":
            if self.needs_shared_filesystem or self.runs_on_this_machine:
                return None
            return "its runs do not see the files of this machine"
        if capability == "runs_on_this_machine" and not Path("/proc/self/environ").exists():
            return "processes are looked at in /proc, which takes Linux"
        value = getattr(self, capability)
        return None if value else f"{type(self).__name__} declares {capability} = {value!r}"

    def slots(self, count: int) -> dict[str, Any]:
        """Return the options for so many runs at once; none where the backend decides."""
        return {} if self.slots_option is None else {self.slots_option: count}

    def grace(self, seconds: float) -> dict[str, Any]:
        """Return the options for so much time between TERM and KILL; none where not to be had."""
        return {} if self.grace_option is None else {self.grace_option: seconds}

    def patience(self, seconds: float) -> float:
        """Return how long to wait for what takes so many seconds on this machine at worst."""
        return seconds * self.time_scale

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

    def wait_until(self, condition: Callable[[], _T], what: str, seconds: float = 20.0) -> _T:
        """Return what `condition` does once that is true; fail after so many seconds, scaled.

        Args:
            condition: what is asked, again and again.
            what: what is waited for, for the message.
            seconds: how long.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + self.patience(seconds)
        while not (value := condition()):
            promise(time.monotonic() < deadline, what, f"not within {self.patience(seconds):g} s")
            time.sleep(0.005)
        return value

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

    @pytest.fixture
    def hostile_path(self, tmp_path: Path) -> Path:
        """A new directory with a name of spaces, quotes, `$`, `;`, globs, newline and unicode."""
        path = tmp_path / HOSTILE
        path.mkdir()
        return path

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
