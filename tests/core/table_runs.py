"""Runs with whatever result, for the tests of the table."""

from __future__ import annotations

import json
from typing import Any, cast

from multirun_core._model.run import Keeper

from multirun_core import Run


class Results:
    """A keeper that knows results alone: a list of them by the runs' index."""

    def __init__(self, results: list[Any]) -> None:
        self.results = results
        self.loaded = 0

    def result(self, run: Run) -> Any:
        self.loaded += 1
        found = self.results[run.index or 0]
        if isinstance(found, Exception):
            raise found
        return found

    def changed(self, run: Run, previous: str) -> None:
        """Take notice of a new status: there is nobody to tell."""


def make_runs(*params_and_result: tuple[dict[str, Any], Any]) -> list[Run]:
    """Make a pending run for each pair of parameters and a result; an exception is raised."""
    keeper = cast(Keeper, Results([result for _, result in params_and_result]))
    return [
        Run(index=index, params=json.dumps(params), keeper=keeper)
        for index, (params, _) in enumerate(params_and_result)
    ]
