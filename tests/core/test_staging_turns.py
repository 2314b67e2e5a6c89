"""Several machines get large inputs: the first to begin is served first, and delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from multirun_core._staging import mirror_streams
from multirun_core._staging.mirror import Mirror, Parcel, Stores
from multirun_core._staging.mirror_streams import Turns
from multirun_core._transport.base import Completed, Sink, Source
from multirun_core._transport.local import LocalTransport
from staging_help import Sweep

from multirun_core import FileResource


def nothing() -> None: ...


async def blocks(name: str, count: int, delivered: list[str]) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(0)  # as if it were read in a thread
        delivered.append(name)
        yield name.encode()


async def take(
    stream: AsyncIterator[bytes], took: list[str], ready: Callable[[], bool] = lambda: True
) -> None:
    async for block in stream:
        while not ready():
            await asyncio.sleep(0)
        took.append(block.decode())


@pytest.mark.asyncio
async def test_the_first_to_begin_has_all_before_the_others() -> None:
    turns, took = Turns(), list[str]()
    streams = [turns.ordered(blocks(name, 50, []), nothing) for name in "abc"]
    await asyncio.gather(*(take(stream, took) for stream in streams))
    assert "".join(took) == "a" * 50 + "b" * 50 + "c" * 50


@pytest.mark.asyncio
async def test_what_the_first_does_not_take_others_get() -> None:
    turns, took = Turns(), list[str]()
    first = turns.ordered(blocks("a", 3, []), nothing)
    second = turns.ordered(blocks("b", 50, []), nothing)
    slowly = take(first, took, ready=lambda: took.count("b") == 50)
    await asyncio.wait_for(asyncio.gather(slowly, take(second, took)), 60)
    assert "".join(took) == "b" * 50 + "aaa"


@pytest.mark.asyncio
async def test_one_that_fails_hangs_or_is_empty_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror_streams, "_READ_SECONDS", 0.05)
    turns, took = Turns(), list[str]()

    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("it has become shorter")

    async def stuck() -> AsyncIterator[bytes]:
        yield b"b"
        await asyncio.Event().wait()

    first = asyncio.ensure_future(take(turns.ordered(broken(), nothing), took))
    second = asyncio.ensure_future(take(turns.ordered(stuck(), nothing), took))
    empty = asyncio.ensure_future(take(turns.ordered(blocks("c", 0, []), nothing), took))
    last = asyncio.ensure_future(take(turns.ordered(blocks("d", 9, []), nothing), took))
    await asyncio.wait([first, empty, last], timeout=60)
    assert isinstance(first.exception(), OSError)
    assert empty.done()
    assert took.count("d") == 9
    assert not second.done()
    second.cancel()
    await asyncio.wait([second], timeout=60)


@pytest.mark.asyncio
async def test_who_waits_has_read_nothing() -> None:
    """Else a thousand hosts that wait would have a thousand blocks in memory."""
    turns, read = Turns(), list[str]()
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await go_on.wait()

    first = asyncio.ensure_future(take(turns.ordered(slow(), nothing), []))
    others = [turns.ordered(blocks("b", 1, read), nothing) for _ in range(9)]
    taking = [asyncio.ensure_future(take(other, [])) for other in others]
    for _ in range(100):
        await asyncio.sleep(0)
    assert read == []
    go_on.set()
    await asyncio.wait_for(asyncio.gather(first, *taking), 60)
    assert len(read) == 9


@pytest.mark.asyncio
async def test_who_waits_for_others_stands_still_only_if_these_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror_streams, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(mirror_streams, "_READ_SECONDS", 60.0)
    turns, moved, go_on = Turns(), asyncio.Event(), asyncio.Event()
    told: list[int] = []

    async def paced() -> AsyncIterator[bytes]:
        while True:
            go_on.clear()
            yield b"a"
            await go_on.wait()

    def note() -> None:
        told.append(len(took))
        moved.set()

    took: list[str] = []
    first = asyncio.ensure_future(take(turns.ordered(paced(), nothing), took))
    while not took:
        await asyncio.sleep(0)
    second = asyncio.ensure_future(take(turns.ordered(blocks("b", 1, []), note), took))
    await asyncio.sleep(0)
    for expected in (2, 3, 4):
        moved.clear()
        go_on.set()
        await asyncio.wait_for(moved.wait(), 30)
        assert told[-1] == expected
    looked = len(told)
    await asyncio.sleep(0.1)
    assert len(told) == looked  # the first stands still, so nothing has moved
    assert "b" not in took
    for task in (first, second):
        task.cancel()
    await asyncio.wait([first, second])


class Slow(LocalTransport):
    """A machine that takes a stream only once another has ended."""

    def __init__(self, home: Path, after: asyncio.Event) -> None:
        home.mkdir()
        self.env = {"HOME": str(home), "XDG_CACHE_HOME": ""}
        self.after = after

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - as in its base
    ) -> Completed:
        async def late(blocks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
            async for block in blocks:
                await self.after.wait()
                yield block

        return await super().run(
            argv,
            stdin=stdin if isinstance(stdin, bytes) else late(stdin),
            stdout=stdout,
            cwd=cwd,
            env={**self.env, **(env or {})},
            timeout=timeout,
        )


@pytest.mark.asyncio
async def test_a_machine_that_takes_nothing_delays_no_other(tmp_path: Path) -> None:
    large = tmp_path / "large input"
    large.write_bytes(bytes(5 << 20))
    sweep = Sweep(tmp_path / "sweep", FileResource(large))
    run = sweep.stage()
    served, never = asyncio.Event(), asyncio.Event()
    never.set()
    stores = Stores()
    machines = [Slow(tmp_path / "one", served), Slow(tmp_path / "two", never)]
    mirrors = [Mirror(machine, stores, place="", name="study-1") for machine in machines]
    for mirror in mirrors:
        await mirror.open()
    first = asyncio.ensure_future(mirrors[0].send([Parcel(run, "d/1")]))
    second = asyncio.ensure_future(mirrors[1].send([Parcel(run, "d/2")]))
    await asyncio.wait_for(second, 60)
    assert not first.done()
    served.set()
    await asyncio.wait_for(first, 60)
    for mirror, name in zip(mirrors, ("d/1", "d/2"), strict=True):
        assert (Path(mirror.base) / name / large.name).read_bytes() == large.read_bytes()
