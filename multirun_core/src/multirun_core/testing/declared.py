"""What an author declares of a runner, and which checks apply to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from multirun_core.testing.waiting import Waits

if TYPE_CHECKING:
    from multirun_core._runners.base import AbstractRunner


class Declared(Waits):
    """What an author declares of a runner.

    Only `make_runner` must be written. It is also called in other processes: instance attributes,
    as an autouse fixture may set them, are passed along and must therefore be picklable, and the
    class must stand at the top of its module or in another class.

    Attributes:
        slots_option: the option that limits how many runs go on at once; None where the backend
            decides.
        grace_option: the option for the seconds between TERM and KILL when a run is ended; None
            where there is none.
        many: how many runs the check of their cost makes; where that takes too long, fewer.
        time_scale: how much more patience than for processes of this machine a check needs.
        python: the Python that runs use; `multirun_core` must be importable there.
        hook_module: the module with the plugin's hooks, if its lightness is to be checked.
        heavy_modules: what importing `hook_module` must not import.
        can_reattach: whether a new driver finds runs again that outlived theirs; None to ask the
            runner's `can_reattach`.
        needs_shared_filesystem: whether runs see the files of this machine since they must.
        runs_on_this_machine: whether runs are processes of this machine, to be looked at by pid
            (which takes Linux), and so see its files.
        measures_usage: whether CPU time and memory of a run are recorded.
        captures_output: whether output is in `stdout.txt` and `stderr.txt` in the run directory.
        reports_exit_codes: whether `run.exit_code` and the reason "signal" are known, not only
            success and failure.
        ends_whole_trees: whether what ends a run ends all of its descendants too, those that
            ignore TERM or have a session of their own included.
        ends_with_driver: whether runs end when their driver is killed, unless they are found
            again later.
        sees_private_mounts: whether a sweep may lie in a file system that is mounted for its
            driver alone: its runs are children of the driver, or files are carried to them.
    """

    slots_option: ClassVar[str | None] = "max_parallel"
    grace_option: ClassVar[str | None] = "grace"
    many: ClassVar[int] = 2000
    python: ClassVar[str] = sys.executable
    hook_module: ClassVar[str | None] = None
    heavy_modules: ClassVar[Sequence[str]] = ()

    can_reattach: ClassVar[bool | None] = None
    needs_shared_filesystem: ClassVar[bool] = True
    runs_on_this_machine: ClassVar[bool] = True
    measures_usage: ClassVar[bool] = True
    captures_output: ClassVar[bool] = True
    reports_exit_codes: ClassVar[bool] = True
    ends_whole_trees: ClassVar[bool] = True
    ends_with_driver: ClassVar[bool] = True
    sees_private_mounts: ClassVar[bool] = True

    def make_runner(self, **options: Any) -> AbstractRunner:
        """Return a new runner with these options; the one method that an author writes."""
        raise NotImplementedError(f"{type(self).__name__} must define make_runner(self, **options)")

    # What applies.

    def why_not(self, capability: str) -> str | None:
        """Return why checks that need a capability do not apply; None where they do."""
        if capability == "can_reattach" and self.can_reattach is None:
            able = getattr(self.make_runner(), "can_reattach", False)
            return None if able else "its runner cannot reattach"
        if capability == "shares_files":
            if self.needs_shared_filesystem or self.runs_on_this_machine:
                return None
            return "its runs do not see the files of this machine"
        if capability == "runs_on_this_machine" and not Path("/proc/self/environ").exists():
            return "processes are looked at in /proc, which takes Linux"
        value = getattr(self, capability)
        return None if value else f"{type(self).__name__} declares {capability} = {value!r}"

    def slots(self, count: int) -> dict[str, Any]:
        """Return the options for so many runs at once; none where the backend decides."""
        return {} if self.slots_option is None else {self.slots_option: count}

    def grace(self, seconds: float) -> dict[str, Any]:
        """Return the options for so much time between TERM and KILL; none where not to be had."""
        return {} if self.grace_option is None else {self.grace_option: seconds}
