"""For every basic check of the conformance kit a runner that breaks just that promise.

No test module: `test_kit_catches_basics.py` has pytest run the class `Test_X`, which is made below
for each check X.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from multirun_core.testing import RunnerConformance

from multirun_core import (
    BackendError,
    ExitStatus,
    ParallelLocalRunner,
    Run,
    RunStatistics,
    SubmitError,
    TaskRunner,
)


class Simple(TaskRunner):
    """A plain and correct runner, which ends processes but not their descendants."""

    stdin: ClassVar[int | None] = subprocess.DEVNULL
    kills: ClassVar[bool] = True

    def command(self, run: Run) -> list[str]:
        return run.cmd

    def directory(self, run: Run) -> Path:
        return run.cwd

    def variables(self, run: Run) -> Mapping[str, str]:
        return {**run.environment, **self.limits(run).env}

    def captured(self, data: bytes) -> bytes:
        return data

    def ended(self, run: Run, end: ExitStatus) -> ExitStatus:
        return end

    async def execute(self, run: Run) -> ExitStatus:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self.command(run),
                    cwd=self.directory(run),
                    env=os.environ | self.variables(run),
                    stdin=self.stdin,
                    stdout=out,
                    stderr=err,
                )
            except OSError as error:
                raise SubmitError(str(error)) from error
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                if self.kills:
                    process.kill()
                    await process.wait()
                raise
            for file, path in ((out, run.stdout), (err, run.stderr)):
                file.seek(0)
                path.write_bytes(self.captured(file.read()))
        return self.ended(run, ExitStatus(code=code))


class Ends(ParallelLocalRunner):
    """Says something else of how runs end."""

    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        raise NotImplementedError

    async def execute(self, run: Run) -> ExitStatus:
        return self.said(run, await super().execute(run))


# The three methods.


class SlowAdd(ParallelLocalRunner):
    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        time.sleep(1.0)
        return super().add(cmd, cwd)


class GathersOne(ParallelLocalRunner):
    async def gather(self) -> None:
        await asyncio.wait(self._live, return_when=asyncio.FIRST_COMPLETED)


class WaitsForNothing(ParallelLocalRunner):
    async def gather(self) -> None:
        await asyncio.wait([run.task for run in self.runs if run.task])


class GathersAnew(ParallelLocalRunner):
    async def gather(self) -> None:
        for run in self.runs:
            if run.done:
                subprocess.run(run.cmd, cwd=run.cwd, check=False)
        await super().gather()


class GathersOnce(ParallelLocalRunner):
    gathered = False

    async def gather(self) -> None:
        if not self.gathered:
            await super().gather()
        self.gathered = True


class RaisesFailures(ParallelLocalRunner):
    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        if not end.ok:
            raise BackendError("a run has failed")
        return end


class StartsTwice(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        run.status = "pending"
        run.status = "running"
        return end


class CountsTheRunning(ParallelLocalRunner):
    def computeStatistics(self) -> RunStatistics:
        counts = super().computeStatistics()
        return replace(counts, total_count=counts.total_count - counts.pending_count)


class EndsSiblings(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        if not end.ok:
            for task in self._live - {asyncio.current_task()}:
                task.cancel()
        return end


class Unlimited(ParallelLocalRunner):
    def _slots(self) -> None:
        return None


class OneByOne(ParallelLocalRunner):
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(1)


class Blocks(ParallelLocalRunner):
    async def execute(self, run: Run) -> ExitStatus:
        time.sleep(1.0)
        return await super().execute(run)


class Alone(Simple):
    busy: ClassVar[bool] = False

    async def execute(self, run: Run) -> ExitStatus:
        while Alone.busy:
            await asyncio.sleep(0.01)
        Alone.busy = True
        try:
            return await super().execute(run)
        finally:
            Alone.busy = False


class ClosesForGood(ParallelLocalRunner):
    closed = False

    async def close(self) -> None:
        self.closed = True
        await super().close()

    async def execute(self, run: Run) -> ExitStatus:
        if self.closed:
            raise SubmitError("closed")
        return await super().execute(run)


# Executing.


class KnowsNothing(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return ExitStatus(code=None)


class AlwaysWell(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return ExitStatus(code=0) if end.code is not None else end


class YesOrNo(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return replace(end, code=min(end.code or 0, 1))


class MissesStarts(ParallelLocalRunner):
    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        return ExitStatus(code=0) if end.reason == "submit" else end


class OnlyPositive(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return replace(end, code=max(end.code or 0, 0))


class LikeAShell(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return replace(end, code=128 - end.code if (end.code or 0) < 0 else end.code)


class Elsewhere(Simple):
    def directory(self, run: Run) -> Path:
        return run.cwd.parent


class SimpleNames(Simple):
    def directory(self, run: Run) -> Path:
        return Path(str(run.cwd).replace("\n", " "))


class OneLine(Simple):
    def command(self, run: Run) -> list[str]:
        return [word.replace("\n", " ") for word in run.cmd]


class Inherits(Simple):
    stdin = None


class NeverReads(Simple):
    async def execute(self, run: Run) -> ExitStatus:
        process = subprocess.Popen(
            run.cmd, cwd=run.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            while process.poll() is None:
                await asyncio.sleep(0.01)
        finally:
            process.kill()
            process.communicate()
        return ExitStatus(code=process.returncode)


class CapturesTheStart(Simple):
    def captured(self, data: bytes) -> bytes:
        return data[:65536]


class CapturesText(Simple):
    def captured(self, data: bytes) -> bytes:
        return data.decode(errors="replace").encode()


class FetchesNothing(Simple):
    def directory(self, run: Run) -> Path:
        return Path(tempfile.mkdtemp(dir=run.cwd.parent))


class KnowsNoTime(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return replace(end, started=end.ended)


class MeasuresNothing(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        return replace(end, cpu_seconds=None, max_rss_bytes=None)


# In a sweep.


class SetsNoVariables(Simple):
    def variables(self, run: Run) -> Mapping[str, str]:
        return self.limits(run).env


class SetsNoneOfTheUsers(Simple):
    def variables(self, run: Run) -> Mapping[str, str]:
        return run.environment


class HidesTheDirectory(Simple):
    def variables(self, run: Run) -> Mapping[str, str]:
        return {**run.environment, "MULTIRUN_RUN_DIR": ""}


class Removes(Ends):
    name: ClassVar[str]

    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        (run.cwd / self.name).unlink(missing_ok=True)
        return end


class RemovesResults(Removes):
    name = "results.json"


class RemovesPickles(Removes):
    name = "results.pkl"


class ForgetsShared(ParallelLocalRunner):
    async def execute(self, run: Run) -> ExitStatus:
        (run.cwd / "shared").unlink(missing_ok=True)
        return await super().execute(run)


class AlwaysTheFirst(Simple):
    def variables(self, run: Run) -> Mapping[str, str]:
        return {**run.environment, "MULTIRUN_ATTEMPT": "1"}


class TriesByItself(ParallelLocalRunner):
    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        if not end.ok:
            self.begin(run)
            end = await super().execute(run)
        return end


class BringsBack(ParallelLocalRunner):
    rest: bytes = b""

    async def execute(self, run: Run) -> ExitStatus:
        if self.rest:
            (run.cwd / "rest").write_bytes(self.rest)
        end = await super().execute(run)
        self.rest = (run.cwd / "rest").read_bytes()
        return end


class ChangesItsMind(ParallelLocalRunner):
    async def drive_run(self, run: Run) -> None:
        await super().drive_run(run)
        run.host = "elsewhere"


class StartsLate(Simple):
    reports_start = True

    def ended(self, run: Run, end: ExitStatus) -> ExitStatus:
        self.begin(run)
        return end


class RepeatsAll(Simple):
    made: ClassVar[list[tuple[list[str], Path, dict[str, str]]]] = []

    async def open(self) -> None:
        for cmd, cwd, env in self.made:
            subprocess.run(cmd, cwd=cwd, env=env, check=False)

    async def execute(self, run: Run) -> ExitStatus:
        self.made.append((run.cmd, run.cwd, os.environ | dict(run.environment)))
        return await super().execute(run)


# Ending runs.


class LetsGo(Simple):
    kills = False


class WaitsInside(Simple):
    def _slots(self) -> None:
        return None

    async def open(self) -> None:
        self.own = asyncio.Semaphore(self.max_parallel or 1)

    async def execute(self, run: Run) -> ExitStatus:
        async with self.own:
            return await super().execute(run)


# What is left.


class Sweeps(ParallelLocalRunner):
    """Removes directories that the program has made, in the belief that nobody needs them."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        for name in run.cwd.iterdir():
            if name.is_dir() and name.name != ".multirun":
                shutil.rmtree(name)
        return end


class LeavesProcesses(Simple):
    def ended(self, run: Run, end: ExitStatus) -> ExitStatus:
        process = subprocess.Popen(["sleep", "60"], cwd=run.cwd)
        process.returncode = 0  # nobody waits for it
        return end


class LeavesTasks(ParallelLocalRunner):
    async def open(self) -> None:
        await super().open()
        self.left = asyncio.ensure_future(asyncio.sleep(60))


class LeavesThreads(ParallelLocalRunner):
    async def open(self) -> None:
        await super().open()
        threading.Thread(target=time.sleep, args=(10,), daemon=True).start()


class LeavesFilesOpen(ParallelLocalRunner):
    async def open(self) -> None:
        await super().open()
        os.open(os.devnull, os.O_RDONLY)


class LeavesTemporaryFiles(ParallelLocalRunner):
    async def open(self) -> None:
        await super().open()
        number, _ = tempfile.mkstemp()
        os.close(number)


class ClosesNothing(ParallelLocalRunner):
    async def open(self) -> None:
        await super().open()
        open(os.devnull)  # noqa: PTH123, SIM115 - so is it


class KeepsAll(Ends):
    kept: ClassVar[list[bytes]] = []

    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        self.kept.append(b"x" * 150_000)
        return end


class KeepsTasks(Ends):
    kept: ClassVar[list[asyncio.Future[None]]] = []

    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        self.kept.append(asyncio.ensure_future(asyncio.sleep(3600)))
        return end


class KeepsFilesOpen(Ends):
    def said(self, run: Run, end: ExitStatus) -> ExitStatus:
        os.open(os.devnull, os.O_RDONLY)
        return end


HURRIED = {"time_scale": 0.2}

BAD: dict[str, tuple[type[TaskRunner], dict[str, Any]]] = {
    "test_add_returns_a_pending_run_at_once": (SlowAdd, {}),
    "test_gather_returns_when_all_runs_have_ended": (GathersOne, {}),
    "test_gather_without_runs_returns_at_once": (WaitsForNothing, {}),
    "test_gather_may_be_called_again": (GathersAnew, {}),
    "test_runs_may_be_added_after_gather": (GathersOnce, {}),
    "test_the_task_of_a_run_can_be_awaited": (RaisesFailures, {}),
    "test_statuses_follow_the_table": (StartsTwice, {}),
    "test_the_counts_always_sum_to_the_runs_added": (CountsTheRunning, {}),
    "test_a_failing_run_leaves_its_siblings_alone": (EndsSiblings, {}),
    "test_no_more_runs_at_once_than_the_limit": (Unlimited, {}),
    "test_as_many_runs_at_once_as_the_limit_allows": (OneByOne, HURRIED),
    "test_a_run_that_waits_for_a_slot_is_pending": (Unlimited, {}),
    "test_the_event_loop_stays_free": (Blocks, {}),
    "test_two_runners_work_in_one_loop": (Alone, HURRIED),
    "test_one_runner_serves_two_calls_one_after_another": (ClosesForGood, {}),
    "test_a_run_that_exits_0_is_a_success": (KnowsNothing, {}),
    "test_a_run_that_exits_otherwise_is_a_failure": (AlwaysWell, {}),
    "test_the_exit_code_is_reported": (YesOrNo, {}),
    "test_a_missing_program_is_a_failure_not_an_exception": (MissesStarts, {}),
    "test_a_run_killed_by_a_signal_is_a_failure": (OnlyPositive, {}),
    "test_the_signal_that_ended_a_run_is_reported": (LikeAShell, {}),
    "test_the_working_directory_is_the_runs_own": (Elsewhere, {}),
    "test_awkward_directories_are_no_obstacle": (SimpleNames, {}),
    "test_awkward_arguments_arrive_as_they_are": (OneLine, {}),
    "test_standard_input_is_empty": (Inherits, {}),
    "test_a_mebibyte_on_both_streams_blocks_nobody": (NeverReads, {"time_scale": 0.1}),
    "test_a_mebibyte_on_both_streams_is_captured": (CapturesTheStart, {}),
    "test_output_is_captured_as_it_is": (CapturesText, {}),
    "test_files_that_a_run_writes_are_in_its_directory": (FetchesNothing, {}),
    "test_time_and_host_of_a_run_are_recorded": (KnowsNoTime, {}),
    "test_usage_of_a_run_is_measured": (MeasuresNothing, {}),
    "test_the_variables_of_a_run_are_set": (SetsNoVariables, {}),
    "test_variables_given_by_the_user_arrive": (SetsNoneOfTheUsers, {}),
    "test_parameters_are_found_from_any_directory": (HidesTheDirectory, {}),
    "test_results_come_back": (RemovesResults, {}),
    "test_results_that_are_no_json_come_back": (RemovesPickles, {}),
    "test_input_files_are_where_they_belong": (ForgetsShared, {}),
    "test_a_failed_run_is_tried_again": (AlwaysTheFirst, {}),
    "test_a_run_is_tried_no_more_often_than_asked": (TriesByItself, {}),
    "test_a_further_attempt_starts_clean": (BringsBack, {}),
    "test_a_further_attempt_finds_its_checkpoints": (Sweeps, {}),
    "test_too_many_failures_stop_the_sweep": (Unlimited, {}),
    "test_states_are_journaled": (ChangesItsMind, {}),
    "test_a_run_that_goes_on_is_journaled_as_running": (StartsLate, HURRIED),
    "test_resume_executes_only_the_rest": (RepeatsAll, {}),
    "test_cancelling_one_run_ends_it_alone": (LetsGo, {}),
    "test_a_run_cancelled_while_it_waits_is_never_started": (Unlimited, {}),
    "test_cancelling_gather_ends_all_runs": (LetsGo, {}),
    "test_a_cancelled_sweep_ends_its_runs_and_is_resumed": (LetsGo, {}),
    "test_cancelling_a_run_ends_its_whole_tree": (Simple, {}),
    "test_what_a_run_leaves_running_is_ended_with_it": (Simple, {}),
    "test_a_time_limit_ends_a_run": (LetsGo, {}),
    "test_a_time_limit_ends_a_whole_tree": (Simple, {}),
    "test_a_time_limit_does_not_count_the_wait_for_a_slot": (WaitsInside, {}),
    "test_no_process_is_left": (LeavesProcesses, HURRIED),
    "test_no_task_is_left": (LeavesTasks, HURRIED),
    "test_no_thread_is_left": (LeavesThreads, HURRIED),
    "test_no_open_file_is_left": (LeavesFilesOpen, HURRIED),
    "test_no_temporary_file_is_left": (LeavesTemporaryFiles, {}),
    "test_no_warning_is_left": (ClosesNothing, {}),
    "test_many_runs_cost_the_driver_little": (KeepsAll, {"many": 800}),
    "test_importing_the_hook_module_imports_no_backend": (
        ParallelLocalRunner,
        {"hook_module": "kit_bad_hooks"},
    ),
    "test_the_hook_module_names_its_runners": (
        ParallelLocalRunner,
        {"hook_module": "kit_bad_hooks"},
    ),
}

# Of what many runs cost, each kind by itself.
COSTLY: dict[str, tuple[type[TaskRunner], dict[str, Any]]] = {
    "tasks": (KeepsTasks, {"many": 1100}),
    "files": (KeepsFilesOpen, {"many": 600}),
}


class TestSimple(RunnerConformance):
    """The correct one, which most of the others differ from in one thing."""

    def make_runner(self, **options: Any) -> TaskRunner:
        return Simple(**options)


def _case(runner: type[TaskRunner], declared: Mapping[str, Any]) -> dict[str, Any]:
    def make_runner(self: RunnerConformance, **options: Any) -> TaskRunner:
        return runner(**options)

    return {"make_runner": make_runner, "__module__": __name__, **declared}


globals().update(
    {
        f"Test_{check}": type(f"Test_{check}", (RunnerConformance,), _case(*bad))
        for check, bad in (BAD | COSTLY).items()
    }
)
