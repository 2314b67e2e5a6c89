"""What the fault checks share: programs, and what a sweep's directory says of its runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multirun_core._sweep.sweep import Sweep
from multirun_core.errors import SweepNotFoundError
from multirun_core.testing.base import KitBase, expect, promise

BEGIN = 'echo "$MULTIRUN_ATTEMPT" >> began; '
"""Leaves a line for each execution, in the run directory, where even a far run can write."""

POST = 'printf \'{"n": %s}\' "$MULTIRUN_PARAM_N" > results.part && mv results.part results.json; '


def sh(*parts: str) -> list[str]:
    """Return a command that does this in a shell."""
    return ["sh", "-c", "".join(parts)]


def journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a sweep's journal, except for torn last lines."""
    for segment in sorted((path / "journal").glob("[0-9]*.jsonl")):
        for line in segment.read_bytes().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def successes(path: Path) -> Counter[int]:
    """Return how often the journal says of each run that it succeeded."""
    return Counter(
        event["run"]
        for event in journal(path)
        if event["event"] == "end" and event["status"] == "success"
    )


def executions(path: Path) -> Counter[int]:
    """Return how often each run was executed, by the lines that `BEGIN` has left."""
    counts: Counter[int] = Counter()
    for mark in path.glob("runs/**/began"):
        index = int(mark.relative_to(path / "runs").parts[0])
        counts[index] += len(mark.read_text().splitlines())
    return counts


def statuses(path: Path) -> list[str]:
    """Return the status of each run of a sweep as it is on disk; none before it has begun."""
    try:
        return [run.status for run in Sweep.open(path).runs]
    except SweepNotFoundError:
        return []


def check_whole(sweep: Sweep, kills: int = 0) -> None:
    """Fail unless every run has succeeded, once, with its result, and without waste."""
    count = len(sweep.runs)
    told = [(run.index, run.status, run.reason, run.message) for run in sweep.runs]
    promise(all(run.status == "success" for run in sweep.runs), "all runs succeed", told)
    expect(sweep.results, [{"n": n} for n in range(count)], "each run has its own result")
    expect(Sweep.open(sweep.path).results, sweep.results, "the results are on disk")
    expect(successes(sweep.path), Counter(range(count)), "each run succeeds once in the journal")
    often = executions(sweep.path)
    promise(
        all(1 <= often[index] <= 1 + kills for index in range(count)),
        f"each run is executed once, and at most once more for each of {kills} dead drivers",
        often,
    )


def wait_for_files(kit: KitBase, path: Path, pattern: str, count: int) -> None:
    """Wait until so many files of a sweep's directory match a pattern."""
    kit.wait_until(
        lambda: len(list(path.glob(pattern))) >= count, f"there are {count} files {pattern}"
    )


def gone(kit: KitBase, path: Path, what: str, seconds: float = 5.0) -> None:
    """Fail unless all processes that a path gives away end within so many seconds, scaled."""
    __tracebackhide__ = True
    deadline = time.monotonic() + kit.patience(seconds)
    while (left := kit.processes_of(path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    promise(not left, what, f"{len(left)} processes are left after {seconds:g} s: {left}")
