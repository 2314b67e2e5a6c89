"""The conformance kit against the runner on four real hosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core.testing import RunnerConformance
from multirun_core.testing.base import KitBase
from multirun_core.testing.promises import required_by
from multirun_core.testing.tidiness import TidinessChecks
from multirun_ssh.runner import SSHRunner
from ssh_bed import SSHBed
from ssh_host import USER, Host

SYSTEM_PYTHON = "/usr/bin/python3"


class OnHosts(KitBase):
    """What all have in common; hosts are slower to answer than this machine."""

    time_scale: ClassVar[float] = 3.0
    many: ClassVar[int] = 200
    hook_module: ClassVar[str | None] = "multirun_ssh.plugin"
    heavy_modules: ClassVar[Sequence[str]] = ("asyncssh", "asyncio", "click", "rich")
    runs_on_this_machine: ClassVar[bool] = False
    measures_usage: ClassVar[bool] = False  # of CPU time and memory, the latter is not known
    shared: ClassVar[bool] = False
    login: ClassVar[str | None] = None

    @pytest.fixture(autouse=True)
    def _hosts(self, bed: SSHBed, hosts: list[Host]) -> None:
        self.names = [f"{self.login}@{h.name}" if self.login else h.name for h in hosts]
        self.ssh_config = bed.ssh_config

    def make_runner(self, **options: Any) -> SSHRunner:
        options = {"slots": 2, "shared_filesystem": self.shared, **options}
        return SSHRunner(hosts=self.names, ssh_config=Path(self.ssh_config), **options)


class OverSSH(OnHosts, RunnerConformance):
    """The whole kit."""


class TestRoot(OverSSH):
    """As root, and files are carried to the hosts and back."""

    needs_shared_filesystem: ClassVar[bool] = False


@pytest.mark.long
@pytest.mark.namespaces
class TestUser(OverSSH):
    """As a normal user, whose Python has never heard of multirun."""

    needs_shared_filesystem: ClassVar[bool] = False
    login: ClassVar[str | None] = USER
    python: ClassVar[str] = SYSTEM_PYTHON


@pytest.mark.long
class TestShared(OverSSH):
    """In a file system that this machine and the hosts share."""

    shared: ClassVar[bool] = True
    sees_private_mounts: ClassVar[bool] = False  # what is mounted here is not mounted there


@pytest.mark.long
class TestWarm(OverSSH):
    """Forked from a warm interpreter of the host, where they are Python."""

    needs_shared_filesystem: ClassVar[bool] = False

    def make_runner(self, **options: Any) -> SSHRunner:
        return super().make_runner(warm=True, **options)


@pytest.mark.long
@pytest.mark.timeout(400)
class TestThousands(OnHosts):
    """The bounds on what runs cost the driver, with as many runs as the kit means."""

    needs_shared_filesystem: ClassVar[bool] = False
    many: ClassVar[int] = KitBase.many

    test_many_runs_cost_the_driver_little = TidinessChecks.test_many_runs_cost_the_driver_little


# What is told by pids, or by files that both a run and a check see while it goes on: `TestShared`,
# test_drivers.py and test_wrapper.py look at that.
LEFT_OUT = {
    "test_a_cancelled_sweep_ends_its_runs_and_is_resumed",
    "test_a_driver_killed_as_a_run_ends_is_resumed",
    "test_a_run_cancelled_while_it_waits_is_never_started",
    "test_a_run_that_ended_without_a_driver_is_adopted",
    "test_a_run_that_goes_on_is_journaled_as_running",
    "test_a_run_that_waits_for_a_slot_is_pending",
    "test_a_run_with_fifty_children_is_ended_wholly",
    "test_a_time_limit_ends_a_run",
    "test_a_time_limit_ends_a_whole_tree",
    "test_an_unwritable_directory_is_told_and_the_sweep_resumed",
    "test_as_many_runs_at_once_as_the_limit_allows",
    "test_cancelled_while_it_starts_a_run_leaks_nothing",
    "test_cancelled_with_a_child_in_a_session_of_its_own",
    "test_cancelled_with_a_child_that_ignores_term",
    "test_cancelled_with_a_child_without_environment",
    "test_cancelling_a_run_ends_its_whole_tree",
    "test_cancelling_gather_ends_all_runs",
    "test_cancelling_one_run_ends_it_alone",
    "test_children_in_sessions_end_with_the_driver",
    "test_children_that_ignore_term_end_with_the_driver",
    "test_ended_with_a_child_in_a_session_of_its_own",
    "test_ended_with_a_child_that_ignores_term",
    "test_ended_with_a_child_without_environment",
    "test_no_more_runs_at_once_than_the_limit",
    "test_no_open_file_is_left",
    "test_no_process_is_left",
    "test_resume_executes_only_the_rest",
    "test_runs_end_with_their_driver",
    "test_timed_out_with_a_child_in_a_session_of_its_own",
    "test_timed_out_with_a_child_that_ignores_term",
    "test_timed_out_with_a_child_without_environment",
    "test_two_runners_work_in_one_loop",
    "test_usage_of_a_run_is_measured",
    "test_what_a_run_leaves_running_is_ended_with_it",
}


@pytest.mark.parametrize("kit", [TestRoot, TestUser])
def test_what_of_the_kit_does_not_apply_is_this_and_nothing_more(
    kit: type[OverSSH], tmp_path: Path
) -> None:
    one = kit()
    one.names, one.ssh_config = ["node1"], tmp_path / "config"
    one.ssh_config.touch()
    assert {
        name
        for name in dir(kit)
        if name.startswith("test_") and any(map(one.why_not, required_by(getattr(kit, name))))
    } == LEFT_OUT
