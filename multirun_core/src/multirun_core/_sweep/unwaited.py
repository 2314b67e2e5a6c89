"""Sweeps that go on in a thread when the script that began them has ended.

Nobody waits for that thread, so without this the interpreter would end in the middle of the sweep,
and the script would look as if it had done its work.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

if TYPE_CHECKING:
    from multirun_core._sweep.conduct import Conductor

_HURRY_SECONDS = 15.0
_LOOK_SECONDS = 0.05
_under_way: WeakKeyDictionary[concurrent.futures.Future[Any], Conductor] = WeakKeyDictionary()
_over: WeakSet[concurrent.futures.Future[Any]] = WeakSet()


def see_to_its_end(outcome: concurrent.futures.Future[Any], conductor: Conductor) -> None:
    """Have the interpreter's exit wait for a sweep, or end it where the script has failed."""
    if not _under_way:
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)
    _under_way[outcome] = conductor
    outcome.add_done_callback(_over.add)


def _at_exit() -> None:
    """Wait for all that go on; in the main thread, when all other threads have ended."""
    for outcome, conductor in list(_under_way.items()):
        if not outcome.done() and conductor.live is not None and conductor.sweep is not None:
            try:
                _see_off(outcome, conductor)
            except KeyboardInterrupt:
                conductor.live.cancel()  # it may have come before the first one had done that
                conductor.hurry()
                _wait(outcome, _HURRY_SECONDS)
            _tell(outcome, conductor)


def _see_off(outcome: concurrent.futures.Future[Any], conductor: Conductor) -> None:
    sweep, live = conductor.sweep, conductor.live
    assert sweep is not None  # noqa: S101 - the caller has looked
    assert live is not None  # noqa: S101
    # An error in an interactive session is not the reason why that session ends.
    if getattr(sys, "last_type", None) is not None and not hasattr(sys, "ps1"):
        conductor.say(f"the script has failed; ending the runs of {sweep.path} that are under way")
        live.cancel()
    else:
        live.close()
        conductor.say(f"the script has ended; waiting for {sweep.path} (Ctrl-C ends its runs)")
    try:
        _wait(outcome)
    except KeyboardInterrupt:
        conductor.say(f"Ctrl-C: {conductor.interrupting} (once more: at once)")
        live.cancel()
        _wait(outcome)


def _wait(outcome: concurrent.futures.Future[Any], seconds: float = math.inf) -> None:
    """Wait for an end, without a lock: where Ctrl-C comes as one is taken, it stays taken.

    Then the sweep's thread could never say that it has ended.
    """
    until = time.monotonic() + seconds
    while outcome not in _over and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)


def _tell(outcome: concurrent.futures.Future[Any], conductor: Conductor) -> None:
    sweep = conductor.sweep
    assert sweep is not None  # noqa: S101
    with contextlib.suppress(concurrent.futures.CancelledError):
        error = outcome.exception() if outcome.done() else None
        if error is not None:
            conductor.say(str(error))
    statistics = sweep.statistics
    told = f"{statistics.success_count} of {statistics.total_count} runs succeeded"
    if statistics.success_count < statistics.total_count:
        told += (
            f". Carry on with: multirun resume {sweep.path}   (or the same call with resume=True)"
        )
    conductor.say(told)
