"""How a machine is shared out to runs, what memory is free, and relative time limits."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._model.policy import parse_time_limit
from multirun_core._runners import pace
from multirun_core._runners.memory import available_memory
from multirun_core._runners.pace import Pace
from multirun_core._runners.resources import Machine, Pool, Share

from multirun_core import Resources, UsageError

MACHINE = Machine(cpus=(0, 1, 2, 3), memory_bytes=100, gpus=("0", "GPU-x"))


class Taker:
    """Takes a share and keeps it until it is told."""

    def __init__(self, pool: Pool, **needs: int) -> None:
        self.enough = asyncio.Event()
        self.share: Share | None = None
        self.task = asyncio.create_task(self._take(pool, Resources(**needs)))

    async def _take(self, pool: Pool, needs: Resources) -> None:
        async with pool.share(needs) as self.share:
            await self.enough.wait()

    async def leave(self) -> None:
        self.enough.set()
        await self.task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_each_resource_holds_a_run_back() -> None:
    for needs, most in [({"cpus": 2}, 2), ({"gpus": 1}, 2), ({"memory_bytes": 30}, 3)]:
        pool = Pool(MACHINE)
        takers = [Taker(pool, **needs) for _ in range(5)]
        await settle()
        assert [taker.share is not None for taker in takers] == [True] * most + [False] * (5 - most)
        for taker in takers:
            await taker.leave()
        assert pool.idle


@pytest.mark.asyncio
async def test_none_overtakes_another_and_none_shares() -> None:
    pool = Pool(MACHINE)
    first, large = Taker(pool, cpus=3, gpus=1), Taker(pool, cpus=4)
    small = Taker(pool, cpus=1)
    await settle()
    assert first.share == Share((0, 1, 2), 0, ("0",))
    assert large.share is None
    assert small.share is None
    await first.leave()
    await settle()
    assert large.share == Share((0, 1, 2, 3), 0, ())
    assert small.share is None
    await large.leave()
    await settle()
    assert small.share == Share((0,), 0, ())
    await small.leave()
    assert pool.idle


@pytest.mark.asyncio
async def test_who_is_cancelled_while_it_waits_or_is_served_keeps_nothing() -> None:
    pool = Pool(MACHINE)
    holder = Taker(pool, cpus=4)
    waiting, behind = Taker(pool, cpus=4), Taker(pool, cpus=4)
    await settle()
    waiting.task.cancel()
    await asyncio.wait([waiting.task])
    await holder.leave()
    behind.task.cancel()  # at the same moment as it is served
    await asyncio.wait([behind.task])
    assert pool.idle
    last = Taker(pool, cpus=4)
    await settle()
    assert last.share is not None
    await last.leave()


@pytest.mark.asyncio
async def test_a_body_that_fails_gives_its_share_back() -> None:
    pool = Pool(MACHINE)
    with pytest.raises(ZeroDivisionError):
        async with pool.share(Resources(cpus=4, gpus=2, memory_bytes=100)):
            raise ZeroDivisionError
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.share(Resources(cpus=4, gpus=2, memory_bytes=100)))
        assert not pool.idle
    assert pool.idle


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        (Resources(cpus=5), "it needs 5 CPUs, but this process may use 4"),
        (Resources(gpus=3), "it needs 3 GPUs, but this runner has 2"),
        (
            Resources(memory_bytes=2048),
            "it needs 2 KiB of memory, but only 100 bytes are free for runs",
        ),
        (Resources(cpus=4, gpus=2, memory_bytes=100), None),
        (Resources(), None),
    ],
)
def test_what_can_never_be_had(needs: Resources, why: str | None) -> None:
    assert MACHINE.lacks(needs) == why


def test_devices_must_be_named() -> None:
    here = Machine.here([])
    assert here.lacks(Resources(gpus=1)) == (
        "it needs 1 GPU, but this runner has 0; name them by the runner's option gpus"
    )
    assert here.memory_bytes is not None
    assert here.memory_bytes > 1 << 20


GIB = 1 << 30
AVAILABLE = "MemTotal: 9000000 kB\nMemAvailable:    4194304 kB\n"


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("0::/a/b\n", {}, 4 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/b/memory.current": "5\n"}, 4 * GIB),
        ("0::/a/b\n", {"a/memory.max": f"{GIB}\n", "a/memory.current": f"{GIB // 4}\n"},
         GIB * 3 // 4),
        ("0::/a\n", {"a/memory.max": f"{GIB}\n", "a/memory.current": f"{GIB}\n",
                     "a/memory.stat": f"anon 1\ninactive_file {GIB // 2}\n"}, GIB // 2),
        ("0::/a\n", {"a/memory.max": f"{2 * GIB}\n", "a/memory.high": f"{GIB}\n",
                     "a/memory.current": "0\n"}, GIB),
        ("0::/a\n", {"a/memory.max": "5\n", "a/memory.current": "9\n"}, 0),
        ("0::/a\n", {"a/memory.max": "garbage", "a/memory.current": "9\n"}, 4 * GIB),
        ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": f"{GIB}\n",
                                 "memory/x/memory.usage_in_bytes": f"{GIB // 2}\n",
                                 "memory/x/memory.stat": "inactive_file 1\n"
                                                         "total_inactive_file 2\n"},
         GIB // 2 + 2),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n",
                           "memory/x/memory.usage_in_bytes": "7\n"}, 4 * GIB),
    ],
)  # fmt: skip
def test_free_memory(tmp_path: Path, groups: str, files: dict[str, str], free: int) -> None:
    root, proc, meminfo = tmp_path / "cgroup", tmp_path / "proc", tmp_path / "meminfo"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    meminfo.write_text(AVAILABLE)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert available_memory(root, proc, meminfo) == free


def test_memory_without_proc_is_that_of_the_machine(tmp_path: Path) -> None:
    size = available_memory(tmp_path, tmp_path, tmp_path / "none")
    assert size is not None
    assert size > available_of_this_machine() // 2


def available_of_this_machine() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


@pytest.mark.parametrize(
    ("given", "factor"), [("5x median", 5), ("1.5X Median", 1.5), (" 10 x  median ", 10)]
)
def test_relative_limits(given: str, factor: float) -> None:
    assert parse_time_limit(given) == {"timeout": None, "timeout_factor": factor}


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 median", "1x median", "0.5x median", "-2x median", "infx median", "5x mean",
     "5x median!", "5xx median"],
)  # fmt: skip
def test_limits_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="multiple over 1 of the median"):
        parse_time_limit(text)


def test_seconds_stay_seconds() -> None:
    assert parse_time_limit(3.5) == {"timeout": 3.5, "timeout_factor": None}
    assert parse_time_limit(None) == {"timeout": None, "timeout_factor": None}


def test_no_limit_before_five_successes_and_none_under_a_second() -> None:
    known = Pace()
    limits: list[float | None] = []
    for seconds in (3.0, 1.0, 2.0, 10.0, 4.0, 100.0):
        limits.append(known.limit(5))
        known.add(seconds)
    assert limits == [None] * 5 + [15.0]
    assert known.limit(5) == 17.5
    quick = Pace()
    for _ in range(5):
        quick.add(0.001)
    assert quick.limit(2) == 1.0


@given(st.lists(st.floats(1, 1e6), min_size=5, max_size=30))
def test_the_median_is_that_of_the_last_ones(values: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_MOST", 10)
        known = Pace()
        for count, value in enumerate(values, 1):
            known.add(value)
            if count >= 5:
                expected = 2 * statistics.median(values[max(0, count - 10) : count])
                assert known.limit(2) == pytest.approx(expected)
