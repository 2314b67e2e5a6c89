"""The plugin of this distribution: it is found and called like any other."""

from __future__ import annotations

from multirun_core._runners.spec import RunnerSpec
from multirun_core.plugins import hookimpl


@hookimpl
def multirun_register_runners() -> list[RunnerSpec]:
    """Return the local runner."""
    return [
        RunnerSpec(
            "local",
            "multirun_core._runners.local:ParallelLocalRunner",
            "Run on the cores of this machine",
        )
    ]
