"""A sweep of short runs, which tells its time without that of the imports, and its memory.

Arguments: COUNT SLOTS FOLDER PROGRAM. Prints {"seconds": …, "peak_bytes": …}.
"""

import json
import re
import sys
import time
from pathlib import Path

from multirun_core import ParallelLocalRunner, multirun


def sweep(count: int, slots: int, folder: str, cmd: list[str]) -> float:
    """Carry a sweep out and return how long it took."""
    begun = time.perf_counter()
    multirun(
        runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(count)),
        cmd=cmd,
        output_path=folder,
        runner=ParallelLocalRunner(max_parallel=slots),
        check=True,
    )
    return time.perf_counter() - begun


def peak_bytes() -> int:
    """Return the largest resident set of this process, see proc(5)."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise SystemExit("this system does not tell how much memory a process has had")
    return int(found[1]) * 1024


count, slots, folder, *cmd = sys.argv[1:]
sweep(1, 1, f"{folder}-before", cmd)
seconds = sweep(int(count), int(slots), folder, cmd)
print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}))  # noqa: T201 - its answer
