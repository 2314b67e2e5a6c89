"""The conformance kit: what every runner promises, as tests to inherit.

    from multirun_core.testing import RunnerConformance

    class TestMine(RunnerConformance):
        def make_runner(self, **options):
            return MyRunner(**options)

pytest then carries out every check against the runners that `make_runner` returns. Needs the
extra `multirun-core[testing]`, which is pytest alone: the checks bring their own event loop.

What `RunnerConformance` offers to set, see `KitBase` for each: `slots_option`, `time_scale`,
`python`, `hook_module`, and what the runner is able to do: `can_reattach`,
`needs_shared_filesystem`, `runs_on_this_machine`, `measures_usage`, `captures_output`,
`reports_exit_codes`, `ends_whole_trees`, `ends_with_driver`, `sees_private_mounts`. Checks of what
a runner declares not to do are skipped, and listed with the reason at the end of the test run.

For checks of one's own: `run_sweep`, `run_bare`, `bounded`, `driver`, `wait_until`,
`processes_of`, `slots`, `patience`, the fixture `hostile_path`, the decorator `requires`, and
`expect` and `promise`, by which a check says what was promised and what was seen.
"""

from __future__ import annotations

from multirun_core.testing.base import KitBase, expect, promise, requires
from multirun_core.testing.conformance import RunnerConformance

__all__ = ["KitBase", "RunnerConformance", "expect", "promise", "requires"]
