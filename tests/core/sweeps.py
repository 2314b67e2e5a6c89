"""What the tests of whole sweeps share: programs, and looking at what is on disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import abandoned, segment
from multirun_core._sweep.layout import JOURNAL

from multirun_core import AbstractRunner, Run, RunStatistics, Sweep, TaskRunner

# Leaves a mark for each execution and posts twice its parameter, as any language could.
PROGRAM = [
    "sh",
    "-c",
    'echo "$MULTIRUN_ATTEMPT" >> "$MARKS/$MULTIRUN_INDEX" && '
    'echo "{\\"twice\\": $((2 * MULTIRUN_PARAM_N))}" > results.tmp && '
    "mv results.tmp results.json",
]


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return what `condition` does once it is true; fail after some time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {condition}"
        time.sleep(0.005)
    return value


class InThread:
    """A sweep that goes on in a thread while the test breaks something."""

    def __init__(self, work: Callable[[], Sweep]) -> None:
        self._sweeps: list[Sweep] = []
        self._errors: list[BaseException] = []

        def carry_out() -> None:
            try:
                self._sweeps.append(work())
            except BaseException as error:
                self._errors.append(error)

        self._thread = threading.Thread(target=carry_out, daemon=True)
        self._thread.start()

    def result(self, within: float) -> Sweep:
        """Return what it comes to in so many seconds."""
        self._thread.join(within)
        assert not self._thread.is_alive(), "the sweep does not come to its end"
        if self._errors:
            raise self._errors[0]
        return self._sweeps[0]


def remake_by(monkeypatch: pytest.MonkeyPatch, make: Callable[[], TaskRunner]) -> None:
    """Choose what the runner of a sweep is made anew as, where an earlier driver has died."""
    record = {"name": "made", "options": {}}
    monkeypatch.setattr(abandoned, "runner_of", lambda *_: (make(), record))


def events(root: Path) -> list[dict[str, Any]]:
    """Return all events of a sweep's journal."""
    folder = root / JOURNAL
    return [
        event
        for number in segment.numbers(folder)
        for event in segment.read(segment.path_of(folder, number))
    ]


def successes(root: Path) -> Counter[int]:
    """Return how often the journal says of each run that it succeeded."""
    return Counter(
        event["run"]
        for event in events(root)
        if event["event"] == "end" and event["status"] == "success"
    )


def executions(marks: Path) -> Counter[int]:
    """Return how often each run was executed, by the marks that `PROGRAM` left."""
    return Counter({int(path.name): len(path.read_text().split()) for path in marks.iterdir()})


def processes_with(text: str) -> dict[int, str]:
    """Return the processes whose environment or command holds a text: pid and command."""
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if text.encode() in command + (entry / "environ").read_bytes():
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


@contextmanager
def script(code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a script whose output is read; kill it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class ThreeMethods(AbstractRunner):
    """The specification's three methods and no more; starts runs in `add` or in `gather`."""

    def __init__(self, *, lazily: bool = False) -> None:
        self.lazily = lazily
        self.runs: list[Run] = []
        self._waiting: list[tuple[Run, list[str], Path]] = []

    def computeStatistics(self) -> RunStatistics:
        return RunStatistics(total_count=len(self.runs))

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        run = Run()
        self.runs.append(run)
        if self.lazily:
            self._waiting.append((run, cmd, cwd))
        else:
            run.task = asyncio.get_running_loop().create_task(self._one(run, cmd, cwd))
        return run

    async def _one(self, run: Run, cmd: list[str], cwd: Path) -> None:
        run.status = "running"
        process = await asyncio.create_subprocess_exec(*cmd, cwd=cwd)
        run.status = "success" if await process.wait() == 0 else "failure"

    async def gather(self) -> None:
        todo = [self._one(*one) for one in self._waiting]
        self._waiting.clear()
        tasks = [run.task for run in self.runs if run.task is not None]
        await asyncio.gather(*todo, *tasks)
