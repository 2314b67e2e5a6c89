"""The whole contract for authors of plugins.

A plugin is a distribution with an entry point of the group `multirun`:

    [project.entry-points.multirun]
    mine = "multirun_mine.plugin"

and in that module, which should import nothing heavy, functions named as the hooks below:

    from multirun_core.plugins import RunnerSpec, hookimpl

    @hookimpl
    def multirun_register_runners():
        return [RunnerSpec("mine", "multirun_mine.runner:MyRunner", "Run on my machines")]

Hooks that observe belong in a module of their own, whose entry point has a name that begins with
`observer`: every sweep asks for those, and for others only when a runner is looked for.

A runner proves itself with `multirun_core.testing.RunnerConformance`. What this module,
`TaskRunner` and `AbstractRunner` ask of an author changes incompatibly only with a new `CONTRACT`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

from multirun_core._runners.spec import HostReport, RunnerSpec

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._model.status import RunStatus
    from multirun_core._sweep.sweep import Sweep

__all__ = [
    "CONTRACT",
    "HostReport",
    "RunnerSpec",
    "hookimpl",
    "hookspec",
    "multirun_register_runners",
    "multirun_run_changed",
    "multirun_sweep_finished",
    "multirun_sweep_started",
]

CONTRACT = 1
"""The version of the contract between multirun and plugins."""

hookspec = HookspecMarker("multirun")
hookimpl = HookimplMarker("multirun")


@hookspec
def multirun_register_runners() -> Iterable[RunnerSpec]:  # type: ignore[empty-body] # pyright: ignore
    """Return the runners that this distribution provides.

    Called at most once a process, when a runner is asked for that is not built in.
    """


@hookspec
def multirun_sweep_started(sweep: Sweep) -> None:
    """Take notice that a sweep starts: its runs are known, none of them was started yet.

    Like all hooks that observe, it is called in the thread and event loop of the sweep and should
    return at once. What it raises is logged and changes nothing.
    """


@hookspec
def multirun_run_changed(sweep: Sweep, run: Run, previous: RunStatus) -> None:
    """Take notice that `run.status` was `previous` until now.

    An end is told after it has been written to the journal.
    """


@hookspec
def multirun_sweep_finished(sweep: Sweep) -> None:
    """Take notice that the sweep is over, by completion or by interruption."""
