"""Commands on this machine by the interface by which others are reached."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from multirun_core._transport.local import LocalTransport
from multirun_core._transport.shell import shell_line
from multirun_core.errors import TransportError, TransportTimeoutError
from sweeps import wait_until

pytestmark = pytest.mark.asyncio


async def blocks(count: int, size: int = 100_000) -> AsyncIterator[bytes]:
    for number in range(count):
        await asyncio.sleep(0)
        yield bytes([number]) * size


async def test_streams_and_status(tmp_path: Path) -> None:
    done = await LocalTransport().run(
        ["sh", "-c", 'cat; pwd; echo "$A" >&2; exit 3'],
        stdin=b"given\n",
        cwd=str(tmp_path),
        env={"A": "it's"},
        timeout=50,
    )
    assert done.code == 3
    assert done.stdout == b"given\n" + os.fsencode(tmp_path) + b"\n"
    assert done.stderr == b"it's\n"
    assert done.said == "it's"


async def test_large_streams_flow() -> None:
    seen: list[int] = []

    async def sink(block: bytes) -> None:
        seen.append(len(block))

    done = await LocalTransport().run(["cat"], stdin=blocks(50), stdout=sink, timeout=50)
    assert (done.code, sum(seen), done.stdout) == (0, 5_000_000, b"")


async def test_a_command_need_not_read_its_input() -> None:
    done = await LocalTransport().run(["true"], stdin=blocks(50), timeout=50)
    assert done.code == 0


async def test_a_source_that_gives_nothing_holds_nothing_up() -> None:
    async def silent() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    assert (await LocalTransport().run(["true"], stdin=silent(), timeout=30)).code == 0


async def test_only_the_last_of_stderr_is_kept() -> None:
    script = "head -c 300000 /dev/zero | tr '\\0' e >&2; echo last >&2"
    done = await LocalTransport().run(["sh", "-c", script], timeout=50)
    assert len(done.stderr) == 64 * 1024
    assert done.said.endswith("elast")


async def test_a_signal_is_a_negative_code() -> None:
    done = await LocalTransport().run(["sh", "-c", "kill -9 $$"], timeout=50)
    assert done.code == -9
    assert done.said == "exit status -9"


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(TransportError, match="no such program"):
        await LocalTransport().run(["no such program"], timeout=50)


async def test_time_is_up(tmp_path: Path) -> None:
    script = "echo $$ > pid; sleep 300 & wait"
    with pytest.raises(
        TransportTimeoutError, match=r"'sh' took longer than 0\.5 s on this machine"
    ):
        await LocalTransport().run(["sh", "-c", script], cwd=str(tmp_path), timeout=0.5)
    wait_until(lambda: not group_lives(tmp_path))


async def test_cancelled_it_is_ended(tmp_path: Path) -> None:
    work = asyncio.create_task(
        LocalTransport().run(
            ["sh", "-c", "echo $$ > pid; sleep 300 & wait"], cwd=str(tmp_path), timeout=None
        )
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    wait_until(lambda: not group_lives(tmp_path))


async def test_cancelled_at_any_moment_it_is_ended(tmp_path: Path) -> None:
    for turns in range(12):
        work = asyncio.create_task(
            LocalTransport().run(["sh", "-c", "sleep 300 & sleep 300"], timeout=None)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(work, 20)


async def test_what_a_source_or_sink_raises_is_raised() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("source")

    async def sink(block: bytes) -> None:
        raise LookupError(block)

    with pytest.raises(KeyError, match="source"):
        await LocalTransport().run(["cat"], stdin=broken(), timeout=50)
    with pytest.raises(LookupError):
        await LocalTransport().run(["cat"], stdin=b"x", stdout=sink, timeout=50)


async def test_a_loop_that_ends_reaps_what_is_being_ended(tmp_path: Path) -> None:
    def work() -> None:
        async def main() -> None:
            command = LocalTransport().run(["sh", "-c", f"echo $$ > {pid}; sleep 100"], timeout=50)
            running = asyncio.ensure_future(command)
            while not (pid.exists() and pid.read_text()):
                await asyncio.sleep(0.01)
            running.cancel()
            for _ in range(3):
                await asyncio.sleep(0)

        asyncio.run(main())

    pid = tmp_path / "pid"
    for _ in range(5):  # how soon the kernel ends it is chance
        await asyncio.to_thread(work)
        assert not Path("/proc", pid.read_text().strip()).exists()
        pid.unlink()


def group_lives(folder: Path) -> bool:
    """Whether a process of the group that wrote its id lives; there may have been none."""
    if not (folder / "pid").exists():
        return False
    group = (folder / "pid").read_text().strip()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            # What was killed waits as a zombie until process 1 comes to it, which may take long.
            if of == group and state not in ("Z", "X"):
                return True
    return False


@pytest.mark.parametrize("cwd", ["-", "-P", "it's $x;\n*"])
async def test_a_line_for_a_shell(tmp_path: Path, cwd: str) -> None:
    (tmp_path / cwd).mkdir()
    words = ["it's", "$HOME;", "l\nl", "*", ""]
    line = shell_line(
        ["sh", "-c", 'pwd; printf "%s|" "$A.$0" "$@"', *words], cwd, {"A": "a b", "C.D": "x"}
    )
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == f"{tmp_path / cwd}\na b." + "|".join(words) + "|"


@pytest.mark.parametrize("first", [0, 1, 3, 10, 50])
async def test_cancelled_twice_nothing_is_left_behind(first: int) -> None:
    """The second time while it ends what it has started, and then the loop is closed.

    What is left open is a warning, and so an error.
    """

    async def work(second: int) -> None:
        task = asyncio.create_task(LocalTransport().run(["sleep", "300"], timeout=None))
        for turns in (first, second):
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns == 50:
                await asyncio.sleep(0.1)  # it runs by then
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for second in range(8):
        await asyncio.to_thread(lambda second=second: asyncio.run(work(second)))
    gc.collect()
