"""The worker's half: the process of one attempt."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Status, Worker, get_worker
from multirun_core import ExitStatus, ParallelLocalRunner

FACTS = ("reason", "message", "started", "ended", "cpu_seconds", "max_rss_bytes", "host")


def carry_out(topic: str, cmd: list[str], cwd: Path, **limits: Any) -> ExitStatus:
    """Run a command to its end, or until nobody wants that any more."""
    worker, key = get_worker(), get_worker().get_current_task()
    worker.log_event(topic, key)
    if (cwd / "stdout.txt").exists():
        # Dask repeats what a dead worker had. Whether to do so is for multirun to say.
        return ExitStatus(code=None, reason="lost", message="the worker that had it is gone")

    async def process() -> ExitStatus:
        runner = ParallelLocalRunner(**limits)
        run = runner.add(cmd, cwd)
        work = asyncio.ensure_future(runner.gather())
        while not (await asyncio.wait([work], timeout=0.05))[0]:
            task = worker.state.tasks.get(key)  # "cancelled" also when the driver has died
            if task is None or task.state != "executing" or worker.status is Status.closing:
                work.cancel()
                break
        with suppress(asyncio.CancelledError):
            await work
        return ExitStatus(code=run.exit_code, **{fact: getattr(run, fact) for fact in FACTS})

    return asyncio.run(process())


async def until_gone(key: str, dask_worker: Worker) -> None:
    """Wait until a worker has no more to do with a task."""
    while key in dask_worker.state.tasks:  # noqa: ASYNC110 - Dask tells nobody
        await asyncio.sleep(0.02)
