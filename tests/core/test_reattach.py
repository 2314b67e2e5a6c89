"""A runner whose runs outlive their driver: they are found again by their handle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from sweeps import events, wait_until

from multirun_core import ExitStatus, Run, Sweep, TaskRunner, multirun


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
