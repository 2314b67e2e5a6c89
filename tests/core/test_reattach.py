"""A runner whose runs outlive their driver: they are found again by their handle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner
from multirun_core._cli import cancel as cancel_command
from multirun_core._sweep import abandoned
from sweeps import InThread, events, remake_by, wait_until

from multirun_core import BackendError, ExitStatus, Run, Sweep, TaskRunner, multirun, multirunAsync


@pytest.fixture(autouse=True)
def let_detached_runs_end(tmp_path: Path) -> Iterator[None]:
    """They outlive their driver on purpose; where a test fails, they must not outlive the test."""
    yield
    if (tmp_path / "s").exists():
        (tmp_path / "s" / "go").touch()


class Detached(TaskRunner):
    """Starts each run in a session of its own; a file says how it ended."""

    async def execute(self, run: Run) -> ExitStatus:
        program = 'trap "" HUP; "$@" > stdout.txt; echo $? > ended.tmp; mv ended.tmp ended'
        process = subprocess.Popen(
            ["sh", "-c", program, "sh", *run.cmd],
            cwd=run.cwd,
            env=os.environ | dict(run.environment),
            start_new_session=True,
        )
        process.returncode = 0  # nobody here waits for it
        await self.keep_handle(run, {"pid": process.pid})
        end = await self.reattach(run)
        assert end is not None
        return end

    async def reattach(self, run: Run) -> ExitStatus | None:
        while not (run.cwd / "ended").exists():
            try:
                os.kill(run.handle["pid"], 0)
            except ProcessLookupError:
                if not (run.cwd / "ended").exists():
                    return None
            await asyncio.sleep(0.01)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(run.handle["pid"], 0)
        return ExitStatus(code=int((run.cwd / "ended").read_text()))


CMD = [
    "sh",
    "-c",
    'echo "$MULTIRUN_ATTEMPT" >> began; until test -e ../../go; do sleep 0.02; done; '
    "echo $MULTIRUN_ATTEMPT > results.json",
]


def calling(root: Path, runner: TaskRunner, **more: Any) -> dict[str, Any]:
    return {
        "runs": [{"n": n} for n in range(3)],
        "cmd": CMD,
        "output_path": root,
        "runner": runner,
        "resume": True,
        "progress": False,
        **more,
    }


def call(root: Path, runner: TaskRunner | None = None) -> Sweep:
    return multirun(**calling(root, runner or Detached(max_parallel=2)))


def sweeping(call: dict[str, Any]) -> asyncio.Future[Sweep]:
    return asyncio.ensure_future(multirunAsync(**call))


def finished(root: Path) -> list[Any]:
    """Let the runs end, carry on with their sweep, and return its results."""
    (root / "go").touch()
    return call(root).results


def marks(root: Path) -> list[str]:
    """Return what each run has left of the attempts that began."""
    return [path.read_text() for path in root.glob("runs/*/began")]


def statuses(root: Path) -> list[str]:
    return [run.status for run in Sweep.open(root).runs]


def left(root: Path) -> list[int | None]:
    """Return which runs of an earlier driver may go on."""
    return [run.index for run in abandoned.left_running(root)]


def killed_driver(root: Path) -> None:
    code = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from pathlib import Path
    from test_reattach import call
    call(Path(sys.argv[1]))
    """
    driver = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(root)])
    try:
        journal = root / "journal" / "0001.jsonl"
        wait_until(lambda: journal.exists() and journal.read_text().count('"handle"') >= 2)
        wait_until(lambda: len(list(root.glob("runs/*/began"))) == 2)
    finally:
        driver.kill()
        driver.wait()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the directory of a sweep whose driver was killed while two of its runs went on."""
    killed_driver(tmp_path / "s")
    return tmp_path / "s"


def test_a_run_that_lives_is_adopted_and_not_started_again(root: Path) -> None:
    (root / "go").touch()
    sweep = call(root)
    assert sweep.results == [1, 1, 1]
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]
    assert marks(root) == ["1\n"] * 3
    assert [run.attempts for run in Sweep.open(root).runs] == [1, 1, 1]


def test_one_that_ended_while_nobody_looked_is_adopted_too(root: Path) -> None:
    (root / "go").touch()
    wait_until(lambda: len(list(root.glob("runs/*/ended"))) == 2)
    assert call(root).results == [1, 1, 1]
    assert marks(root) == ["1\n"] * 3


def test_one_that_is_gone_without_a_trace_is_executed_again(root: Path) -> None:
    handles = [event["handle"] for event in events(root) if event["event"] == "handle"]
    for handle in handles:
        os.killpg(handle["pid"], signal.SIGKILL)
    (root / "go").touch()
    sweep = call(root)
    assert sweep.results == [2, 2, 1]
    assert [run.attempts for run in sweep.runs] == [2, 2, 1]


class OutOfReach(Detached):
    """Cannot end what it has started."""

    async def execute(self, run: Run) -> ExitStatus:
        try:
            return await super().execute(run)
        except asyncio.CancelledError:
            self.not_ended.add(run)
            raise


def test_one_that_could_not_be_ended_is_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "s"

    async def interrupted() -> None:
        sweep = sweeping(calling(root, OutOfReach(max_parallel=2)))
        while len(list(root.glob("runs/*/began"))) < 2:
            await asyncio.sleep(0.01)
        sweep.cancel()
        await asyncio.wait([sweep])
        assert sweep.cancelled()

    asyncio.run(interrupted())
    assert statuses(root) == ["pending", "pending", "skipped"]
    assert left(root) == [0, 1]
    (root / "go").touch()
    sweep = call(root)
    assert sweep.results == [1, 1, 1]
    assert marks(root) == ["1\n"] * 3


class HandedOver(Detached):
    """Tells of the start of a run only much later, as a queue does."""

    reports_start = True

    async def execute(self, run: Run) -> ExitStatus:
        try:
            return await super().execute(run)
        except asyncio.CancelledError:
            self.not_ended.add(run)
            raise


class NeverOpen(Detached):
    async def open(self) -> None:
        await asyncio.Event().wait()


def test_runs_that_nobody_came_to_look_for_are_left_as_they_are(root: Path) -> None:
    """The next driver is interrupted while it connects: it has not ended anything."""

    async def interrupted() -> None:
        sweep = sweeping(calling(root, NeverOpen(max_parallel=2)))
        await asyncio.wait([sweep], timeout=0.5)
        sweep.cancel()
        await asyncio.wait([sweep])

    asyncio.run(interrupted())
    assert left(root) == [0, 1]
    assert finished(root) == [1, 1, 1]
    assert marks(root) == ["1\n"] * 3


def test_runs_that_are_not_asked_for_are_left_as_they_are(root: Path) -> None:
    threading.Timer(0.5, (root / "go").touch).start()
    multirun(**calling(root, Detached(max_parallel=2), rerun=[2], resume=False))
    assert left(root) == [0, 1]
    assert call(root).results == [1, 1, 1]
    assert marks(root) == ["1\n"] * 3


def test_a_handle_of_a_further_try_is_found_though_the_run_had_failed(tmp_path: Path) -> None:
    root = tmp_path / "s"
    script = 'test "$MULTIRUN_ATTEMPT" != 1 || exit 1; ' + CMD[2]
    one: dict[str, Any] = {
        "runs": [{}],
        "cmd": ["sh", "-c", script],
        "output_path": root,
        "progress": False,
        "resume": True,
    }
    assert multirun(**one, runner=Detached()).runs[0].status == "failure"

    async def let_go() -> None:
        runner = HandedOver()
        sweep = sweeping({**one, "runner": runner})
        while not list(root.glob("runs/*/began")):
            await asyncio.sleep(0.01)
        runner.letting_go = True
        sweep.cancel()
        await asyncio.wait([sweep])

    asyncio.run(let_go())
    assert left(root) == [0]
    (root / "go").touch()
    done = multirun(**one, runner=Detached())
    assert (done.results, done.runs[0].attempts) == ([2], 2)
    assert (root / "runs/000000/began").read_text() == "2\n"


class Forgetful(Detached):
    async def reattach(self, run: Run) -> ExitStatus | None:
        return run.handle["no such thing"]


def test_a_run_that_cannot_be_looked_for_is_given_no_end(root: Path) -> None:
    with pytest.raises(BackendError, match="may go on, and cannot be found again"):
        call(root, Forgetful(max_parallel=2))
    assert {0, 1} <= set(left(root))
    assert finished(root) == [1, 1, 1]
    assert marks(root) == ["1\n"] * 3


def test_a_runner_that_cannot_reattach_starts_again(root: Path) -> None:
    class Plain(Detached):
        reattach = TaskRunner.reattach

        async def execute(self, run: Run) -> ExitStatus:
            process = await asyncio.create_subprocess_exec(
                *run.cmd, cwd=run.cwd, env=os.environ | dict(run.environment)
            )
            return ExitStatus(code=await process.wait())

    assert Detached().can_reattach
    assert not Plain().can_reattach
    (root / "go").touch()
    wait_until(lambda: len(list(root.glob("runs/*/ended"))) == 2)
    assert call(root, Plain(max_parallel=2)).results == [2, 2, 1]


class Ending(Detached):
    """Ends its runs when they are cancelled, but not when its driver lets go of them."""

    async def execute(self, run: Run) -> ExitStatus:
        try:
            return await super().execute(run)
        except asyncio.CancelledError:
            if not self.letting_go:
                os.killpg(run.handle["pid"], signal.SIGKILL)
            raise


class SlowToOpen(Ending):
    async def open(self) -> None:
        assert self.root is not None
        while list(self.root.glob("journal/cancel-*")):
            await asyncio.sleep(0.01)


def test_a_run_of_an_earlier_driver_that_is_cancelled_before_it_is_found_is_ended(
    root: Path,
) -> None:
    (root / "journal" / "cancel-1.json").write_text('{"runs": [0]}')
    others = threading.Timer(1.0, (root / "go").touch)

    async def carried_on() -> Sweep:
        sweep = sweeping(calling(root, SlowToOpen(max_parallel=2)))
        while not any(event["event"] == "end" for event in events(root)):
            await asyncio.sleep(0.01)
        others.start()
        return await sweep

    sweep = asyncio.run(carried_on())
    assert [(run.status, run.reason) for run in sweep.runs] == [
        ("failure", "cancelled"), ("success", None), ("success", None)
    ]  # fmt: skip
    assert marks(root) == ["1\n"] * 3


class Failing(Ending):
    """Loses its backend when its third run begins."""

    async def execute(self, run: Run) -> ExitStatus:
        if run.index == 2:
            while len(list(run.cwd.parent.glob("*/began"))) < 2:
                await asyncio.sleep(0.01)
            raise BackendError("the cluster is gone")
        return await super().execute(run)


def test_what_is_let_go_after_an_error_stays_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with pytest.raises(BackendError, match="the cluster is gone"):
        call(root, Failing(max_parallel=3))
    assert statuses(root) == ["pending"] * 3
    (root / "go").touch()
    sweep = call(root, Ending(max_parallel=3))
    assert sweep.results == [1, 1, 2]
    assert sorted(marks(root)) == ["1\n", "1\n", "2\n"]


def test_a_superseded_driver_leaves_alive_what_its_successor_adopted(tmp_path: Path) -> None:
    root = tmp_path / "s"
    code = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from pathlib import Path
    from test_reattach import Ending, call
    call(Path(sys.argv[1]), Ending(max_parallel=2))
    """
    first = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(root)], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: len(list(root.glob("runs/*/began"))) == 2)
        wait_until(lambda: (root / "journal/0001.jsonl").read_text().count('"handle"') >= 2)
        first.send_signal(signal.SIGSTOP)
        second = InThread(lambda: multirun(**calling(root, Ending(max_parallel=2), take_over=True)))
        wait_until(lambda: (root / "journal" / "0002.jsonl").exists())
        first.send_signal(signal.SIGCONT)
        assert first.wait(30) == 1
        (root / "go").touch()
        assert second.result(30).results == [1, 1, 1]
        # Only now, since the runs have inherited the pipe.
        _, told = first.communicate(timeout=30)
        assert "SweepSupersededError" in told
    finally:
        first.kill()
        first.wait()
    assert marks(root) == ["1\n"] * 3


class Reattaching(Ending):
    """Ends what it has found again, too."""

    async def reattach(self, run: Run) -> ExitStatus | None:
        try:
            return await super().reattach(run)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.handle["pid"], signal.SIGKILL)
            raise


class Rack(Reattaching):
    """Cannot be asked at first."""

    async def end_left(self, runs: Sequence[Run]) -> None:
        raise BackendError("the rack does not answer")


class Half(Reattaching):
    """Cannot end one of its runs."""

    async def end_left(self, runs: Sequence[Run]) -> None:
        await super().end_left(runs[1:])
        self.not_ended.add(runs[0])
        raise BackendError("one half of the rack does not answer")


@pytest.fixture
def remade(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type[TaskRunner]], None]]:
    """Choose what a sweep's runner is made anew as."""

    def choose(kind: type[TaskRunner]) -> None:
        remake_by(monkeypatch, lambda: kind(max_parallel=2))

    return choose


Remade: TypeAlias = Callable[[type[TaskRunner]], None]


def cancel(root: Path, *words: str) -> Any:
    return CliRunner().invoke(cancel_command.command, [str(root), *words])


def is_there(group: int) -> bool:
    """Whether a process group has a process, if only one that is not yet reaped."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_dead_driver_left_is_ended_by_cancel(root: Path, remade: Remade) -> None:
    pids = [event["handle"]["pid"] for event in events(root) if event["event"] == "handle"]
    remade(Reattaching)
    said = cancel(root)
    assert said.exit_code == 0, said.output
    assert "2 run(s) ended from here, 0 had ended before" in said.output
    wait_until(lambda: not any(is_there(pid) for pid in pids))
    assert statuses(root) == ["failure", "failure", "pending"]
    assert [run.reason for run in Sweep.open(root).runs] == ["cancelled", "cancelled", None]
    assert finished(root) == [2, 2, 1]


def test_what_ended_well_before_it_was_cancelled_stays_so(root: Path, remade: Remade) -> None:
    (root / "go").touch()
    wait_until(lambda: len(list(root.glob("runs/*/ended"))) == 2)
    remade(Reattaching)
    said = cancel(root)
    assert "0 run(s) ended from here, 2 had ended before" in said.output
    assert Sweep.open(root).results == [1, 1, None]
    assert "nobody is working on this sweep" in str(cancel(root).exception)


class Holding(Detached):
    """Cannot end what it has found again."""

    async def reattach(self, run: Run) -> ExitStatus | None:
        try:
            return await super().reattach(run)
        except asyncio.CancelledError:
            self.not_ended.add(run)
            raise


def test_what_cancel_cannot_end_is_as_it_was(root: Path, remade: Remade) -> None:
    remade(Holding)
    assert "2 runs could not be seen to end, and may go on" in str(cancel(root).exception)
    assert statuses(root) == ["pending"] * 3
    assert finished(root) == [1, 1, 1]


def test_one_of_those_left_may_be_ended(root: Path, remade: Remade) -> None:
    remade(Reattaching)
    assert "1 run(s) ended from here" in cancel(root, "1").output
    assert statuses(root) == ["pending", "failure", "pending"]
    assert finished(root) == [1, 2, 1]


def test_a_backend_that_cannot_be_asked_leaves_all_as_it_was(root: Path, remade: Remade) -> None:
    remade(Rack)
    said = cancel(root)
    assert "the rack does not answer" in str(said.exception)
    assert statuses(root) == ["pending"] * 3
    assert finished(root) == [1, 1, 1]


def test_what_could_be_ended_is_written_down_where_the_rest_goes_on(
    root: Path, remade: Remade
) -> None:
    remade(Half)
    assert "one half of the rack does not answer" in str(cancel(root).exception)
    assert statuses(root) == ["pending", "failure", "pending"]
    assert left(root) == [0]
    assert finished(root) == [1, 2, 1]
