"""A hook module that does what none should: it imports its runner, and names one that is not."""

from __future__ import annotations

from multirun_core._runners.local import ParallelLocalRunner
from multirun_core.plugins import RunnerSpec, hookimpl


@hookimpl
def multirun_register_runners() -> list[RunnerSpec]:
    home = ParallelLocalRunner.__module__
    return [RunnerSpec("copy", f"{home}:NoSuchRunner", "A runner that is not there")]
