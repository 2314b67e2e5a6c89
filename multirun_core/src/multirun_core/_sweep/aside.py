"""Keeping the records of a large sweep out of Python's garbage collections."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator

_LEAST_RUNS = 10_000  # below that a collection takes some milliseconds


@contextlib.contextmanager
def aside(runs: int) -> Generator[None]:
    """Set aside what there is, while a sweep of so many runs goes on; see gc.freeze().

    A full collection looks at every record. With a million it holds the event loop up for a
    second, again and again, and finds nothing. Where somebody else has set objects aside, nothing
    is done, since they could not be told from ours again.
    """
    ours = runs >= _LEAST_RUNS and gc.isenabled() and gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


@contextlib.contextmanager
def uncollected() -> Generator[None]:
    """Make many objects that stay, and no cycles, without a look at each again and again."""
    ours = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if ours:
            gc.enable()
