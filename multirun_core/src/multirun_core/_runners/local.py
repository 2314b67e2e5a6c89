"""`ParallelLocalRunner`: runs on the cores of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._model.run import STDERR, STDOUT, ExitStatus, Run
from multirun_core._runners.cpus import usable_cpus
from multirun_core._runners.task import TaskRunner
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multirun_core._runners.launcher.client import Launcher
    from multirun_core._runners.launcher.threads import ThreadLauncher


def base_environment() -> dict[str, str]:
    """Return the environment that local runs start from: this process's own.

    Where Python runs in a virtual environment that is not on the PATH, its programs come first,
    as if it had been activated: `python` in a command is then the interpreter of the driver.
    Where the driver is itself a run of another sweep, its own parameters are left out.
    """
    env = {name: text for name, text in os.environ.items() if not name.startswith(RUN_VARIABLES)}
    if sys.prefix != sys.base_prefix:
        programs = str(Path(sys.prefix) / "bin")
        path = env.get("PATH", os.defpath)
        if programs not in path.split(os.pathsep):
            env["PATH"] = programs + os.pathsep + path
    return env


class ParallelLocalRunner(TaskRunner):
    """Carries runs out as processes of this machine, several at once.

    Standard input is empty; output goes to `stdout.txt` and `stderr.txt` in the run directory.
    When a run ends, for whatever reason, all of its descendants are ended; when the driver dies,
    all runs are.

    Attributes:
        semaphore: the slots.
        runs: all runs that were added.
    """

    enforces_timeout: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_parallel: int | Literal["auto"] = 4,
        timeout: float | None = None,
        retries: int = 0,
        retry_delay: float = 1.0,
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
    ) -> None:
        """Make a runner; nothing is started yet.

        Args:
            max_parallel: how many runs go on at once; "auto" for the CPUs that this process may
                use, by affinity and control groups.
            timeout: running time of one attempt in seconds; None for no limit.
            retries: how many further attempts a failed run gets.
            retry_delay: seconds before the second attempt, doubled for each further one up to 60.
            env: variables that each run gets, on top of the driver's.
            grace: seconds between TERM and KILL when a run is ended.
        """
        if isinstance(max_parallel, str) and max_parallel != "auto":
            raise UsageError(f"max_parallel is {max_parallel!r}; it must be a number or 'auto'")
        super().__init__(
            max_parallel=usable_cpus() if max_parallel == "auto" else max_parallel,
            timeout=timeout,
            retries=retries,
            retry_delay=retry_delay,
            env=env,
            grace=grace,
        )
        self._launcher: Launcher | ThreadLauncher | None = None

    async def open(self) -> None:
        """Start the launcher, the small process that is parent of all runs.

        Raises:
            RunnerError: it cannot be started.
        """
        from multirun_core._runners.launcher.threads import open_launcher

        self._launcher = await open_launcher(base_environment())
        self.guardian = self._launcher.identity
        if self.on_guardian is not None:
            await self.on_guardian(self._launcher.identity)

    async def close(self) -> None:
        """End the launcher and all that may be left of the runs."""
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            await launcher.close()

    def hurry(self) -> None:
        """Kill all runs now."""
        if self._launcher is not None:
            self._launcher.end_all(0.0)

    async def execute(self, run: Run) -> ExitStatus:
        """Carry out one attempt as a process; cancelled, end its whole tree."""
        if self._launcher is None or self._launcher.lost:
            await self.ready(anew=True)
        if self._launcher is None:
            raise AssertionError("open() leaves a launcher")
        limits = self.limits(run)
        cwd = str(run.cwd)
        return await self._launcher.run(
            run.cmd,
            cwd,
            {**run.environment, **limits.env},
            f"{cwd}/{STDOUT}",
            f"{cwd}/{STDERR}",
            timeout=limits.timeout,
            grace=limits.grace,
        )
