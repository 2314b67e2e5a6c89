"""What the options of `ParallelLocalRunner` mean on this machine."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from multirun_core._model.resources import Resources, check_count
from multirun_core._runners.cpus import usable_cpus
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def device_names(gpus: Sequence[int | str] | None) -> tuple[str, ...]:
    """Return the devices as variables name them.

    Raises:
        UsageError: there are none, one is given twice, or one is no name of a device.
    """
    if gpus is None:
        return ()
    names = tuple(str(gpu).strip() for gpu in gpus)
    wrong = [name for name in names if not re.fullmatch(r"[\w.:/-]+", name) or name[0] == "-"]
    if not names or wrong or len(set(names)) < len(names) or isinstance(gpus, str):
        raise UsageError(
            f"gpus is {gpus!r}; it must name each device once, as in [0, 1] or ['GPU-8d2a…', …]"
        )
    return names


def cpus_of(cpus_per_run: int | None, *, pin: bool) -> int | None:
    """Return how many CPUs each run is given; None where that is not said.

    Raises:
        UsageError: it is no number from 1, or this system cannot pin.
    """
    if pin and not hasattr(os, "sched_setaffinity"):
        raise UsageError("pin=True needs sched_setaffinity(2), which this system does not have")
    if cpus_per_run is None:
        return 1 if pin else None
    return check_count("cpus_per_run", cpus_per_run, least=1)


def slots_for(needs: Resources, gpus: Sequence[str]) -> int:
    """Return how many runs have the CPUs and GPUs that each is given; at least 1."""
    slots = usable_cpus() // (needs.cpus or 1)
    if gpus:
        slots = len(gpus) if needs.cpus is None else min(slots, len(gpus))
    return max(1, slots)
