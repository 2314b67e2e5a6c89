"""The driver's half: each attempt of a run is a task of `dask.distributed`."""

import asyncio
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack
from typing import Any, ClassVar, cast

from distributed import Client, LocalCluster
from multirun_core import BackendError, ExitStatus, Run, TaskRunner

from multirun_dask.work import carry_out, until_gone

PATIENCE = 15.0  # seconds that Dask may take to clean up


class DaskRunner(TaskRunner):
    """Carries runs out as processes that the workers of a Dask cluster start."""

    enforces_timeout: ClassVar[bool] = True  # by the worker: time in Dask's queue does not count
    reports_start: ClassVar[bool] = True

    def __init__(self, *, address: str | None = None, workers: int = 4, **options: Any) -> None:
        """Make a runner; nothing is started yet.

        Args:
            address: the scheduler of a cluster, such as "tcp://host:8786"; its workers need this
                package and the file system of the sweep. None makes a cluster in this process.
            workers: how many runs go on at once where no address is given.
            options: what every runner takes: max_parallel, timeout, retries, env, grace and so on.
        """
        super().__init__(**options)
        self.address, self.workers = address, workers
        self._in_use = AsyncExitStack()
        self._queued: dict[str, Run] = {}

    async def open(self) -> None:
        """Connect to the cluster, or make one."""
        own: dict[str, Any] = {"n_workers": 1, "threads_per_worker": self.workers}
        own |= {"processes": False, "dashboard_address": "127.0.0.1:0", "asynchronous": True}
        use = self._in_use.enter_async_context
        try:
            at = self.address or await use(LocalCluster(**own))
            self._client = await use(Client(at, asynchronous=True, set_as_default=False))
        except (OSError, ValueError) as error:
            raise BackendError(f"cannot use Dask's scheduler {self.address}: {error}") from error
        self._client.subscribe_topic(f"{self._client.id} runs", lambda told: self._started(told[1]))

    async def close(self) -> None:
        """Let go of the cluster."""
        await asyncio.wait_for(self._in_use.aclose(), PATIENCE)

    async def execute(self, run: Run) -> ExitStatus:
        """Have one attempt carried out by the worker that Dask chooses."""
        run.stdout.unlink(missing_ok=True)
        client, limits = self._client, self.limits(run)
        what = {"env": {**run.environment, **limits.env}, "timeout": limits.timeout}
        what |= {"grace": limits.grace, "pure": False}
        task = client.submit(carry_out, f"{client.id} runs", run.cmd, run.cwd.absolute(), **what)
        self._queued[task.key] = run
        try:
            return cast("ExitStatus", await task)
        except asyncio.CancelledError:
            await client.cancel([task])
            gone = asyncio.ensure_future(client.run(until_gone, task.key, on_error="ignore"))
            await asyncio.wait([gone], timeout=limits.grace + PATIENCE)
            self._queued.pop(task.key, None)
            raise
        except CancelledError as error:
            raise BackendError(f"Dask's scheduler {self.address} drops runs: {error}") from error

    def _started(self, key: str) -> None:
        if run := self._queued.pop(key, None):
            self.begin(run)
