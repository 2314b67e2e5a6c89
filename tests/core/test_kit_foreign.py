"""The conformance kit against a runner of three methods, as its author might write it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from multirun_core.testing import RunnerConformance

from multirun_core import AbstractRunner, Run, RunStatistics


class ThreeMethods(AbstractRunner):
    """The least that a runner can be and keep what the three methods promise."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def computeStatistics(self) -> RunStatistics:
        return RunStatistics.of(Counter(run.status for run in self.runs))

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        run = Run(cmd=cmd, cwd=cwd)
        run.task = asyncio.get_running_loop().create_task(self._one(run))
        self.runs.append(run)
        return run

    async def _one(self, run: Run) -> None:
        run.status = "running"
        try:
            process = await asyncio.create_subprocess_exec(
                *run.cmd, cwd=run.cwd, stdin=asyncio.subprocess.DEVNULL
            )
        except OSError:
            run.status = "failure"
            return
        try:
            run.status = "success" if await process.wait() == 0 else "failure"
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            run.status = "failure"
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


class TestThreeMethods(RunnerConformance):
    slots_option: ClassVar[str | None] = None
    grace_option: ClassVar[str | None] = None
    measures_usage: ClassVar[bool] = False
    captures_output: ClassVar[bool] = False
    reports_exit_codes: ClassVar[bool] = False
    ends_whole_trees: ClassVar[bool] = False
    ends_with_driver: ClassVar[bool] = False

    def make_runner(self, **options: Any) -> ThreeMethods:
        return ThreeMethods(**options)
