"""Runs that the launcher starts by itself when another has succeeded, and at no other time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from launcher_tools import HOSTILE, Bench, living, marker, opened, see, until
from multirun_core._runners.launcher.ahead import Ahead
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.slots import Slots

from multirun_core import ExitStatus, ParallelLocalRunner, Run, TaskRunner, multirun

BOUND = 20.0
WAIT = "until test -e ../go; do sleep 0.01; done"


def line_up(bench: Bench, *argv: str, grace: float = 0.3) -> Ahead:
    """Line a program up, with files of its own for its output."""
    assert isinstance(bench.launcher, Launcher)
    folder = bench.directory()
    out, err = str(folder / "stdout.txt"), str(folder / "stderr.txt")
    return bench.launcher.line_up(list(argv), folder, {}, out, err, timeout=None, grace=grace)


@pytest.mark.asyncio
async def test_the_next_is_started_without_the_driver(tmp_path: Path) -> None:
    marks = [tmp_path / f"mark {n}" for n in range(3)]
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run("sleep", "0.2"))
        ahead = [line_up(bench, "touch", str(mark)) for mark in marks]
        await asyncio.sleep(0)  # the messages are sent
        await asyncio.sleep(0)
        see(marks[2])
        assert not first.done()
        ends = [await one.run() for one in ahead]
        assert [end.code for end in (await first, *ends)] == [0, 0, 0, 0]
        times = [end.started for end in (await first, *ends)]
        assert times == sorted(times, key=lambda when: when or 0.0)


@pytest.mark.asyncio
@pytest.mark.parametrize("words", [["false"], ["sh", "-c", "kill -9 $$"], ["no-such-program"]])
async def test_after_a_failure_the_driver_decides(tmp_path: Path, words: list[str]) -> None:
    mark = tmp_path / "mark"
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run(*words))
        ahead = line_up(bench, "touch", str(mark))
        assert not (await first).ok
        assert (await bench.run("false")).code == 1  # whatever the launcher would do it has done
        assert not ahead.begun
        assert not mark.exists()
        assert (await ahead.run()).ok
        assert mark.exists()
        assert (await bench.run("true")).ok


@pytest.mark.asyncio
async def test_after_a_time_limit_the_driver_decides(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        begins = "trap 'exit 0' TERM; while :; do sleep 0.01; done"
        first = asyncio.ensure_future(bench.run("sh", "-c", begins, limit=0.2, grace=10))
        ahead = line_up(bench, "true")
        end = await first
        assert (end.code, end.reason) == (0, "timeout")
        assert (await bench.run("false")).code == 1
        assert not ahead.begun
        assert not await ahead.withdraw()


@pytest.mark.asyncio
async def test_what_is_withdrawn_is_never_started(tmp_path: Path) -> None:
    marks = [tmp_path / f"mark {n}" for n in range(3)]
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run("sleep", "0.2"))
        one, two, three = (line_up(bench, "touch", str(mark)) for mark in marks)
        assert not await two.withdraw()
        assert not await two.withdraw()
        assert (await first).ok
        assert (await one.run()).ok
        assert (await three.run()).ok
        assert [mark.exists() for mark in marks] == [True, False, True]


@pytest.mark.asyncio
async def test_what_has_begun_is_ended_when_it_is_withdrawn(tmp_path: Path) -> None:
    word = marker()
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run("true"))
        ahead = line_up(bench, *HOSTILE, word, "stay", "daemon", "deaf")
        assert (await first).ok
        await until(lambda: living(word))
        assert await ahead.withdraw()
        assert not living(word)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["end all", "close"])
async def test_nothing_begins_when_all_is_ended(tmp_path: Path, how: str) -> None:
    mark, began = tmp_path / "mark", tmp_path / "began"
    script = 'trap "exit 0" TERM; touch "$0"; while :; do sleep 0.05; done'
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run("sh", "-c", script, str(began), grace=20))
        ahead = line_up(bench, "touch", str(mark))
        await until(began.exists)
        if how == "close":
            await bench.launcher.close()
        else:
            bench.launcher.end_all(20)
        assert (await first).code == 0
        assert not await ahead.withdraw()
        assert not mark.exists()


@pytest.mark.asyncio
@pytest.mark.long
async def test_for_a_driver_that_is_silent_nothing_is_begun(tmp_path: Path) -> None:
    """Another one may have taken over by then."""
    mark = tmp_path / "mark"
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run("sh", "-c", WAIT))
        ahead = line_up(bench, "touch", str(mark))
        await asyncio.sleep(0.1)
        time.sleep(31)
        (tmp_path / "go").touch()
        time.sleep(0.5)
        assert not mark.exists()
        assert (await first).ok
        assert not ahead.begun
        assert (await ahead.run()).ok


@pytest.mark.asyncio
async def test_a_launcher_that_is_killed_has_lost_what_had_begun_and_nothing_else(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as bench:
        first = asyncio.ensure_future(bench.run("true"))
        begun, waiting = line_up(bench, "sleep", "60"), line_up(bench, "true")
        assert (await first).ok
        await until(lambda: begun.begun)
        os.kill(bench.launcher.identity.pid, signal.SIGKILL)
        assert (await begun.run()).reason == "lost"
        assert begun.held_by(bench.launcher)
        assert not waiting.held_by(bench.launcher)


DRIVER = """
import asyncio, os, sys, time
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from launcher_tools import opened
from test_launcher_ahead import line_up

async def main():
    async with opened(Path("runs")) as bench:
        first = asyncio.ensure_future(bench.run("sh", "-c", "touch began; sleep 0.5"))
        line_up(bench, "touch", sys.argv[2])
        while not (bench.folder / "began").exists() and not list(bench.folder.glob("*/began")):
            await asyncio.sleep(0.005)
        print(bench.launcher.identity.pid, flush=True)
        time.sleep(1000)

asyncio.run(main())
"""


def test_when_the_driver_is_killed_nothing_more_begins(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = [sys.executable, "-c", DRIVER, repr(sys.path), str(mark)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        launcher = os.pidfd_open(int(child.stdout.readline()))
        child.kill()
    try:
        asyncio.run(_readable(launcher))
    finally:
        os.close(launcher)
    assert not mark.exists()


async def _readable(descriptor: int) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        await asyncio.wait_for(over.wait(), BOUND)
    finally:
        loop.remove_reader(descriptor)


# The runner of this machine, which lines its runs up.


def add(runner: ParallelLocalRunner, folder: Path, script: str) -> Run:
    folder.mkdir()
    return runner.add(["sh", "-c", script], folder)


@pytest.mark.asyncio
async def test_a_run_that_began_unheard_is_ended_when_it_is_cancelled(tmp_path: Path) -> None:
    runner, word = ParallelLocalRunner(max_parallel=1, grace=0.3), marker()
    first = add(runner, tmp_path / "1", WAIT)
    second = add(runner, tmp_path / "2", f"touch mark; sleep 60; : {word}")
    third = add(runner, tmp_path / "3", "exit 0")
    await until(lambda: first.status == "running")
    await asyncio.sleep(0.05)  # the others are lined up
    (tmp_path / "go").touch()
    see(tmp_path / "2/mark")
    assert (second.status, second.task is not None) == ("pending", True)
    assert second.task is not None
    second.task.cancel()
    await runner.gather()
    assert (first.status, third.status) == ("success", "success")
    assert (second.status, second.reason, second.attempts) == ("failure", "cancelled", 1)
    assert not living(word)


@pytest.mark.asyncio
async def test_a_run_that_waits_is_skipped_when_it_is_cancelled(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1)
    first = add(runner, tmp_path / "1", WAIT)
    second = add(runner, tmp_path / "2", "touch mark")
    third = add(runner, tmp_path / "3", "exit 0")
    await until(lambda: first.status == "running")
    await asyncio.sleep(0.05)
    assert second.task is not None
    second.task.cancel()
    await asyncio.wait([second.task])
    (tmp_path / "go").touch()
    await runner.gather()
    assert [run.status for run in (first, second, third)] == ["success", "skipped", "success"]
    assert not (tmp_path / "2/mark").exists()


def test_after_too_many_failures_nothing_begins(tmp_path: Path) -> None:
    script = "test $MULTIRUN_PARAM_N != 2"
    sweep = multirun(
        runs=[{"n": n} for n in range(12)],
        cmd=["sh", "-c", f"touch began; {script}"],
        output_path=tmp_path / "s",
        runner=ParallelLocalRunner(max_parallel=1),
        max_failures=0,
    )
    statuses = [run.status for run in sweep.runs]
    assert statuses == ["success"] * 2 + ["failure"] + ["skipped"] * 9
    assert [(run.cwd / "began").exists() for run in sweep.runs] == [True] * 3 + [False] * 9


def test_what_has_begun_when_there_are_too_many_failures_may_end(tmp_path: Path) -> None:
    seen: Counter[tuple[str, str | None]] = Counter()
    for number in range(3):
        sweep = multirun(
            runs=[{"n": n} for n in range(40)],
            cmd=["sh", "-c", "touch began; test $MULTIRUN_PARAM_N != 20"],
            output_path=tmp_path / f"{number}",
            runner=ParallelLocalRunner(max_parallel=4),
            max_failures=0,
        )
        for run in sweep.runs:
            seen[run.status, run.reason] += 1
            assert (run.cwd / "began").exists() == (run.status != "skipped")
    assert set(seen) == {("success", None), ("failure", "exit"), ("skipped", "max_failures")}
    assert seen["failure", "exit"] == 3


async def deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ParallelLocalRunner, Any]:
    """Return a runner whose second run has begun, and what makes it hear of that; a third waits."""
    runner = ParallelLocalRunner(max_parallel=1)
    first = add(runner, tmp_path / "1", WAIT)
    add(runner, tmp_path / "2", f"echo x >>ran; touch mark; {WAIT.replace('go', 'end')}")
    add(runner, tmp_path / "3", "echo x >>ran")
    await until(lambda: first.status == "running")
    await asyncio.sleep(0.05)
    launcher: Any = runner._launcher
    connection, held = launcher._connection, []
    monkeypatch.setattr(connection, "_received", held.append)
    (tmp_path / "go").touch()
    await until((tmp_path / "2/mark").exists)

    def hear() -> None:
        monkeypatch.undo()
        for message in held:
            connection._received(message)

    return runner, hear


@pytest.mark.asyncio
async def test_what_is_dropped_goes_on_if_it_has_begun_unheard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, hear = await deaf(tmp_path, monkeypatch)
    for run in runner.runs[1:]:
        assert run.status == "pending"
        runner.drop(run)
        runner.drop(run)
    await asyncio.sleep(0.05)
    hear()
    (tmp_path / "end").touch()
    await runner.gather()
    assert [run.status for run in runner.runs] == ["success", "success", "skipped"]
    assert (tmp_path / "2/ran").read_text() == "x\n"
    assert not (tmp_path / "3/ran").exists()


@pytest.mark.asyncio
async def test_what_is_dropped_and_then_cancelled_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, hear = await deaf(tmp_path, monkeypatch)
    for run in runner.runs[1:]:
        runner.drop(run)
    ending = asyncio.ensure_future(runner.cancel_all())
    await asyncio.sleep(0.05)
    hear()
    await asyncio.wait_for(ending, BOUND)
    assert [run.status for run in runner.runs[1:]] == ["failure", "skipped"]
    assert runner.runs[1].reason == "cancelled"
    await runner.gather()


@pytest.mark.asyncio
async def test_what_is_dropped_is_not_executed_when_the_launcher_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it said of one that has begun that it never did."""
    runner, _ = await deaf(tmp_path, monkeypatch)
    for run in runner.runs[1:]:
        runner.drop(run)
    launcher: Any = runner._launcher
    os.kill(launcher.identity.pid, signal.SIGKILL)
    await runner.gather()
    assert [run.status for run in runner.runs[1:]] == ["failure", "skipped"]
    assert (tmp_path / "2/ran").read_text() == "x\n"
    assert not (tmp_path / "3/ran").exists()


@pytest.mark.asyncio
async def test_what_is_dropped_while_nothing_has_begun_is_skipped(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1)
    first = add(runner, tmp_path / "1", WAIT)
    second = add(runner, tmp_path / "2", "touch ran")
    await until(lambda: first.status == "running" and second in runner._ahead)
    runner.drop(first)
    runner.drop(second)
    await until(lambda: second.done)
    (tmp_path / "go").touch()
    await runner.gather()
    assert [run.status for run in runner.runs] == ["success", "skipped"]
    assert not (tmp_path / "2/ran").exists()


@pytest.mark.asyncio
async def test_what_a_killed_launcher_had_begun_unheard_is_lost_and_not_executed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, _ = await deaf(tmp_path, monkeypatch)  # it dies before it tells
    launcher: Any = runner._launcher
    os.kill(launcher.identity.pid, signal.SIGKILL)
    await runner.gather()
    assert [run.status for run in runner.runs] == ["failure", "failure", "success"]
    assert [run.reason for run in runner.runs] == ["lost", "lost", None]
    assert [run.attempts for run in runner.runs] == [1, 1, 1]
    assert [(tmp_path / n / "ran").read_text() for n in "23"] == ["x\n"] * 2


@pytest.mark.asyncio
@pytest.mark.parametrize("word", ["\ud800", "\0"])
async def test_what_no_program_can_be_given_fails_its_run_alone(tmp_path: Path, word: str) -> None:
    runner = ParallelLocalRunner(max_parallel=1)
    runs = [add(runner, tmp_path / "1", "exit 0")]
    (tmp_path / "2").mkdir()
    runs += [runner.add(["echo", word], tmp_path / "2"), add(runner, tmp_path / "3", "exit 0")]
    await runner.gather()
    assert [(run.status, run.reason) for run in runs] == [
        ("success", None),
        ("failure", "submit"),
        ("success", None),
    ]


@pytest.mark.asyncio
async def test_when_all_is_killed_what_waits_is_executed_all_the_same(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1)
    runs = [add(runner, tmp_path / "0", "sleep 60")]
    runs += [add(runner, tmp_path / f"{n}", "exit 0") for n in range(1, 5)]
    await until(lambda: runs[0].status == "running")
    await asyncio.sleep(0.05)
    runner.hurry()
    await runner.gather()
    assert [run.status for run in runs] == ["failure"] + ["success"] * 4
    assert [run.attempts for run in runs] == [1] * 5


class Looks(TaskRunner):
    """Notes whether the journal gathers lines, beside how many runs wait."""

    def __init__(self) -> None:
        super().__init__(max_parallel=1)
        self.seen: list[tuple[bool, bool]] = []

    async def execute(self, run: Run) -> ExitStatus:
        keeper: Any = run.keeper
        self.seen.append((keeper._journal.hasty, bool(keeper.counts["pending"])))
        return ExitStatus(code=0)


def test_lines_are_gathered_as_long_as_runs_wait(tmp_path: Path) -> None:
    runner = Looks()
    multirun(
        runs=[{"n": n} for n in range(5)], cmd=["x"], output_path=tmp_path / "s", runner=runner
    )
    assert runner.seen == [(False, True)] * 4 + [(True, False)]


def test_never_more_at_once_than_there_are_slots(tmp_path: Path) -> None:
    chance = random.Random(7)
    sweep = multirun(
        runs=[{"code": chance.choice([0, 0, 0, 1])} for _ in range(120)],
        cmd=["sh", "-c", "exit $MULTIRUN_PARAM_CODE"],
        output_path=tmp_path / "s",
        runner=ParallelLocalRunner(max_parallel=3, retries=1, retry_delay=0.001),
    )
    assert {run.status for run in sweep.runs} == {"success", "failure"}
    assert _most_at_once(sweep.runs) == 3


@pytest.mark.asyncio
async def test_who_asked_for_the_slot_before_a_run_gets_it_before(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1)
    assert runner.semaphore is not None
    first = add(runner, tmp_path / "1", WAIT)
    await until(lambda: first.status == "running")
    other = asyncio.ensure_future(runner.semaphore.acquire())
    await asyncio.sleep(0)
    add(runner, tmp_path / "2", "touch mark")
    await asyncio.sleep(0.05)
    (tmp_path / "go").touch()
    time.sleep(0.3)
    assert not (tmp_path / "2/mark").exists()
    assert await other
    await asyncio.sleep(0.1)
    assert not (tmp_path / "2/mark").exists()
    runner.semaphore.release()
    await runner.gather()
    assert [run.status for run in runner.runs] == ["success"] * 2


def _most_at_once(runs: list[Run]) -> int:
    edges = [(run.started or 0.0, 1) for run in runs] + [(run.ended or 0.0, -1) for run in runs]
    now = most = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


class Careful(ParallelLocalRunner):
    """Does something of its own before each run."""

    async def execute(self, run: Run) -> ExitStatus:
        (Path(run.cwd) / "prepared").touch()
        return await super().execute(run)


@pytest.mark.asyncio
async def test_who_overrides_execute_is_asked_before_each_run(tmp_path: Path) -> None:
    runner = Careful(max_parallel=1)
    first = add(runner, tmp_path / "1", WAIT)
    add(runner, tmp_path / "2", "touch mark; test -e prepared")
    await until(lambda: first.status == "running")
    await asyncio.sleep(0.05)
    (tmp_path / "go").touch()
    time.sleep(0.3)
    assert not (tmp_path / "2/mark").exists()
    await runner.gather()
    assert [run.status for run in runner.runs] == ["success"] * 2


@pytest.mark.asyncio
async def test_after_the_launcher_was_killed_the_others_run_with_a_new_one(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1)
    runs = [add(runner, tmp_path / "0", "kill -9 $PPID; sleep 60")]
    runs += [add(runner, tmp_path / f"{n}", "exit 0") for n in range(1, 12)]
    await runner.gather()
    assert (runs[0].status, runs[0].reason) == ("failure", "lost")
    assert [(run.status, run.attempts) for run in runs[1:]] == [("success", 1)] * 11
    assert _most_at_once(runs[1:]) == 1


@pytest.mark.asyncio
async def test_slots_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    slots, order = Slots(1), list[int]()
    assert await slots.acquire()

    async def take(number: int) -> None:
        async with slots:
            order.append(number)

    tasks = [asyncio.ensure_future(take(number)) for number in range(3)]
    await asyncio.sleep(0)
    place = slots.enter()
    tasks += [asyncio.ensure_future(take(number)) for number in range(4, 6)]
    await asyncio.sleep(0)
    assert slots.locked()
    tasks[1].cancel()
    slots.release()
    await place.turn
    assert order == [0, 2]
    slots.leave(place)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 4, 5]
    assert (slots.locked(), slots.outsiders) == (False, 0)


def test_slots_belong_to_one_event_loop() -> None:
    slots = Slots(1)
    asyncio.run(slots.acquire())

    async def wait() -> None:
        task = asyncio.ensure_future(slots.acquire())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(wait())
    with pytest.raises(RuntimeError, match="different event loop"):
        asyncio.run(slots.acquire())


@pytest.mark.parametrize("cancelled_first", [False, True])
@pytest.mark.asyncio
async def test_who_is_cancelled_as_the_slot_comes_passes_it_on(cancelled_first: bool) -> None:
    slots = Slots(1)
    await slots.acquire()
    first = asyncio.ensure_future(slots.acquire())
    second = asyncio.ensure_future(slots.acquire())
    await asyncio.sleep(0)
    for step in (first.cancel, slots.release) if cancelled_first else (slots.release, first.cancel):
        step()
    assert await asyncio.wait_for(second, BOUND)
    slots.release()
    assert not slots.locked()


@pytest.mark.asyncio
async def test_a_semaphore_of_ones_own_is_kept_to(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=3)
    runner.semaphore = asyncio.Semaphore(1)
    runs = [add(runner, tmp_path / f"{n}", "exit 0") for n in range(6)]
    await runner.gather()
    assert [run.status for run in runs] == ["success"] * 6
    assert _most_at_once(runs) == 1


@pytest.mark.asyncio
async def test_the_variables_of_a_run_that_was_lined_up_are_its_own(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1, env={"WORD": "a b'c"})
    for n in range(4):
        add(runner, tmp_path / f"{n}", 'printf "%s" "$WORD"')
    await runner.gather()
    assert [(tmp_path / f"{n}/stdout.txt").read_text() for n in range(4)] == ["a b'c"] * 4
