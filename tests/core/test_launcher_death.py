"""Whoever dies, driver or launcher, nothing of a run stays and nobody waits for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from launcher_tools import AT_ONCE, HOSTILE, descriptors, living, marker, opened, until
from multirun_core._runners.launcher import process, tree
from multirun_core._runners.launcher.client import Launcher
from multirun_core.errors import RunnerError

DRIVER = """
import asyncio, os, sys, time
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from launcher_tools import HOSTILE, opened

async def main():
    async with opened(Path("runs")) as bench:
        os.write(1, f"{bench.launcher.identity.pid}\\n".encode())
        runs = [
            bench.begin_hostile(os.environ["WORD"], *kinds.split(","), grace=60)
            for kinds in sys.argv[2:]
        ]
        await asyncio.gather(*runs)
        heir = os.fork()  # it holds all that the driver held, the connection too
        if heir:
            os.write(1, f"{heir}\\n".encode())
        time.sleep(1000)

asyncio.run(main())
"""


def gone(pid: int) -> bool:
    seen = tree.process(pid)
    return seen is None or seen.state == b"Z"


@contextmanager
def driver(folder: Path, word: str, *kinds: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a driver and wait until its runs are in place; yield it and its launcher's pid."""
    command = [sys.executable, "-c", DRIVER, repr(sys.path), *kinds]
    heir = 0
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, env={**os.environ, "WORD": word}
    ) as child:
        try:
            assert child.stdout is not None
            launcher = int(child.stdout.readline())
            heir = int(child.stdout.readline())
            yield child, launcher
        finally:
            child.kill()
            if heir:
                os.kill(heir, signal.SIGKILL)


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_driver_dies(tmp_path: Path, number: int) -> None:
    word = marker()
    kinds = ["daemon,deaf", "orphan,forker,session", "plain", "deep,stopped"]
    with driver(tmp_path, word, *kinds) as (child, launcher):
        assert len(living(word)) > 10
        began = time.monotonic()
        child.send_signal(number)
        child.wait(10)
        await until(lambda: not living(word))
        await until(lambda: gone(launcher))
        assert time.monotonic() - began < AT_ONCE


@pytest.mark.asyncio
async def test_the_driver_dies_with_30_runs(tmp_path: Path) -> None:
    word = marker()
    with driver(tmp_path, word, *["daemon,deaf,orphan"] * 30) as (child, _):
        assert len(living(word)) >= 120
        began = time.monotonic()
        child.kill()
        child.wait(10)
        await until(lambda: not living(word))
        assert time.monotonic() - began < AT_ONCE


@pytest.mark.asyncio
async def test_the_driver_drops_the_connection(tmp_path: Path) -> None:
    """As a driver does that never closes its launcher."""
    word = marker()
    launcher = await Launcher.start()
    run = launcher.run(
        [*HOSTILE, word, "stay", "daemon"],
        tmp_path,
        {},
        str(tmp_path / "o"),
        str(tmp_path / "e"),
        timeout=None,
        grace=60,
    )
    task = asyncio.create_task(run)
    await until(lambda: len(living(word)) == 2)
    launcher._disconnect()
    assert (await task).reason == "lost"
    assert launcher.lost
    await until(lambda: not living(word))
    await launcher.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_launcher_dies(tmp_path: Path, number: signal.Signals) -> None:
    async with opened(tmp_path) as bench:
        assert isinstance(bench.launcher, Launcher)
        word = marker()
        tasks = [await bench.begin_hostile(word, "plain", "deaf", "session") for _ in range(3)]
        os.kill(bench.launcher.identity.pid, number)
        ends = await asyncio.wait_for(asyncio.gather(*tasks), 10)
        texts = {
            signal.SIGKILL: "the launcher died",
            signal.SIGTERM: "the launcher was ended by SIGTERM",
        }
        for end in ends:
            assert (end.code, end.reason, end.message) == (None, "lost", texts[number])
        assert bench.launcher.lost
        await until(lambda: not living(word))
        began = time.monotonic()
        assert (await bench.run("true")).reason == "lost"
        bench.launcher.end_all(0)
        await bench.launcher.close()
        assert time.monotonic() - began < AT_ONCE


@pytest.mark.asyncio
async def test_the_launcher_stops_answering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multirun_core._runners.launcher.client._PING_EVERY", 0.25)
    unanswered: list[int] = []
    ping = Launcher._ping

    def noted(launcher: Launcher) -> None:
        unanswered.append(launcher._silent)
        ping(launcher)

    monkeypatch.setattr(Launcher, "_ping", noted)
    async with opened(tmp_path) as bench:
        assert isinstance(bench.launcher, Launcher)
        word = marker()
        task = await bench.begin_hostile(word, "plain", "session")
        await until(lambda: unanswered.count(0) > 3)  # so answers count
        assert not task.done()
        os.kill(bench.launcher.identity.pid, signal.SIGSTOP)
        end = await asyncio.wait_for(task, 30)
        assert end.reason == "lost"
        assert end.message == "it did not answer for 3 seconds"
        await until(lambda: not living(word))


@pytest.mark.asyncio
async def test_close_ends_what_is_left(tmp_path: Path) -> None:
    word = marker()
    async with opened(tmp_path) as bench:
        tasks = [await bench.begin_hostile(word, "daemon", "deaf") for _ in range(3)]
        await asyncio.gather(bench.launcher.close(), bench.launcher.close())
        assert living(word) == []
        assert [(await task).code for task in tasks] == [-15] * 3
        assert not bench.launcher.lost


@pytest.mark.asyncio
async def test_close_is_cancelled(tmp_path: Path) -> None:
    """Then it kills at once, rather than leave anything behind."""
    word = marker()
    async with opened(tmp_path) as bench:
        task = await bench.begin_hostile(word, "deaf", "session", grace=60)
        closing = asyncio.create_task(bench.launcher.close())
        await asyncio.sleep(0.1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert living(word) == []
        assert (await task).code == -15
        assert not bench.launcher.identity.alive()


@pytest.mark.asyncio
async def test_cancelled_at_every_moment_of_a_start(tmp_path: Path) -> None:
    word = marker()
    async with opened(tmp_path) as bench:
        for steps in range(12):
            task = bench.begin("sh", "-c", f": {word}; sleep 1000")
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert living(word) == []
        for delay in (0.001, 0.002, 0.005, 0.01):
            task = bench.begin(*HOSTILE, word, "stay", "daemon")
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert living(word) == []
        assert (await bench.run("true")).ok


@pytest.mark.asyncio
async def test_cancelled_again_and_again(tmp_path: Path) -> None:
    word = marker()
    async with opened(tmp_path) as bench:
        task = await bench.begin_hostile(word, "deaf", grace=0.4)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.01)
        assert task.cancelled()
        assert living(word) == []


@pytest.mark.asyncio
async def test_starting_fails_or_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    starting = asyncio.create_task(Launcher.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with monkeypatch.context() as patch:
        patch.setattr(process, "_CODE", "raise RuntimeError('no luck')")
        with pytest.raises(RunnerError, match=r"cannot start .*: RuntimeError: no luck"):
            await Launcher.start()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(RunnerError, match=r"cannot start the launcher: .*/no/such/python"):
            await Launcher.start()
    with monkeypatch.context() as patch:
        patch.setattr(process, "_CODE", "import time; time.sleep(1000)")
        patch.setattr("multirun_core._runners.launcher.client._START_BOUND", 0.2)
        with pytest.raises(RunnerError, match=r"it did not answer within 0.2 seconds"):
            await Launcher.start()
    gc.collect()
    assert descriptors() == before
