"""The stand-in for the launcher where the system lacks what that needs."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
import time
from pathlib import Path

import pytest
from launcher_tools import AT_ONCE, HOSTILE, descriptors, living, marker, opened
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.launcher.ends import StartFailure
from multirun_core._runners.launcher.threads import ThreadLauncher, open_launcher
from multirun_core.errors import RunnerClosedError


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch, outside_of_any_run: None) -> None:
    monkeypatch.setenv("MULTIRUN_LAUNCHER", "threads")


@pytest.mark.asyncio
async def test_it_is_chosen_where_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(await open_launcher(), ThreadLauncher)
    monkeypatch.delenv("MULTIRUN_LAUNCHER")
    launcher = await open_launcher()
    assert isinstance(launcher, Launcher)
    await launcher.close()
    monkeypatch.delattr(os, "pidfd_open")
    assert isinstance(await open_launcher(), ThreadLauncher)


@pytest.mark.asyncio
async def test_runs(tmp_path: Path) -> None:
    before = descriptors()
    async with opened(tmp_path, {"PATH": os.environ["PATH"], "BASE": "b"}) as bench:
        assert (
            await bench.output("sh", "-c", 'echo "$BASE$MINE"; cat', env={"MINE": "m"}) == b"bm\n"
        )
        end = await bench.run("sh", "-c", "sleep 0.1; exit 3")
        assert end.started is not None
        assert end.ended is not None
        assert (end.code, end.reason) == (3, None)
        assert 0.09 < end.ended - end.started < 10
        assert end.cpu_seconds is not None
        assert (await bench.run("sh", "-c", "kill -9 $$")).code == -9
        failure = await bench.run("no-such-program")
        assert isinstance(failure, StartFailure)
        assert failure.errno == errno.ENOENT
        ends = await asyncio.gather(*(bench.run("true") for _ in range(50)))
        assert all(end.ok for end in ends)
        assert not bench.launcher.lost
        assert bench.launcher.identity.pid == os.getpid()
    with pytest.raises(RunnerClosedError):
        await bench.run("true")
    assert descriptors() == before


@pytest.mark.asyncio
async def test_memory_is_told_where_it_is_the_runs_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        assert (await bench.run("true")).max_rss_bytes is None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        body = f"x = bytearray({peak + (20 << 20)})"
        big = await bench.run(sys.executable, "-c", body)
        assert big.ok
        assert big.max_rss_bytes is not None
        assert big.max_rss_bytes > peak + (20 << 20)


@pytest.mark.asyncio
async def test_groups_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        word = marker()
        end = await bench.run(*HOSTILE, word, "exit", "plain", "deaf")
        assert end.code == 7
        assert living(word) == []

        end = await bench.run(*HOSTILE, word, "stay", "deaf", limit=0.4)
        assert (end.code, end.reason) == (-15, "timeout")
        assert end.message == "ended by its time limit of 0.4 s"
        assert living(word) == []

        task = await bench.begin_hostile(word, "deaf", "plain")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert living(word) == []


@pytest.mark.asyncio
async def test_all_are_ended(tmp_path: Path) -> None:
    word = marker()
    async with opened(tmp_path) as bench:
        script = f"trap '' TERM; : {word}; echo ready; while :; do sleep 1000; done"
        tasks = [bench.begin("sh", "-c", script, grace=50) for _ in range(2)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        tasks[0].cancel()
        await asyncio.sleep(0.1)
        bench.launcher.end_all(0)
        await asyncio.wait(tasks, timeout=20)
        assert tasks[0].cancelled()
        assert (await tasks[1]).code in (-15, -9)
        assert time.monotonic() - began < AT_ONCE
        assert living(word) == []

        tasks = [await bench.begin_hostile(word, "plain") for _ in range(2)]
        await bench.launcher.close()
        await bench.launcher.close()
        assert [(await task).code for task in tasks] == [-15, -15]
        assert living(word) == []
