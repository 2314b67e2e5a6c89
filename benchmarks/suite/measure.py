"""Measuring two ways of doing the same work in alternation, and the ratios between them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_BOUND_SECONDS = 1800.0
_NOT_PASSED_ON = ("MULTIRUN_", "PYTHON")  # a run around us, and what keeps bytecode from being used


class SideError(Exception):
    """Raised when a side could not be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a side.

    Attributes:
        seconds: how long it took, for one unit of the work.
        cpu_seconds: CPU time of it and of all that it waited for, for one unit.
        told: what the side said about itself.
    """

    seconds: float
    cpu_seconds: float
    told: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way of doing some work: a program, started anew for each measurement.

    Attributes:
        name: what it is; sides of the same name are measured once for all rows that have them.
        command: returns the program's arguments, given a new folder's path (nothing is there yet);
            what it has to prepare is not measured.
        units: how many runs, or starts, the work consists of.
        times: how often the program is started for one measurement.
        inside: whether it measures itself, and prints {"seconds": …} as its last line.
        staged: how many params.json it must leave in its folder: the proof of the work.
        missing: what has to be installed first; None where all is there.
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    units: int = 1
    times: int = 1
    inside: bool = False
    staged: int | None = None
    missing: str | None = None


def ratio(a: Sample, b: Sample) -> float:
    """Return how many times longer one took than the other."""
    return a.seconds / b.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: one side against another.

    Attributes:
        id: what the row is called; further rows of the same measurement add a letter.
        what: what is compared, for people.
        a: our side.
        b: the other.
        must: the figure must not be over this; None where it is only reported.
        aim: the figure that is wanted.
        figure: what is told of each round; by default the ratio of the times.
        same: what both sides tell that must be equal, as proof of the same work; None for nothing.
        unit: of the figure; none for a ratio.
    """

    id: str
    what: str
    a: Side
    b: Side
    must: float | None = None
    aim: float | None = None
    figure: Callable[[Sample, Sample], float] = ratio
    same: str | None = None
    unit: str = ""

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.a, self.b


@dataclass(slots=True, kw_only=True)
class Measured:
    """What the rounds gave for a row.

    Attributes:
        row: the row.
        figures: one a round.
        a: the samples of one side, one a round.
        b: the samples of the other.
        problem: why there are none.
    """

    row: Row
    figures: list[float] = field(default_factory=list[float])
    a: list[Sample] = field(default_factory=list[Sample])
    b: list[Sample] = field(default_factory=list[Sample])
    problem: str | None = None

    @property
    def median(self) -> float:
        """The figure in the middle."""
        return statistics.median(self.figures)


class Bench:
    """Runs sides, each time in a new folder.

    Attributes:
        place: where the folders are made.
        failures: the sides that failed, and how.
    """

    def __init__(self, place: Path, say: Callable[[str], None]) -> None:
        """Measure in `place`; `say` is told how far it is."""
        self.place = place
        self.failures: dict[str, str] = {}
        self._say = say
        self._count = 0

    def compare(self, rows: Iterable[Row], *, rounds: int, warm_up: int = 1) -> list[Measured]:
        """Measure all sides of some rows once a round, in alternation.

        Every other round goes backwards, so that no side always comes after the same one. A side
        whose other one is not installed is measured all the same: it must not fail.

        Args:
            rows: the rows; the sides that they share are measured once a round.
            rounds: how many rounds count.
            warm_up: how many rounds come before, and do not.
        """
        rows = list(rows)
        sides = {side.name: side for row in rows for side in row.sides if side.missing is None}
        taken: dict[str, list[Sample]] = {name: [] for name in sides}
        for number in range(-warm_up, rounds):
            for name in sorted(sides, key=list(sides).index, reverse=number % 2 != 0):
                if name in self.failures:
                    continue
                self._say(f"round {number + 1} of {rounds}: {name}")
                try:
                    sample = self._sample(sides[name])
                except SideError as error:
                    self.failures[name] = str(error)
                else:
                    if number >= 0:
                        taken[name].append(sample)
        return [self._measured(row, taken) for row in rows]

    def _measured(self, row: Row, taken: dict[str, list[Sample]]) -> Measured:
        for side in row.sides:
            if side.name in self.failures:
                return Measured(row=row, problem=f"{side.name}: {self.failures[side.name]}")
        for side in row.sides:
            if side.missing is not None:
                return Measured(row=row, problem=f"not installed: {side.missing}")
        a, b = taken[row.a.name], taken[row.b.name]
        if row.same is not None:
            told = {str(sample.told.get(row.same)) for sample in (*a, *b)}
            if len(told) != 1:
                return Measured(row=row, problem=f"{row.same} differ: {', '.join(sorted(told))}")
        figures = [row.figure(one, other) for one, other in zip(a, b, strict=True)]
        return Measured(row=row, figures=figures, a=a, b=b)

    def _sample(self, side: Side) -> Sample:
        self._count += 1
        folder = self.place / f"{self._count:04d}"
        command = side.command(folder)
        seconds = cpu_seconds = 0.0
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            for _ in range(side.times):
                wall, cpu = _run(command, out, errors)
                seconds += wall
                cpu_seconds += cpu
            told = _last_line(out) if side.inside else {}
        if side.inside:
            seconds = told["seconds"]
        if side.staged is not None:
            found = sum("params.json" in names for _, _, names in os.walk(folder))
            if found != side.staged:
                raise SideError(f"it has staged {found} runs of {side.staged}")
        shutil.rmtree(folder, ignore_errors=True)
        units = side.units * side.times
        return Sample(seconds=seconds / units, cpu_seconds=cpu_seconds / units, told=told)


def run_to_end(command: Sequence[str]) -> None:
    """Run a program that prepares something.

    Raises:
        SideError: it failed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        _run(command, out, errors)


def run_inside(command: Sequence[str], seconds: float = _BOUND_SECONDS) -> dict[str, Any]:
    """Run a program that measures itself, and return what it told.

    Args:
        command: the program's arguments.
        seconds: how long it may take.

    Raises:
        SideError: it failed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        _run(command, out, errors, seconds)
        return _last_line(out)


def _run(
    command: Sequence[str], out: IO[bytes], errors: IO[bytes], bound: float = _BOUND_SECONDS
) -> tuple[float, float]:
    """Run a program and return its seconds and its CPU seconds."""
    env = {name: text for name, text in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=errors,
        env=env,
        process_group=0,
    )
    watch = threading.Timer(bound, _kill, [process.pid])
    watch.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        _kill(process.pid)
        process.wait()
        raise
    finally:
        watch.cancel()
    if process.returncode != 0:
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip().splitlines()
        raise SideError(f"exit status {process.returncode}: {words[-1] if words else 'no words'}")
    return seconds, usage.ru_utime + usage.ru_stime


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _last_line(out: IO[bytes]) -> dict[str, Any]:
    out.seek(0)
    lines = out.read().splitlines()
    try:
        told: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise SideError(f"it did not say how long it took: {error}") from error
    return told
