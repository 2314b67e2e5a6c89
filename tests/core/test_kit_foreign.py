"""The conformance kit against a runner of three methods, as its author might write it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core.testing import RunnerConformance

from multirun_core import AbstractRunner, Run, RunStatistics


class ThreeMethods(AbstractRunner):
    """The least that a runner can be and keep what the three methods promise."""

    def __init__(self, slots: int = 4) -> None:
        self.slots = slots
        self.runs: list[Run] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def computeStatistics(self) -> RunStatistics:
        return RunStatistics.of(Counter(run.status for run in self.runs))

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        if self.loop is not asyncio.get_running_loop():
            self.loop, self.free = asyncio.get_running_loop(), asyncio.Semaphore(self.slots)
        run = Run(cmd=cmd, cwd=cwd)
        run.task = self.loop.create_task(self._one(run))
        run.task.add_done_callback(lambda _: _over(run))
        self.runs.append(run)
        return run

    async def _one(self, run: Run) -> None:
        async with self.free:
            run.status = "running"
            with contextlib.suppress(OSError):
                process = await asyncio.create_subprocess_exec(
                    *run.cmd, cwd=run.cwd, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
                )
                try:
                    if await process.wait() == 0:
                        run.status = "success"
                except asyncio.CancelledError:
                    os.killpg(process.pid, signal.SIGTERM)
                    await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.5)
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
                    raise

    async def gather(self) -> None:
        tasks = [run.task for run in self.runs if run.task is not None and not run.task.done()]
        try:
            if tasks:
                await asyncio.wait(tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise


def _over(run: Run) -> None:
    """Give a run that was cancelled, or has failed, its last status."""
    if not run.done:
        run.status = "skipped" if run.status == "pending" else "failure"


@pytest.mark.long
class TestThreeMethods(RunnerConformance):
    slots_option: ClassVar[str | None] = "slots"
    grace_option: ClassVar[str | None] = None
    measures_usage: ClassVar[bool] = False
    captures_output: ClassVar[bool] = False
    reports_exit_codes: ClassVar[bool] = False
    ends_whole_trees: ClassVar[bool] = False
    ends_with_driver: ClassVar[bool] = False

    def make_runner(self, **options: Any) -> ThreeMethods:
        return ThreeMethods(**options)
