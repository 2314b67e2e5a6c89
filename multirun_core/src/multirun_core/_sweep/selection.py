"""Matching the runs of a call with those of the journal, and choosing what to execute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from multirun_core._model import params
from multirun_core._model.run import Run
from multirun_core.errors import SweepError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multirun_core._sweep.call import Call
    from multirun_core._sweep.opening import Opened


class Matcher:
    """Finds the run that parameters belong to; equal ones are told apart by their order."""

    def __init__(self, runs: list[Run]) -> None:
        """Match with the runs that the journal has."""
        self._known: dict[tuple[bytes, int], Run] = {}
        self._seen: Counter[bytes] = Counter()
        for run in runs:
            self._known[self._next(run.params_json)] = run
        self._seen.clear()

    def __call__(self, params_json: str) -> Run | None:
        """Return the run of these parameters, each time the next one; None where it is new."""
        return self._known.get(self._next(params_json)) if self._known else None

    def _next(self, params_json: str) -> tuple[bytes, int]:
        digest = params.identity(params_json)
        self._seen[digest] += 1
        return digest, self._seen[digest]


def select(call: Call, opened: Opened) -> None:
    """Match the call's runs with the journal's by their parameters, and choose what to execute."""
    runs = opened.history.runs
    if call.runs is None:
        if not opened.history.complete:
            raise SweepError(
                f"{call.root}: its driver died before all runs were written down; "
                "call the script or command that began it again, with resume"
            )
        asked = list(runs)
    else:
        asked = [_run_of(text, opened) for text in call.runs]
    opened.asked = asked
    last = len(runs) + len(opened.new) - 1
    for name, indices in (("rerun", call.rerun), ("only", call.only)):
        if isinstance(indices, frozenset) and (
            wrong := sorted(index for index in indices if not 0 <= index <= last)
        ):
            raise UsageError(f"{name} asks for run {wrong[0]}; there are the runs 0 to {last}")
    for run in asked:
        if _wanted(call, run):
            if run.status == "success":
                opened.again.append(run)
            opened.todo.append(run)
    strange = [
        run
        for run in opened.todo
        if run.handle is not None and not call.runner.can_reattach and not run.done
    ]
    if strange:
        opened.notes.append(
            f"{len(strange)} run(s) were handed to another runner, such as run {strange[0].index} "
            f"({strange[0].handle}), and may be alive there; they are executed anew here"
        )
    chosen = {id(run) for run in opened.todo}
    opened.excluded = [
        run
        for run in (*runs, *opened.new)
        if id(run) not in chosen and run.status in ("pending", "running")
    ]
    absent = len(runs) - sum(1 for run in asked if run.index is not None and run.index < len(runs))
    if absent:
        opened.notes.append(
            f"{absent} run(s) of this sweep are not among those given now; they stay as they are"
        )
    runs += opened.new


def _run_of(text: str, opened: Opened) -> Run:
    run = opened.match(text)
    if run is None:
        run = Run(index=len(opened.history.runs) + len(opened.new), params=text)
        opened.new.append(run)
    return run


def left_out(opened: Opened) -> bool:
    """Whether a run that has not succeeded is not to be executed now."""
    chosen = {id(run) for run in opened.todo}
    return any(run.status != "success" and id(run) not in chosen for run in opened.history.runs)


def ranges_of(runs: Iterable[Run]) -> list[tuple[int, int]]:
    """Return the indices of runs as ranges, of which both ends belong to them."""
    ranges: list[tuple[int, int]] = []
    for index in sorted(run.index for run in runs if run.index is not None):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return ranges


def range_texts(runs: Iterable[Run]) -> list[str]:
    """Return those ranges as the options of commands take them, with commas between."""
    return [f"{first}-{last}" if last > first else f"{first}" for first, last in ranges_of(runs)]


def _wanted(call: Call, run: Run) -> bool:
    if call.only is not None and run.index not in call.only:
        return False
    if call.rerun is None:
        return run.status != "success"
    if call.rerun == "failed":
        return run.status == "failure"
    return call.rerun == "all" or run.index in call.rerun
