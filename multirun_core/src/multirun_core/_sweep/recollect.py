"""Collecting results anew from the runs of a sweep that has ended."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from multirun_core._inrun import store_results
from multirun_core._staging.thin import was_thinned
from multirun_core._sweep import results, segment
from multirun_core._sweep.claiming import claim, give_up
from multirun_core._sweep.collect import Collector, collect
from multirun_core._sweep.layout import JOURNAL
from multirun_core.errors import JournalError, ResultsError

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._sweep.keeper import Reader


def recollect(keeper: Reader, collector: Collector) -> None:
    """Collect the results of all runs that have succeeded, and write them down.

    Killed half-way, those that were reached have new results and the others their old ones.

    Raises:
        SweepLockedError: a driver works on the sweep.
        JournalError: it cannot be written down.
    """
    number = claim(keeper.root / JOURNAL, take_over=False)
    path = segment.path_of(keeper.root / JOURNAL, number)
    try:
        with path.open("ab") as file:
            for run in keeper.runs:
                if (
                    run.status == "success"
                    and run.started is not None
                    and not was_thinned(keeper.directory(run))  # its result is all that is left
                ):
                    file.write(segment.encode(_collected(keeper, run, collector)))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise JournalError(f"cannot write the journal {path}: {error.strerror}") from error
    finally:
        give_up(keeper.root, number, "collected")


def _collected(keeper: Reader, run: Run, collector: Collector) -> dict[str, Any]:
    directory = keeper.directory(run)
    event: dict[str, Any] = {"event": "result", "run": run.index}
    run.inline_result = run.result_error = None
    try:
        store_results(str(directory), collect(collector, directory))
    except ResultsError as error:
        event["result_error"] = run.result_error = str(error)
    else:
        run.inline_result = results.peek(directory)
        if run.inline_result is not None:
            event["result"] = json.loads(run.inline_result)
    return event
