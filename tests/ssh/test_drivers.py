"""Drivers that die, and what becomes of their runs on real hosts."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from far_sweeps import QUICK, Marks, forget_sweeps, going, runner, sweeps_left
from multirun_core._sweep.abandoned import left_running
from ssh_bed import SSHBed
from ssh_host import USER, Host

from multirun_core import Run, Sweep
from multirun_ssh import SSHRunner

pytestmark = pytest.mark.timeout(150)

DRIVER = """
import json
import sys
from multirun_core import multirun
path, config, options, *cmd = sys.argv[1:]
multirun(
    runs=[{"n": n} for n in range(6)],
    cmd=cmd,
    output_path=path,
    runner="ssh",
    runner_options={"hosts": ["node1", "node2"], "slots": 2, "ssh_config": config, "grace": 0.5,
                    **json.loads(options)},
    progress=False,
)
"""

# What it collects from the first run takes for ever.
COLLECTOR = """
import sys
import time
from pathlib import Path
from multirun_core import multirun
path, config, mark, *cmd = sys.argv[1:]

def collect(directory):
    if directory.name == "000000":
        Path(mark).touch()
        time.sleep(600)
    return 1

multirun(
    runs=[{"n": 0}, {"n": 1}],
    cmd=cmd,
    output_path=path,
    runner="ssh",
    runner_options={"hosts": ["node1"], "slots": 2, "ssh_config": config},
    collect=collect,
    progress=False,
)
"""

# Besides, it has a child in a session of its own that ignores TERM.
STUBBORN = """
trap '' TERM
setsid sh -c "trap '' TERM HUP; while :; do sleep 0.1; done; : stubborn-child" &
echo "$(hostname) 1" >> "$0/run-$MULTIRUN_INDEX"
while :; do sleep 0.1; done
"""


LOGINS = pytest.mark.parametrize(
    "login",
    [
        pytest.param("", id="root"),
        pytest.param(f"{USER}@", id="user", marks=pytest.mark.namespaces),
    ],
)


@pytest.fixture(autouse=True)
def nothing_left_by_others(hosts: list[Host]) -> None:
    forget_sweeps(hosts)


def killed(
    path: Path,
    bed: SSHBed,
    marks: Marks,
    cmd: list[str],
    end: Callable[[subprocess.Popen[bytes]], None] = subprocess.Popen.kill,
    **options: Any,
) -> None:
    """Let a driver start four runs and die, or end otherwise."""
    words = [str(path), str(bed.ssh_config), json.dumps(options), *cmd]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *words])
    try:
        deadline = time.monotonic() + 60
        while len(marks.executions()) < 4:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        end(driver)
        driver.wait(100)
    finally:
        driver.kill()
        driver.wait()


def cancel(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "multirun_core", "cancel", str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@LOGINS
def test_runs_go_on_and_are_adopted_living_or_ended(
    login: str, transport: str, tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks, user = Marks(bed, f"adopted {login} {transport}"), login.rstrip("@") or "root"
    names = [f"{login}{host.name}" for host in hosts[:2]]
    killed(tmp_path / "s", bed, marks, marks.program, hosts=names, transport=transport)
    marks.go(*marks.on(hosts[0]))  # they end while nobody looks
    deadline = time.monotonic() + 30
    while len(marks.lines("end")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made = SSHRunner(hosts=names, slots=2, ssh_config=bed.ssh_config, transport=transport, **QUICK)
    with going(marks, tmp_path / "s", 6, made, resume=True) as sweep:
        sweep.until(lambda: len(marks.executions()) == 6)
        marks.go()
        assert sweep.wait().results == list(range(6))
    assert marks.executions() == Counter(range(6))
    assert [run.attempts for run in sweep.wait().runs] == [1] * 6
    assert sweeps_left(hosts[0], user) == sweeps_left(hosts[1], user) == []


def test_runs_on_a_host_that_is_no_longer_in_the_list_are_adopted_too(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = Marks(bed, "no longer")
    killed(tmp_path / "s", bed, marks, marks.program)
    with going(marks, tmp_path / "s", 6, runner(bed, hosts[2:3]), resume=True) as sweep:
        sweep.until(lambda: len(marks.executions()) == 6)
        marks.go()
        assert sweep.wait().results == list(range(6))
    assert marks.executions() == Counter(range(6))
    assert len(marks.on(hosts[2])) == 2


@pytest.mark.namespaces
def test_runs_on_a_port_that_could_be_slots_are_adopted(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    """A number below 1024 behind a name is one of slots; the next driver must know better."""
    marks, config = Marks(bed, "low port"), tmp_path / "config"
    config.write_text(bed.ssh_config.read_text().replace("Port 2222", "Port 1"))
    low = [f"ssh://{host.name}:22" for host in hosts[:3]]
    killed(tmp_path / "s", bed, marks, marks.program, hosts=low[:2], ssh_config=str(config))
    marks.go(*marks.on(hosts[0]))
    made = SSHRunner(hosts=low[2:], slots=2, ssh_config=config, **QUICK)
    with going(marks, tmp_path / "s", 6, made, resume=True) as sweep:
        sweep.until(lambda: len(marks.executions()) == 6)
        marks.go()
        assert sweep.wait().results == list(range(6))
    assert marks.executions() == Counter(range(6))
    assert {run.host for run in sweep.wait().runs} == set(low)


@LOGINS
def test_cancel_without_a_driver_ends_all_with_their_children(
    login: str, transport: str, tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks, user = Marks(bed, f"cancelled {login} {transport}"), login.rstrip("@") or "root"
    options: dict[str, Any] = {
        "hosts": [f"{login}{host.name}" for host in hosts[:2]],
        "transport": transport,
    }
    killed(tmp_path / "s", bed, marks, ["sh", "-c", STUBBORN, str(marks.folder)], **options)
    assert hosts[0].processes("stubborn-child")
    done = cancel(tmp_path / "s")
    assert done.returncode == 0, done.stdout + done.stderr
    for host in hosts[:2]:
        assert host.processes("stubborn-child") == []
        assert host.processes("wrapper.sh") == []
    runs = Sweep.open(tmp_path / "s").runs
    begun = [run for run in runs if run.index in marks.executions()]
    assert [(run.status, run.reason) for run in begun] == [("failure", "cancelled")] * 4
    assert sweeps_left(hosts[0], user) == sweeps_left(hosts[1], user) == []


@LOGINS
@pytest.mark.parametrize("how", ["SIGINT", "cancel", "time-out"])
def test_what_is_ended_is_ended_with_its_whole_tree(
    how: str, login: str, tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = Marks(bed, f"ended {how} {login}")
    cmd = ["sh", "-c", STUBBORN, str(marks.folder)]
    two = hosts[:2]
    names = [f"{login}{host.name}" for host in two]

    def alive() -> list[str]:
        return [line for host in two for line in host.processes("stubborn-child")]

    def interrupt(driver: subprocess.Popen[bytes]) -> None:
        assert alive()
        driver.send_signal(signal.SIGINT)

    async def add() -> list[Run]:
        made = SSHRunner(
            hosts=names,
            slots=2,
            ssh_config=bed.ssh_config,
            grace=0.5,
            timeout=4.0 if how == "time-out" else None,
        )
        added: list[Run] = []
        for number in range(4):
            (cwd := tmp_path / f"{number}").mkdir()
            added.append(made.add(cmd, cwd))
        gathering = asyncio.ensure_future(made.gather())
        if how == "cancel":
            # Two processes of each run are named so. What is not known to have begun is skipped.
            while len(alive()) < 8 or any(run.status == "pending" for run in added):
                await asyncio.sleep(0.05)
                assert not gathering.done()
            for run in added:
                assert run.task is not None
                run.task.cancel()
        await gathering
        return added

    if how == "SIGINT":
        killed(tmp_path / "s", bed, marks, cmd, interrupt, hosts=names)
    else:
        runs = asyncio.run(add())
        reason = "cancelled" if how == "cancel" else "timeout"
        assert [(run.status, run.reason) for run in runs] == [("failure", reason)] * 4
        assert len((marks.folder / "run-").read_text().splitlines()) == 4
    assert alive() == []
    assert [line for host in two for line in host.processes("wrapper.sh")] == []
    user = login.rstrip("@") or "root"
    assert sweeps_left(two[0], user) == sweeps_left(two[1], user) == []


def test_cancel_ends_what_it_can_where_one_host_lets_nobody_in(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks, root = Marks(bed, "lets nobody in"), tmp_path / "s"
    killed(root, bed, marks, marks.program)
    ended, alive = marks.on(hosts[0]), marks.on(hosts[1])
    hosts[1].change_key()
    try:
        done = cancel(root)
    finally:
        hosts[1].restore_key()
    assert done.returncode != 0
    assert "2 run(s) may go on on node2: it cannot be reached" in done.stderr
    assert hosts[0].processes("wrapper.sh") == []
    assert [Sweep.open(root).runs[index].reason for index in ended] == ["cancelled"] * 2
    assert [run.index for run in left_running(root)] == alive
    assert sweeps_left(hosts[0]) == []
    done = cancel(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert hosts[1].processes("wrapper.sh") == []
    assert [Sweep.open(root).runs[index].reason for index in alive] == ["cancelled"] * 2
    assert sweeps_left(hosts[1]) == []


@pytest.mark.parametrize(
    ("then", "cut", "host_timeout"),
    [
        ("resume", 1, 300.0),
        *(
            pytest.param(*one, marks=pytest.mark.long)
            for one in (("cancel", 1, 300.0), ("resume", 1, 3.0), ("resume", 2, 3.0))
        ),
    ],
)
@pytest.mark.namespaces
@pytest.mark.long
def test_what_an_interrupted_driver_cannot_reach_is_found_later(
    then: str, cut: int, host_timeout: float, tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    """One of two hosts is cut off, or both, and may be given up: no end of a run is invented."""
    marks, root = Marks(bed, f"cut off, {then} {cut} {host_timeout}"), tmp_path / "s"
    away = hosts[2 - cut : 2]

    def interrupt(driver: subprocess.Popen[bytes]) -> None:
        for host in away:
            host.cut()
        driver.send_signal(signal.SIGINT)

    try:
        killed(root, bed, marks, marks.program, interrupt, host_timeout=host_timeout, **QUICK)
    finally:
        for host in away:
            host.restore()
    alive = {int(name) for host in away for name in marks.on(host)}
    assert {run.index for run in left_running(root)} == alive
    if then == "cancel":
        done = cancel(root)
        assert done.returncode == 0, done.stdout + done.stderr
        assert hosts[1].processes("wrapper.sh") == []
        reasons = {run.index: run.reason for run in Sweep.open(root).runs if run.index in alive}
        assert reasons == dict.fromkeys(alive, "cancelled")
        return
    marks.go()
    with going(marks, root, 6, runner(bed, hosts[:2]), resume=True) as sweep:
        assert sweep.wait().results == list(range(6))
    executions = marks.executions()
    assert {index: executions[index] for index in alive} == dict.fromkeys(alive, 1)


def test_a_driver_that_dies_before_an_end_is_on_disk_leaves_it_to_the_next(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks, mark = Marks(bed, "collected"), tmp_path / "collecting"
    words = [str(tmp_path / "s"), str(bed.ssh_config), str(mark), *marks.program]
    driver = subprocess.Popen([sys.executable, "-c", COLLECTOR, *words])
    directories = hosts[0].home() / ".cache" / "multirun"

    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    try:
        until(lambda: len(marks.executions()) == 2)
        marks.go(0)
        until(mark.exists)
        marks.go(1)
        until(lambda: not list(directories.glob("*/node1-*/000001.*")))  # it has been cleared away
    finally:
        driver.kill()
        driver.wait()
    with going(marks, tmp_path / "s", 2, runner(bed, hosts[:1]), resume=True) as sweep:
        assert sweep.wait().results == [0, 1]
    assert marks.executions() == Counter(range(2))
    assert [run.attempts for run in sweep.wait().runs] == [1, 1]
    assert sweeps_left(hosts[0]) == []


@pytest.mark.long
def test_runs_end_themselves_within_a_minute_where_they_are_told_to(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = Marks(bed, "stopped")
    cmd = ["sh", "-c", STUBBORN, str(marks.folder)]
    # With the usual grace, which these use up.
    killed(tmp_path / "s", bed, marks, cmd, on_driver_lost="stop", grace=5.0)
    deadline = time.monotonic() + 60
    while any(host.processes("stubborn-child") for host in hosts[:2]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    marks.go()
    resumed = runner(bed, hosts[:2], on_driver_lost="stop")
    with going(marks, tmp_path / "s", 6, resumed, resume=True, accept_changes=True) as sweep:
        assert sweep.wait().results == list(range(6))
    # That is no failure of theirs: they were tried again.
    assert [run.attempts for run in sweep.wait().runs] == [2, 2, 2, 2, 1, 1]
