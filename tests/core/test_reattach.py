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
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweeps import events, wait_until

from multirun_core import BackendError, ExitStatus, Run, Sweep, TaskRunner, multirun


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


def call(root: Path, runner: TaskRunner | None = None) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(3)],
        cmd=CMD,
        output_path=root,
        runner=runner or Detached(max_parallel=2),
        resume=True,
        progress=False,
    )


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


def test_a_run_that_lives_is_adopted_and_not_started_again(tmp_path: Path) -> None:
    root = tmp_path / "s"
    killed_driver(root)
    (root / "go").touch()
    sweep = call(root)
    assert sweep.results == [1, 1, 1]
    assert [run.attempts for run in sweep.runs] == [1, 1, 1]
    assert [path.read_text() for path in root.glob("runs/*/began")] == ["1\n"] * 3
    assert [run.attempts for run in Sweep.open(root).runs] == [1, 1, 1]


def test_one_that_ended_while_nobody_looked_is_adopted_too(tmp_path: Path) -> None:
    root = tmp_path / "s"
    killed_driver(root)
    (root / "go").touch()
    wait_until(lambda: len(list(root.glob("runs/*/ended"))) == 2)
    assert call(root).results == [1, 1, 1]
    assert [path.read_text() for path in root.glob("runs/*/began")] == ["1\n"] * 3


def test_one_that_is_gone_without_a_trace_is_executed_again(tmp_path: Path) -> None:
    root = tmp_path / "s"
    killed_driver(root)
    handles = [event["handle"] for event in events(root) if event["event"] == "handle"]
    for handle in handles:
        os.killpg(handle["pid"], signal.SIGKILL)
    (root / "go").touch()
    sweep = call(root)
    assert sweep.results == [2, 2, 1]
    assert [run.attempts for run in sweep.runs] == [2, 2, 1]


def test_a_runner_that_cannot_reattach_starts_again(tmp_path: Path) -> None:
    class Plain(Detached):
        reattach = TaskRunner.reattach

        async def execute(self, run: Run) -> ExitStatus:
            process = await asyncio.create_subprocess_exec(
                *run.cmd, cwd=run.cwd, env=os.environ | dict(run.environment)
            )
            return ExitStatus(code=await process.wait())

    assert Detached().can_reattach
    assert not Plain().can_reattach
    root = tmp_path / "s"
    killed_driver(root)
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
    assert [run.status for run in Sweep.open(root).runs] == ["pending"] * 3
    (root / "go").touch()
    sweep = call(root, Ending(max_parallel=3))
    assert sweep.results == [1, 1, 2]
    assert sorted(path.read_text() for path in root.glob("runs/*/began")) == ["1\n", "1\n", "2\n"]


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
        with call_in_thread(root) as second:
            wait_until(lambda: (root / "journal" / "0002.jsonl").exists())
            first.send_signal(signal.SIGCONT)
            assert first.wait(30) == 1
            (root / "go").touch()
        # Only now, since the runs have inherited the pipe.
        _, told = first.communicate(timeout=30)
        assert "SweepSupersededError" in told
        assert second[0].results == [1, 1, 1]
    finally:
        first.kill()
        first.wait()
    assert [path.read_text() for path in root.glob("runs/*/began")] == ["1\n"] * 3


@contextlib.contextmanager
def call_in_thread(root: Path) -> Iterator[list[Sweep]]:
    """Take the sweep over in a thread, which ends before this does."""
    sweeps: list[Sweep] = []

    def work() -> None:
        sweeps.append(
            multirun(
                runs=[{"n": n} for n in range(3)],
                cmd=CMD,
                output_path=root,
                runner=Ending(max_parallel=2),
                take_over=True,
                resume=True,
                progress=False,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield sweeps
    finally:
        thread.join(30)
