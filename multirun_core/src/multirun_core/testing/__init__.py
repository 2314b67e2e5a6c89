"""The conformance kit: what runners and `CommandScheduler`s promise, as tests to inherit.

    from multirun_core.testing import RunnerConformance, SchedulerConformance

    class TestMine(RunnerConformance):
        def make_runner(self, **options):
            return MyRunner(**options)

pytest then carries out every check against the runners that `make_runner` returns. Needs the
extra `multirun-core[testing]`, which is pytest alone: the checks bring their own event loop.

What an author may declare besides, each explained in `Declared`: the options `slots_option` and
`grace_option`; `time_scale`, `many` and `python`; `hook_module` and `heavy_modules` of a plugin;
and what the runner is able to do: `can_reattach`, `needs_shared_filesystem`,
`runs_on_this_machine`, `measures_usage`, `captures_output`, `reports_exit_codes`,
`ends_whole_trees`, `ends_with_driver`. Checks of what a runner declares not to do are skipped,
and listed with the reason at the end of the test run.

A queue system of one's own is checked alike, its commands and what is read from theirs:

    class TestMyScheduler(SchedulerConformance):
        def make_scheduler(self, **options):
            return MyScheduler(**options)

What its author may declare is explained in `DeclaredScheduler`: real output of its commands in
`printed_by_submit`, `printed_by_status`, `printed_by_find` and `printed_by_account`; `refused`
options; `can_submit`, `unknown_id` and `time_scale`.

For checks of one's own there are, in `RunnerConformance`: `run_sweep`, `run_bare` and `both_ways`,
`sweep`, `bounded` and `until` for coroutines, `driver`, `wait_until`, `processes_of`, `slots`,
`grace`, `patience` and the fixture `hostile_path`; and the functions `requires`, which says to
which runners a check applies, and `expect` and `promise`, which say what was promised and seen.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("pytest") is None:
    raise ModuleNotFoundError(
        "multirun_core.testing needs pytest: pip install 'multirun-core[testing]'", name="pytest"
    )

from multirun_core.testing.base import KitBase, expect, promise, requires
from multirun_core.testing.conformance import RunnerConformance, SchedulerConformance
from multirun_core.testing.declared import Declared
from multirun_core.testing.scheduler_declared import DeclaredScheduler

__all__ = [
    "Declared",
    "DeclaredScheduler",
    "KitBase",
    "RunnerConformance",
    "SchedulerConformance",
    "expect",
    "promise",
    "requires",
]
