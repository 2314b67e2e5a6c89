"""Names of our own in a sweep's directory and in a run directory."""

from __future__ import annotations

from multirun_core._model.run import PRIVATE as PRIVATE
from multirun_core._model.run import STDERR, STDOUT

SHARED = "shared"
RUNS = "runs"

PARAMS = "params.json"
RESULTS = ("results.json", "results.pkl", "results.npz")
RESULTS_ASIDE = (".results-", ".tmp")  # how names of unfinished results begin and end
ATTEMPTS = "attempts"  # in PRIVATE: a folder for each earlier attempt
ATTEMPT = "attempt"  # in PRIVATE: the number of the present attempt, where there were others
CLEARING = "clearing-"  # in PRIVATE: the attempt before which the directory is being cleared
PART = f"{PRIVATE}.part-"  # how a copy is named until it is whole

OWN = frozenset({PARAMS, STDOUT, STDERR, *RESULTS})


def is_own(name: str) -> bool:
    """Whether a name at the top of a run directory is for us to write, so no input may have it."""
    return name in OWN or name.startswith(PRIVATE)


def left_by_us(name: str) -> bool:
    """Whether a name at the top of a run directory is of a file that our own code leaves there."""
    begins, ends = RESULTS_ASIDE
    return name in OWN or (name.startswith(begins) and name.endswith(ends))
