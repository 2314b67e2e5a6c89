"""Run one command with many parameter sets, each in a directory of its own.

    from multirun_core import multirun
    sweep = multirun(runs=[{"mass": 1}, {"mass": 2}], cmd=["python", "simulate.py"])
    sweep.to_dataframe()

Importing this package imports next to nothing, since every run of a sweep may pay for it: names
are looked up when they are first used. It works on Python 3.8 for `getRunParams` and
`postRunResults`, and needs 3.11.4 for all else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multirun_core._display.status import displayStatus as displayStatus
    from multirun_core._inrun import getRunParams as getRunParams
    from multirun_core._inrun import postRunResults as postRunResults
    from multirun_core._model.files import FileLinkage as FileLinkage
    from multirun_core._model.files import FileResource as FileResource
    from multirun_core._model.params import ParamMap as ParamMap
    from multirun_core._model.params import ParamValue as ParamValue
    from multirun_core._model.resources import Resources as Resources
    from multirun_core._model.run import ExitStatus as ExitStatus
    from multirun_core._model.run import Run as Run
    from multirun_core._model.sets import ParamSet as ParamSet
    from multirun_core._model.sets import grid as grid
    from multirun_core._model.sets import sample as sample
    from multirun_core._model.sets import seeds as seeds
    from multirun_core._model.sets import zipped as zipped
    from multirun_core._model.status import RunStatistics as RunStatistics
    from multirun_core._model.status import RunStatus as RunStatus
    from multirun_core._runners.base import AbstractRunner as AbstractRunner
    from multirun_core._runners.local import ParallelLocalRunner as ParallelLocalRunner
    from multirun_core._runners.task import TaskRunner as TaskRunner
    from multirun_core._sweep.api import multirun as multirun
    from multirun_core._sweep.api import multirunAsync as multirunAsync
    from multirun_core._sweep.sweep import Sweep as Sweep
    from multirun_core.errors import BackendError as BackendError
    from multirun_core.errors import InvalidTransitionError as InvalidTransitionError
    from multirun_core.errors import JournalError as JournalError
    from multirun_core.errors import MultirunError as MultirunError
    from multirun_core.errors import NotInRunError as NotInRunError
    from multirun_core.errors import ParamError as ParamError
    from multirun_core.errors import ResultsError as ResultsError
    from multirun_core.errors import RunnerClosedError as RunnerClosedError
    from multirun_core.errors import RunnerConflictError as RunnerConflictError
    from multirun_core.errors import RunnerError as RunnerError
    from multirun_core.errors import RunnerLookupError as RunnerLookupError
    from multirun_core.errors import RunnerNotFoundError as RunnerNotFoundError
    from multirun_core.errors import RunnerOptionError as RunnerOptionError
    from multirun_core.errors import RunnerUnavailableError as RunnerUnavailableError
    from multirun_core.errors import RunsFailedError as RunsFailedError
    from multirun_core.errors import StagingError as StagingError
    from multirun_core.errors import SubmitError as SubmitError
    from multirun_core.errors import SweepChangedError as SweepChangedError
    from multirun_core.errors import SweepError as SweepError
    from multirun_core.errors import SweepExistsError as SweepExistsError
    from multirun_core.errors import SweepLockedError as SweepLockedError
    from multirun_core.errors import SweepNotFoundError as SweepNotFoundError
    from multirun_core.errors import SweepSupersededError as SweepSupersededError
    from multirun_core.errors import TransportError as TransportError
    from multirun_core.errors import TransportTimeoutError as TransportTimeoutError
    from multirun_core.errors import UsageError as UsageError

_HOMES = {
    "_display.status": ["displayStatus"],
    "_inrun": ["getRunParams", "postRunResults"],
    "_model.files": ["FileLinkage", "FileResource"],
    "_model.params": ["ParamMap", "ParamValue"],
    "_model.resources": ["Resources"],
    "_model.run": ["ExitStatus", "Run"],
    "_model.sets": ["ParamSet", "grid", "sample", "seeds", "zipped"],
    "_model.status": ["RunStatistics", "RunStatus"],
    "_runners.base": ["AbstractRunner"],
    "_runners.local": ["ParallelLocalRunner"],
    "_runners.task": ["TaskRunner"],
    "_sweep.api": ["multirun", "multirunAsync"],
    "_sweep.sweep": ["Sweep"],
    "errors": [
        "BackendError",
        "InvalidTransitionError",
        "JournalError",
        "MultirunError",
        "NotInRunError",
        "ParamError",
        "ResultsError",
        "RunnerClosedError",
        "RunnerConflictError",
        "RunnerError",
        "RunnerLookupError",
        "RunnerNotFoundError",
        "RunnerOptionError",
        "RunnerUnavailableError",
        "RunsFailedError",
        "StagingError",
        "SubmitError",
        "SweepChangedError",
        "SweepError",
        "SweepExistsError",
        "SweepLockedError",
        "SweepNotFoundError",
        "SweepSupersededError",
        "TransportError",
        "TransportTimeoutError",
        "UsageError",
    ],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    home, its_name = _HOME_OF.get(name), name
    if name == "__version__":
        home, its_name = "_version", "VERSION"
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module("." + home, __name__), its_name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]
