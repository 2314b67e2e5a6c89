"""`ParallelLocalRunner`: runs on the cores of this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._model.resources import (
    Resources,
    gpu_variables,
    parse_size,
    thread_variables,
)
from multirun_core._model.run import STDERR, STDOUT, ExitStatus, Run
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.launcher.ends import lost
from multirun_core._runners.local_options import cpus_of, device_names, slots_for
from multirun_core._runners.resources import Machine, Pool, Share
from multirun_core._runners.slots import Slots
from multirun_core._runners.task import TaskRunner
from multirun_core._runners.warm import Hint, Warming, check_preload
from multirun_core.errors import SubmitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multirun_core._runners.launcher.ahead import Ahead
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
    reports_start: ClassVar[bool] = True
    knows_resources: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_parallel: int | Literal["auto"] = 4,
        timeout: float | str | None = None,
        retries: int = 0,
        retry_delay: float = 1.0,
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
        cpus_per_run: int | None = None,
        pin: bool = False,
        gpus: Sequence[int | str] | None = None,
        memory_per_run: int | str | None = None,
        memory_limit: bool = False,
        warm: bool | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        """Set the limits.

        Args:
            max_parallel: how many runs go on at once; "auto" for as many as have the CPUs and GPUs
                that each is given: those that this process may use, by affinity and control
                groups.
            timeout: seconds that one attempt may run; "5x median" for so many times the median of
                the runs that succeeded, once there are 5; None for no limit.
            retries: how many further attempts a failed run gets.
            retry_delay: seconds before the second attempt, doubled for each further one up to 60.
            env: variables that each run gets, on top of the driver's.
            grace: seconds between TERM and KILL when a run is ended.
            cpus_per_run: how many CPUs each run is given: libraries are told by OMP_NUM_THREADS
                and its kin to make so many threads, and no more runs go on than there are CPUs
                for.
            pin: keep each run on CPUs of its own; without cpus_per_run, on one.
            gpus: numbers or UUIDs of devices; each run is given one, by CUDA_VISIBLE_DEVICES and
                its kin, and no two runs share one.
            memory_per_run: bytes, or such as "4GiB"; a run starts when so much of the memory that
                was free at first is not promised to others.
            memory_limit: let no process of a run allocate more memory than that.
            warm: fork runs that are a Python script or `-m module` from an interpreter that has
                imported what they import at their top, instead of starting Python for each; None
                does not, and says at the end of a sweep where it would have paid.
            preload: the modules to import for that, instead; says warm=True as well.
        """
        if isinstance(max_parallel, str) and max_parallel != "auto":
            raise UsageError(f"max_parallel is {max_parallel!r}; it must be a number or 'auto'")
        needs = Resources(
            cpus=cpus_of(cpus_per_run, pin=pin),
            memory_bytes=None if memory_per_run is None else parse_size(memory_per_run),
            gpus=None if gpus is None else 1,
        )
        self._gpus = device_names(gpus)
        slots = slots_for(needs, self._gpus) if max_parallel == "auto" else max_parallel
        if max_parallel != "auto" and len(self._gpus) > slots:
            raise UsageError(
                f"gpus names {len(self._gpus)} devices, but max_parallel={max_parallel} lets no "
                f"more than {slots} runs go on at once; say max_parallel='auto' for one a device, "
                "or name fewer devices"
            )
        super().__init__(
            max_parallel=slots,
            timeout=timeout,
            retries=retries,
            retry_delay=retry_delay,
            env=env,
            grace=grace,
        )
        self.default_needs = needs
        self.resource_options = {
            "cpus_per_run": needs.cpus,
            "pin": pin,
            "gpus": list(self._gpus),
            "memory_per_run": needs.memory_bytes,
            "memory_limit": memory_limit,
        }
        self._shares = needs != Resources()
        self._pin = pin
        self._memory_limit = memory_limit
        self._launcher: Launcher | ThreadLauncher | None = None
        self._lines_up = False
        self._pool: Pool | None = None
        self._ahead: dict[Run, Ahead] = {}
        names = check_preload(preload)
        self._warming = Warming(names) if warm or names is not None else None
        self._hint = Hint() if warm is None and names is None else None

    def _slots(self) -> Slots | None:
        return None if self.max_parallel is None else Slots(self.max_parallel)

    async def open(self) -> None:
        """Start the launcher, the small process that is parent of all runs.

        Raises:
            RunnerError: it cannot be started.
        """
        from multirun_core._runners.launcher.threads import open_launcher

        if self._pool is not None and self._pool.idle:
            self._pool = None  # what is free is looked at anew
        base = base_environment()
        if self._warming is not None:
            self._warming.base_env = base
        self._launcher = await open_launcher(base, limits_data=self._memory_limit)
        # Those that wait already are not with this launcher: it would start a later one before.
        self._lines_up = (
            not self._shares
            and isinstance(self.semaphore, Slots)
            and not self.semaphore.locked()
            and type(self).execute is ParallelLocalRunner.execute
        )
        self.guardian = self._launcher.identity
        if self.on_guardian is not None:
            await self.on_guardian(self._launcher.identity)

    @property
    def broken(self) -> bool:
        """Whether the launcher died."""
        return self._launcher is not None and self._launcher.lost

    async def close(self) -> None:
        """End the launcher and all that may be left of the runs."""
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            await launcher.close()

    def remarks(self) -> list[str]:
        """Return a hint at warm Python where it would have paid."""
        return [] if self._hint is None else self._hint.remarks()

    def hurry(self) -> None:
        """Kill all runs now."""
        if self._launcher is not None:
            self._launcher.end_all(0.0)

    def check_needs(self, needs: Resources) -> None:
        """Refuse what this machine can never give to a run.

        Raises:
            UsageError: it needs more CPUs, GPUs or free memory than there are.
        """
        if needs != Resources() and (why := self._machine().lacks(needs)) is not None:
            raise UsageError(f"no run could start: {why}")

    async def execute(self, run: Run) -> ExitStatus:
        """Carry out one attempt as a process; cancelled, end its whole tree.

        Raises:
            SubmitError: the machine can never give it what it needs.
        """
        if not self._shares and self.limits(run).resources is None:
            return await self._carry_out(run)
        needs = self.needs(run)
        pool = self._shared()
        if (why := pool.machine.lacks(needs)) is not None:
            raise SubmitError(why)
        async with pool.share(needs) as share:
            return await self._carry_out(run, needs, share)

    async def _take_slot(self, run: Run) -> None:
        """Wait for a slot; the launcher may start the run before the driver has heard of it."""
        await self.ready()
        slots, launcher, policy = self.semaphore, self._launcher, self._policy(run)
        varies = policy.timeout_factor is not None or policy.resources is not None
        if not isinstance(slots, Slots) or not isinstance(launcher, Launcher) or varies:
            await super()._take_slot(run)
            return
        limits, warm = self.limits(run), None
        if self._lines_up and self._warming is not None:
            warm = await self._warming.place(launcher, run.cmd, str(run.cwd), limits.env)
        lines_up = self._lines_up and launcher is self._launcher
        if not lines_up or not slots.locked() or slots.outsiders:
            await slots.acquire()
            return
        try:
            ahead = launcher.line_up(
                *self._order(run, limits.env),
                timeout=limits.timeout,
                grace=limits.grace,
                warm=warm,
                on_begin=partial(self._heard, run),
            )
        except (TypeError, ValueError):  # no program can be given that, as `execute` will find
            await slots.acquire()
            return
        self._ahead[run] = ahead
        place = slots.enter()
        try:
            await place.turn
            await ahead.answered()
            await self.ready()  # from here to `_carry_out` nothing waits
        except (asyncio.CancelledError, Exception):
            try:
                if await ahead.withdraw() or (launcher.lost and run.stdout.is_file()):
                    self._heard(run)
            finally:
                del self._ahead[run]
                slots.leave(place)
            raise

    def drop(self, run: Run) -> None:
        """Cancel a run unless it has begun; see `TaskRunner.drop`."""
        ahead, task = self._ahead.get(run), run.task
        if ahead is None or task is None or not ahead.held_by(self._launcher):
            super().drop(run)
        elif run.status == "pending":
            ahead.take_back(task.cancel)

    def _heard(self, run: Run) -> None:
        """Take note that a run has begun which was lined up."""
        if run.status == "pending":
            self.begin(run)

    async def _carry_out(
        self, run: Run, needs: Resources | None = None, share: Share | None = None
    ) -> ExitStatus:
        await self.ready()
        if self._launcher is None:
            raise AssertionError("open() leaves a launcher")
        limits = self.limits(run)
        variables, end = limits.env, None
        ahead = self._ahead.pop(run, None)
        if ahead is not None and ahead.held_by(self._launcher):
            self._heard(run)
            end = await ahead.run()
        elif ahead is not None and run.stdout.is_file():
            self.begin(run)
            end = lost("the launcher died when it had just begun")
        if end is None:
            confined: dict[str, Any] = {}
            if needs is not None and share is not None:
                variables = {**self._variables(needs, share), **variables}
                confined["cpus"] = share.cpus if self._pin else ()
                confined["data_bytes"] = share.memory_bytes if self._memory_limit else 0
            if self._warming is not None:
                confined["warm"] = await self._warming.place(
                    self._launcher, run.cmd, str(run.cwd), variables
                )
            self._heard(run)
            end = await self._launcher.run(
                *self._order(run, variables), timeout=limits.timeout, grace=limits.grace, **confined
            )
        if self._hint is not None:
            self._hint.note(self._launcher, run.cmd, variables, end)
        return end

    def _order(
        self, run: Run, variables: Mapping[str, str]
    ) -> tuple[list[str], str, dict[str, str], str, str]:
        """Return command, directory, variables, and the files for output."""
        own = run.environment
        cwd = own.get("MULTIRUN_RUN_DIR") or str(run.cwd)
        return run.cmd, cwd, {**own, **variables}, f"{cwd}/{STDOUT}", f"{cwd}/{STDERR}"

    def _variables(self, needs: Resources, share: Share) -> dict[str, str]:
        variables = {} if needs.cpus is None else thread_variables(needs.cpus)
        return variables | gpu_variables(share.gpus) if self._gpus else variables

    def _machine(self) -> Machine:
        return Machine.here(self._gpus)

    def _shared(self) -> Pool:
        """Return the pool of the running event loop."""
        if self._pool is None or self._pool.loop is not asyncio.get_running_loop():
            self._pool = Pool(self._machine())
        return self._pool
