"""What holds for every test: it leaves no process, no thread and no signal handler behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("multirun", deadline=None)
hypothesis.settings.load_profile("multirun")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM)
for number in SIGNALS:
    # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP, and both are inherited:
    # the drivers that the tests signal would not hear it.
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
PATIENCE = 30.0  # seconds that what is being cleaned up may still take


def living_children() -> dict[int, str]:
    """Return the children of this process that are no zombies, with their commands (Linux only)."""
    found: dict[int, str] = {}
    own = str(os.getpid()).encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if parent == own and state not in (b"Z", b"X"):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = words.decode(errors="replace").strip()
    return found


def own_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("multirun")}


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    children, threads = living_children(), own_threads()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    deadline = time.monotonic() + PATIENCE
    while True:
        left = {pid: cmd for pid, cmd in living_children().items() if pid not in children}
        names = own_threads() - threads
        if not left and not names:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    pytest.fail(f"the test left behind: processes {left}, threads {sorted(names)}")


# What takes ten seconds or more over SSH, or on a cluster; `.ci/full` has it.
LONG_CHECKS = {
    "test_a_driver_killed_while_runs_wait_is_resumed",
    "test_a_full_disk_is_told_and_the_sweep_resumed",
    "test_a_recorded_success_is_never_executed_again",
    "test_a_suspended_driver_that_was_superseded_writes_nothing_more",
    "test_a_time_limit_does_not_count_the_wait_for_a_slot",
    "test_many_runs_cost_the_driver_little",
    "test_no_thread_is_left",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those checks of the kit as long that are so with far runners."""
    for item in items:
        far = item.nodeid.startswith(("tests/ssh/test_kit_", "tests/slurm/test_kit_"))
        if far and item.name in LONG_CHECKS:
            item.add_marker("long")
