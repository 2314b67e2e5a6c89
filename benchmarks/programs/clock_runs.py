"""A sweep whose runs start no process but end by a clock: what a driver does for each, and no more.

Arguments: COUNT SLOTS SECONDS KEEP FOLDER. A run takes SECONDS on average. Prints, as JSON, the
memory, CPU time and wall time of the driver, and how late its event loop was.
"""

import asyncio
import json
import random
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from multirun_core import ExitStatus, Run, TaskRunner, multirunAsync

TICK = 0.01


class ClockRunner(TaskRunner):
    """Has runs that are over when their time has come."""

    def __init__(self, slots: int, mean: float) -> None:
        """Make a runner; nothing is started yet."""
        super().__init__(max_parallel=slots)
        self.mean = mean

    async def execute(self, run: Run) -> ExitStatus:
        """Wait until the run is over."""
        await asyncio.sleep(random.uniform(0.5, 1.5) * self.mean)  # noqa: S311 - no secret
        return ExitStatus(code=0)


async def watch(late: list[float]) -> None:
    """Note for each tick of a clock by how many seconds the event loop comes too late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK
        await asyncio.sleep(TICK)
        late.append(loop.time() - due)


def memory(field: str) -> int:
    """Return a field of /proc/self/status in bytes, see proc(5)."""
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise SystemExit("this system does not tell how much memory a process has")
    return int(found[1]) * 1024


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def journal_bytes(folder: str) -> int:
    """Return how large the journal is."""
    return sum(path.stat().st_size for path in Path(folder, "journal").glob("*.jsonl"))


async def main(count: int, slots: int, mean: float, keep: Any, folder: str) -> dict[str, Any]:
    """Carry the sweep out and return what it took."""
    late: list[float] = []
    base, before, begun = memory("VmRSS"), cpu(), time.perf_counter()
    watching = asyncio.create_task(watch(late))
    sweep = await multirunAsync(
        runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(count)),
        cmd=["true"],
        output_path=folder,
        runner=ClockRunner(slots, mean),
        keep=keep,
    )
    seconds, used = time.perf_counter() - begun, cpu() - before
    watching.cancel()
    if sweep.statistics.success_count != count:
        raise SystemExit(f"it has not carried all out: {sweep.statistics}")
    late.sort()
    return {
        "runs": count,
        "slots": slots,
        "seconds": seconds,
        "cpu_seconds": used,
        "peak_bytes": memory("VmHWM") - base,
        "end_bytes": memory("VmRSS") - base,
        "journal_bytes": journal_bytes(folder),
        "late": {
            name: late[min(len(late) - 1, int(share * len(late)))]
            for name, share in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0))
        },
    }


if __name__ == "__main__":
    count, slots, mean, keep, folder = sys.argv[1:]
    told = asyncio.run(main(int(count), int(slots), float(mean), keep, folder))
    print(json.dumps(told))  # noqa: T201 - its answer
