"""For each fault check a runner that breaks the promise: the check must fail with it.

`test_kit_catches_faults.py` has pytest carry this out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core.errors import RunnerError
from multirun_core.testing.faults import FaultChecks

from multirun_core import (
    BackendError,
    ExitStatus,
    ParallelLocalRunner,
    Run,
    SubmitError,
    TaskRunner,
)

SCALE = 0.2  # they would have us wait in vain
CHECKS = sorted(name for name in dir(FaultChecks) if name.startswith("test_"))


class Bad:
    """What all bad runners have: a directory to remember things in."""

    state: Path

    def recall(self) -> None:
        """Called once `state` is known."""


# Runners with a memory of their own.


class LocksItself(Bad, ParallelLocalRunner):
    """Takes a lock when it is made; nobody takes it away from a dead one."""

    def recall(self) -> None:
        try:
            (self.state / "lock").touch(exist_ok=False)
        except FileExistsError:
            raise RunnerError("another one is at work") from None

    async def close(self) -> None:
        await super().close()
        (self.state / "lock").unlink()


class Claims(Bad, ParallelLocalRunner):
    """Refuses a run that anybody ever began."""

    def begin(self, run: Run) -> None:
        claim = self.state / f"{run.index}"
        self.refused = claim.exists()
        claim.touch()
        super().begin(run)
        if self.refused:
            run.cwd.rename(run.cwd.with_name("claimed"))

    async def execute(self, run: Run) -> ExitStatus:
        if self.refused:
            raise SubmitError("it is claimed")
        return await super().execute(run)


class ClaimsEarly(Claims):
    """Refuses a run that anybody was ever given."""

    def submit(self, run: Run) -> None:
        claim = self.state / f"{run.index}"
        self.refused = claim.exists()
        claim.touch()
        super().submit(run)

    def begin(self, run: Run) -> None:
        ParallelLocalRunner.begin(self, run)


class Replays(Bad, ParallelLocalRunner):
    """Keeps a queue on disk, which it empties at its end; what is left is executed again."""

    async def open(self) -> None:
        queue = self.state / "queue"
        for line in queue.read_text().splitlines() if queue.exists() else ():
            cmd, cwd, env = json.loads(line)
            subprocess.run(cmd, cwd=cwd, env=os.environ | env, check=False)
        await super().open()

    async def close(self) -> None:
        await super().close()
        (self.state / "queue").unlink(missing_ok=True)

    async def execute(self, run: Run) -> ExitStatus:
        with (self.state / "queue").open("a") as queue:
            print(json.dumps([run.cmd, str(run.cwd), dict(run.environment)]), file=queue)
        return await super().execute(run)


class RemembersEnds(Bad, ParallelLocalRunner):
    """Takes the end that a run had with an earlier driver for its end, whatever the attempt."""

    def recall(self) -> None:
        self.ends = {path.name: int(path.read_text()) for path in self.state.iterdir()}

    async def execute(self, run: Run) -> ExitStatus:
        if str(run.index) in self.ends:
            return ExitStatus(code=self.ends[str(run.index)])
        end = await super().execute(run)
        (self.state / f"{run.index}").write_text(f"{end.code}")
        return end


class KeepsBooks(Bad, ParallelLocalRunner):
    """Writes a large file beside the runs at its end, and trusts that it is whole."""

    async def execute(self, run: Run) -> ExitStatus:
        book = run.cwd.parent / "book"
        if book.exists() and book.stat().st_size < 2**21:
            raise BackendError("its book is torn")
        self.book = book
        return await super().execute(run)

    async def close(self) -> None:
        await super().close()
        self.book.write_bytes(bytes(2**21))


class Hoards(Bad, ParallelLocalRunner):
    """Fetches results to a place of its own, and brings back what it finds there."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        there, here = run.cwd / "results.json", self.state / f"{run.index}"
        if there.exists():
            here.write_bytes(there.read_bytes())
        elif here.exists():
            there.write_bytes(here.read_bytes())
        return end


# Runners that do not end what they began.


class Plain(Bad, TaskRunner):
    """Starts a run as a child in a session of its own, and knows nothing but that."""

    def command(self, run: Run) -> list[str]:
        return run.cmd

    def variables(self, run: Run) -> dict[str, str]:
        return os.environ | dict(run.environment) | dict(self.limits(run).env)

    async def start(self, run: Run) -> asyncio.subprocess.Process:
        with run.stdout.open("wb") as out, run.stderr.open("wb") as err:
            return await asyncio.create_subprocess_exec(
                *self.command(run),
                cwd=run.cwd,
                env=self.variables(run),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    async def execute(self, run: Run) -> ExitStatus:
        process = await self.start(run)
        try:
            code = await process.wait()
        finally:
            self.clean_up(process.pid, run)
        return ExitStatus(code=code)

    def clean_up(self, pid: int, run: Run) -> None:
        """End what is left."""


class EndsMainProcess(Plain):
    def clean_up(self, pid: int, run: Run) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class TerminatesGroup(Plain):
    def clean_up(self, pid: int, run: Run) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)


class KillsGroup(Plain):
    def clean_up(self, pid: int, run: Run) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


class KillsMarked(Plain):
    """Ends what has the run's variable in its environment."""

    def clean_up(self, pid: int, run: Run) -> None:
        mark = os.fsencode(f"MULTIRUN_RUN_DIR={run.cwd}\0")
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


class DiesWithParent(Plain):
    """Asks the system to kill a run's process when its driver dies, which its children survive."""

    def command(self, run: Run) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", *run.cmd]


class ForgetsWhatItStarts(Bad, TaskRunner):
    """Starts in a thread; cancelled meanwhile, nobody has the process."""

    async def execute(self, run: Run) -> ExitStatus:
        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(run.cmd, cwd=run.cwd)

        process = await asyncio.to_thread(start)
        try:
            return ExitStatus(code=await asyncio.to_thread(process.wait))
        finally:
            process.kill()


class Hasty(Bad, ParallelLocalRunner):
    """Kills without a warning."""

    def limits(self, run: Run) -> Any:
        return replace(super().limits(run), grace=0)


async def to_the_end(coroutine: Any) -> Any:
    """Await something to its end, and do not care who cancels."""
    task = asyncio.ensure_future(coroutine)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


class Deaf(Bad, ParallelLocalRunner):
    """Does not hear that it is cancelled."""

    async def execute(self, run: Run) -> ExitStatus:
        end: ExitStatus = await to_the_end(super().execute(run))
        return end


class DeafPlain(Plain):
    async def execute(self, run: Run) -> ExitStatus:
        end: ExitStatus = await to_the_end(super().execute(run))
        return end


# Runners that find their runs again, or not.


class Detached(Plain):
    """Starts a run so that it outlives its driver; a file beside its directory says how it ended.

    This one is good: see `test_kit_faults_detached.py`.
    """

    def command(self, run: Run) -> list[str]:
        script = 'trap : TERM; end=$1; shift; "$@"; echo $? > "$end.part"; mv "$end.part" "$end"'
        return ["sh", "-c", script, "sh", str(self.record(run)), *run.cmd]

    def record(self, run: Run) -> Path:
        name = hashlib.sha256(os.fsencode(run.cwd)).hexdigest()
        return self.state / f"{name} {run.attempts}"

    def start_detached(self, run: Run) -> int:
        """Start it so that nobody here waits for it; return its pid."""
        with run.stdout.open("wb") as out, run.stderr.open("wb") as err:
            process = subprocess.Popen(
                self.command(run),
                cwd=run.cwd,
                env=self.variables(run),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        process.returncode = 0
        return process.pid

    async def execute(self, run: Run) -> ExitStatus:
        pid = self.start_detached(run)
        try:
            await self.keep_handle(run, {"pid": pid})
        except BaseException:
            await self.end(run)
            raise
        return await self.look(run) or ExitStatus(code=None)

    async def reattach(self, run: Run) -> ExitStatus | None:
        return await self.look(run)

    async def look(self, run: Run) -> ExitStatus | None:
        """Wait for the run's end; None where it is gone without one."""
        try:
            while not self.record(run).exists():
                if not self.lives(run) and not self.record(run).exists():
                    return None
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await self.end(run)
            raise
        code = int(self.record(run).read_text())
        return ExitStatus(code=128 - code if code > 128 else code)

    async def end(self, run: Run) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.handle["pid"], number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits(run).grace):
                    while self.lives(run):
                        await asyncio.sleep(0.01)

    def lives(self, run: Run) -> bool:
        try:
            state = Path(f"/proc/{run.handle['pid']}/stat").read_text().rpartition(")")[2]
        except FileNotFoundError:
            return False
        return state.split()[0] != "Z"


class NeverFinds(Detached):
    """Says of every run of an earlier driver that it is gone."""

    async def reattach(self, run: Run) -> ExitStatus | None:
        return None


class FindsTheLiving(Detached):
    """Does not look at what those have left that have ended."""

    async def reattach(self, run: Run) -> ExitStatus | None:
        return await self.look(run) if self.lives(run) else None


# Runners that see an end that it was not.


class LosesSignals(Bad, ParallelLocalRunner):
    """Takes a negative exit code for none."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        return replace(end, code=max(end.code or 0, 0))


class TrustsResults(Bad, ParallelLocalRunner):
    """Takes results for a proof of success."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        return ExitStatus(code=0) if (run.cwd / "results.json").exists() else end


class Polishes(Bad, ParallelLocalRunner):
    """Removes results that it cannot read."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        path = run.cwd / "results.json"
        try:
            json.loads(path.read_text())
        except ValueError:
            path.unlink()
        return end


class ForgetsAttempts(Plain):
    """Takes what tells the attempts apart out of its way, and leaves children alive."""

    async def start(self, run: Run) -> asyncio.subprocess.Process:
        (run.cwd / ".multirun" / "attempt").unlink(missing_ok=True)
        return await super().start(run)


class WaitsForTheOutputsEnd(Bad, TaskRunner):
    """Takes the end of the output for the end of the run."""

    async def execute(self, run: Run) -> ExitStatus:
        process = await asyncio.create_subprocess_exec(
            *run.cmd, cwd=run.cwd, env=os.environ | dict(run.environment), stdout=subprocess.PIPE
        )
        if process.stdout is not None:
            run.stdout.write_bytes(await process.stdout.read())
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return ExitStatus(code=await process.wait())


class NeedsItsDirectory(Bad, ParallelLocalRunner):
    """Writes the end of a run into its directory, and gives up where it cannot."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        try:
            (run.cwd / "end").write_text(str(end.code))
        except FileNotFoundError:
            raise BackendError("cannot write an end down") from None
        return end


class NeedsPermission(Bad, ParallelLocalRunner):
    """Gives up where a directory does not let it in."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        if not run.cwd.stat().st_mode & 0o700:
            raise PermissionError(13, "Permission denied")  # which nobody denies to root
        return end


class NeedsOutput(Bad, ParallelLocalRunner):
    """Reads the output when a run has ended; without it the run is lost."""

    async def execute(self, run: Run) -> ExitStatus:
        end = await super().execute(run)
        return end if run.stdout.exists() else ExitStatus(code=None, reason="lost")


# Runners that pass on something else than they were given.


class JoinsWords(Plain):
    def command(self, run: Run) -> list[str]:
        return ["sh", "-c", " ".join(run.cmd)]


class FirstLines(Plain):
    """Passes variables line by line."""

    def variables(self, run: Run) -> dict[str, str]:
        return {name: text.partition("\n")[0] for name, text in super().variables(run).items()}


class ReadsScripts(Plain):
    """Has a shell read what may be a script."""

    def command(self, run: Run) -> list[str]:
        return ["sh", *run.cmd] if run.cmd[0].startswith("./") else run.cmd


BREAKERS: dict[str, type[Bad]] = {
    "test_a_driver_killed_before_the_first_run_is_resumed": LocksItself,
    "test_a_driver_killed_while_it_starts_a_run_is_resumed": Claims,
    "test_a_driver_killed_while_runs_wait_is_resumed": ClaimsEarly,
    "test_a_driver_killed_while_runs_run_is_resumed": Claims,
    "test_a_driver_killed_as_a_run_ends_is_resumed": Claims,
    "test_a_recorded_success_is_never_executed_again": Replays,
    "test_a_driver_killed_between_attempts_is_resumed": RemembersEnds,
    "test_runs_end_with_their_driver": Plain,
    "test_a_run_that_outlives_its_driver_is_adopted": NeverFinds,
    "test_a_run_that_ended_without_a_driver_is_adopted": FindsTheLiving,
    "test_a_driver_told_to_terminate_ends_its_runs_in_good_order": Hasty,
    "test_an_interrupted_driver_ends_its_runs_in_good_order": Deaf,
    "test_a_suspended_driver_that_was_superseded_writes_nothing_more": DeafPlain,
    "test_cancelled_with_a_child_that_ignores_term": TerminatesGroup,
    "test_cancelled_with_a_child_in_a_session_of_its_own": KillsGroup,
    "test_cancelled_with_a_child_without_environment": KillsMarked,
    "test_timed_out_with_a_child_that_ignores_term": TerminatesGroup,
    "test_timed_out_with_a_child_in_a_session_of_its_own": KillsGroup,
    "test_timed_out_with_a_child_without_environment": KillsMarked,
    "test_ended_with_a_child_that_ignores_term": TerminatesGroup,
    "test_ended_with_a_child_in_a_session_of_its_own": KillsGroup,
    "test_ended_with_a_child_without_environment": KillsMarked,
    "test_children_in_sessions_end_with_the_driver": DiesWithParent,
    "test_children_that_ignore_term_end_with_the_driver": DiesWithParent,
    "test_a_run_with_fifty_children_is_ended_wholly": EndsMainProcess,
    "test_cancelled_while_it_starts_a_run_leaks_nothing": ForgetsWhatItStarts,
    "test_killed_before_it_renames_its_results": LosesSignals,
    "test_killed_between_two_posts": TrustsResults,
    "test_killed_after_it_renamed_its_results": TrustsResults,
    "test_a_torn_results_file_is_told_and_harms_nobody": Polishes,
    "test_a_retry_that_posts_nothing_has_no_result": Hoards,
    "test_what_is_left_of_an_attempt_posts_no_result": ForgetsAttempts,
    "test_a_program_that_closes_its_streams_goes_on": WaitsForTheOutputsEnd,
    "test_hostile_names_of_inputs_are_found": JoinsWords,
    "test_hostile_values_of_variables_arrive_whole": FirstLines,
    "test_a_program_that_is_not_executable_fails_its_run_alone": ReadsScripts,
    "test_a_program_without_its_interpreter_fails_its_run_alone": ReadsScripts,
    "test_a_program_that_removes_its_directory_harms_no_other": NeedsItsDirectory,
    "test_a_program_that_removes_its_output_has_succeeded": NeedsOutput,
    "test_a_program_that_locks_its_directory_is_tried_again": NeedsPermission,
    "test_a_full_disk_is_told_and_the_sweep_resumed": KeepsBooks,
    "test_an_unwritable_directory_is_told_and_the_sweep_resumed": Deaf,
}


class WithState(FaultChecks):
    """The checks, with a directory for the runner to remember things in."""

    __test__ = False
    runner: ClassVar[type[Bad]]

    @pytest.fixture(autouse=True)
    def _remember(self, tmp_path: Path) -> None:
        self.state = tmp_path / "state"
        self.state.mkdir()

    def make_runner(self, **options: Any) -> Any:
        runner = self.runner(**options)
        runner.state = self.state
        runner.recall()
        return runner


# A class for each check, of which it has that one alone; at the top, where drivers find it.
for _check, _runner in BREAKERS.items():
    _rest: dict[str, Any] = dict.fromkeys(CHECKS)
    _rest.pop(_check, None)
    _name = "Bad_" + _check.removeprefix("test_")
    _body = {"__test__": True, "__module__": __name__, "runner": _runner, "time_scale": SCALE}
    globals()[_name] = type(_name, (WithState,), _rest | _body)
