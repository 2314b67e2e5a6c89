"""Whole process trees end with their run, and no sibling's with them."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bystander import at_a_terminal
from launcher_tools import AT_ONCE, AWKWARD, HOSTILE, KINDS, living, marker, opened, until
from multirun_core._runners.launcher import tree
from multirun_core._runners.launcher.client import Launcher


def messages_bytes(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (soft, hard))


@pytest.fixture(params=["marks", "no marks"])
def marks(request: pytest.FixtureRequest) -> Iterator[bool]:
    """With the limit that marks are made of, and with none of it to take from."""
    before, _ = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    if request.param == "no marks":
        messages_bytes(0)
    yield request.param == "marks"
    messages_bytes(before)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_tree_ends_with_a_program_that_ends_by_itself(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path) as bench:
        word = marker()
        end = await bench.run(*HOSTILE, word, "exit", kind)
        assert living(word) == []
        assert end.code == 7
        assert end.message is None


@pytest.mark.asyncio
async def test_a_tree_ends_by_the_time_limit(tmp_path: Path, marks: bool) -> None:
    async with opened(tmp_path) as bench:
        word = marker()
        began = time.monotonic()
        end = await bench.run(*HOSTILE, word, "stay", *KINDS, limit=0.8)
        assert living(word) == []
        assert (end.reason, end.code) == ("timeout", -15)
        assert end.message == "ended by its time limit of 0.8 s"
        assert 0.8 < time.monotonic() - began < AT_ONCE


@pytest.mark.asyncio
async def test_a_tree_ends_when_its_run_is_cancelled(tmp_path: Path, marks: bool) -> None:
    async with opened(tmp_path) as bench:
        word = marker()
        task = await bench.begin_hostile(word, *KINDS)
        assert len(living(word)) > len(KINDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert living(word) == []


@pytest.mark.asyncio
async def test_no_sibling_loses_its_processes(tmp_path: Path, marks: bool) -> None:
    kinds = ["daemon", "orphan", "session"]
    async with opened(tmp_path) as bench:
        stay, go = marker(), [marker() for _ in range(4)]
        staying = await bench.begin_hostile(stay, *kinds)
        before = sorted(living(stay))
        assert len(before) == 4
        for word in go:
            ending = bench.run(*HOSTILE, word, "exit", *kinds)
            end, *_ = await asyncio.gather(ending, bench.run("true"))
            assert end.code == 7
            if marks:
                assert living(word) == []
        assert sorted(living(stay)) == before
        staying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staying
        assert [living(word) for word in [stay, *go]] == [[]] * 5


@pytest.mark.asyncio
async def test_trees_of_runs_at_the_same_time_end_each_with_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:

        async def one() -> None:
            word = marker()
            end = await bench.run(*HOSTILE, word, "exit", "daemon", "orphan", "deep")
            assert end.code == 7
            assert living(word) == []

        async def worker() -> None:
            for _ in range(4):
                await one()

        await asyncio.gather(*(worker() for _ in range(4)))


@pytest.mark.asyncio
async def test_an_orphan_without_marks_is_known_by_its_traces(tmp_path: Path) -> None:
    """The group, the environment, the directory: each of them is enough."""
    shells = {
        "group": "cd / && (env -i sleep 1000 {} >/dev/null 2>&1 & )",
        "environment": "cd / && (setsid sleep 1000 {} >/dev/null 2>&1 & )",
        "directory": "(env -i setsid sleep 1000 {} >/dev/null 2>&1 & )",
        "file": "(cd / && env -i setsid sleep 1000 {} & )",
    }
    before, _ = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    messages_bytes(0)
    try:
        async with opened(tmp_path) as bench:
            other = bench.begin("sleep", "1000")
            for shell in shells.values():
                # `sleep` adds its operands up: a number of its own for each test
                word = f"0.{time.time_ns()}"
                script = shell.format(word) + "; sleep 0.2"
                end = await bench.run("sh", "-c", script)
                assert end.ok
                assert living("sleep\0001000\0" + word) == []
            other.cancel()
            await asyncio.wait([other])
    finally:
        messages_bytes(before)


@pytest.mark.asyncio
async def test_who_is_at_work_in_the_directory_is_left_alone(tmp_path: Path, marks: bool) -> None:
    async with opened(tmp_path) as bench:
        word, folder = marker(), bench.directory()
        with at_a_terminal(folder) as person:
            end = await bench.run(*HOSTILE, word, "exit", "daemon", "orphan", cwd=folder)
            assert end.code == 7
            assert living(word) == []
            assert person.poll() is None


@pytest.mark.asyncio
async def test_what_is_started_after_term_may_finish(tmp_path: Path) -> None:
    """A program that is told to end saves its work by another one, which is left alone.

    Even when an orphan of the same run ends meanwhile.
    """
    script = """(setsid sh -c 'trap "sleep 0.1; exit" TERM; while :; do sleep 0.05; done' &);"""
    saving = "trap 'trap : TERM; sleep 0.3 && echo saved; exit 5' TERM; echo on;"
    script += saving + "while :; do sleep 0.05; done"
    async with opened(tmp_path) as bench:
        folder = bench.directory()
        end = await bench.run("sh", "-c", script, cwd=folder, limit=2.0, grace=20)
        assert (end.code, end.reason) == (5, "timeout")
        assert (folder / "stdout.txt").read_text() == "on\nsaved\n"


@pytest.mark.asyncio
async def test_second_thoughts_shorten_the_grace(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        word = marker()
        tasks = [await bench.begin_hostile(word, "deaf", "daemon", grace=50) for _ in range(2)]
        began = time.monotonic()
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        bench.launcher.end_all(0)
        await asyncio.wait(tasks, timeout=20)
        assert all(task.cancelled() for task in tasks)
        assert time.monotonic() - began < AT_ONCE
        assert living(word) == []


@pytest.mark.asyncio
async def test_no_zombies_and_usage_of_orphans(tmp_path: Path) -> None:
    """Orphans that end are reaped at once, while their run goes on, and count in its usage."""
    burn = (
        "t=$(($(date +%s%N)/1000000+400)); while [ $(($(date +%s%N)/1000000)) -lt $t ]; do :; done"
    )
    script = f"(setsid sh -c '{burn}' &) ; touch begun; sleep 1; touch over; sleep 1000"
    async with opened(tmp_path) as bench:
        folder = bench.directory()
        assert isinstance(bench.launcher, Launcher)
        task = bench.begin("sh", "-c", script, cwd=folder)
        await until((folder / "over").exists)
        launcher = bench.launcher.identity.pid
        await until(lambda: len(tree.children(launcher)) == 1)
        bench.launcher.end_all(0)
        end = await task
        assert end.code == -9
        assert end.cpu_seconds is not None
        assert end.cpu_seconds > 0.03
        assert tree.children(launcher) == []


NESTED = """
import asyncio, sys
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from launcher_tools import HOSTILE, opened

async def main():
    async with opened(Path("inner")) as bench:
        first = asyncio.create_task(bench.run("true"))
        print(await first)
        for word in sys.argv[3:]:
            end = bench.run(*HOSTILE, word, sys.argv[2], "daemon", "orphan", "deaf")
            task = asyncio.create_task(end)
        print(await task, flush=True)
    if sys.argv[2] == "stay":
        await asyncio.sleep(1000)

asyncio.run(main())
"""


def nested(after: str, *words: str) -> list[str]:
    return [sys.executable, "-c", NESTED, repr(sys.path), after, *words]


@pytest.mark.asyncio
async def test_a_sweep_inside_a_run(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        word = marker()
        printed = (await bench.output(*nested("exit", word))).decode()
        assert "code=0" in printed
        assert "code=7" in printed
        assert living(word) == []


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_a_sweep_inside_a_run_is_killed_and_siblings_stay(tmp_path: Path) -> None:
    """What two launchers inside two runs leave when they are killed belongs to the right run."""
    async with opened(tmp_path) as bench:
        assert isinstance(bench.launcher, Launcher)
        words = [marker(), marker()]
        folders = [bench.directory() for _ in words]
        tasks = [
            bench.begin(*nested("stay", word), cwd=folder)
            for word, folder in zip(words, folders, strict=True)
        ]
        for folder in folders:
            out = folder / "inner" / f"{AWKWARD} 2" / "stdout.txt"
            await until(lambda out=out: out.exists() and out.read_text() == "ready\n", 60)
        outer = bench.launcher.identity.pid
        family = tree.family([outer]).values()
        inner = [one for one in family if one.name == b"multirun-launch" and one.pid != outer]
        assert len(inner) == len(words)
        for one in inner:
            # The driver looks only after the kernel has given the orphans to the outer launcher:
            # its connection ends before that, and it would kill them as children of the dead.
            os.kill(one.parent, signal.SIGSTOP)
            os.kill(one.pid, signal.SIGKILL)
            await until(lambda pid=one.pid: not tree.children(pid), 60)
            os.kill(one.parent, signal.SIGCONT)
        for word in words:  # the inner drivers end what is in the session of the program
            await until(lambda word=word: len(living(word)) == 3, 60)
        siblings = living(words[1])
        for number, word in enumerate(words):
            tasks[number].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[number]
            assert living(word) == []
            assert set(living(words[1])) == (set(siblings) if number == 0 else set())


@pytest.mark.asyncio
async def test_more_runs_than_marks(tmp_path: Path) -> None:
    """Runs beyond the number of marks share the weaker evidence; the marked ones are not harmed."""
    before, _ = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    messages_bytes(2 * 256 * 2)
    try:
        async with opened(tmp_path) as bench:
            words = [marker() for _ in range(5)]
            tasks = [await bench.begin_hostile(word, "daemon") for word in words]
            for word, task in zip(words, tasks, strict=True):
                assert len(living(word)) == 2
                task.cancel()
                await asyncio.wait([task])
            assert [living(word) for word in words] == [[]] * 5
    finally:
        messages_bytes(before)


@pytest.mark.asyncio
async def test_without_lists_of_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without CONFIG_PROC_CHILDREN: the parents of all processes say the same."""
    monkeypatch.setattr(
        "multirun_core._runners.launcher.process._CODE",
        "import sys; sys.path.append(sys.argv[1]); from launcher import tree; "
        "tree.HAS_CHILDREN = False; from launcher import server; server.main()",
    )
    async with opened(tmp_path) as bench:
        word = marker()
        end = await bench.run(*HOSTILE, word, "exit", *KINDS)
        assert end.code == 7
        assert living(word) == []
        task = await bench.begin_hostile(word, *KINDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert living(word) == []


def test_the_family_of_this_process() -> None:
    family = tree.family([os.getpid()])
    assert family[os.getpid()].parent == os.getppid()
    assert family[os.getpid()].session == os.getsid(0)
