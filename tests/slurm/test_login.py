"""From the laptop: the cluster is reached by a login node, over a real sshd."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from login_node import LoginNode
from multirun_core.errors import BackendError, UsageError
from multirun_core.testing.promises import HOSTILE
from multirun_slurm.runner import SlurmRunner
from slurm_cluster import SlurmCluster
from slurm_sweeps import (
    BEGIN,
    POINTS,
    POST,
    SLOW,
    arrays,
    call,
    clients,
    executions,
    put_sbatch,
    start_driver,
    told,
    wait_until,
)
from ssh_bed import may_make_namespaces
from sweeps import events

from multirun_core import multirun

_APART = """
import json, sys
from slurm_sweeps import call, told
order = json.loads(sys.stdin.read())
sweep = call(**order)
assert sweep.results == [1, 1, 1], told(sweep)
assert [(run.cwd / "out").read_text() for run in sweep.runs] == ["0\\n", "1\\n", "2\\n"]
"""


class Begun:
    """A sweep that a driver has begun; its runs go on until they are told that they may end.

    Attributes:
        asked: what `call` is given to carry on with it.
        root: its directory.
        driver: the process of the driver.
    """

    def __init__(self, tmp_path: Path, options: Mapping[str, Any], count: int = 3) -> None:
        up, self._go = tmp_path / "up", tmp_path / "go"
        up.mkdir()
        waiting = f"touch {up}/{{n}}; until test -e {self._go}; do sleep 0.1; done; "
        self.root = tmp_path / "s"
        self.asked = self.root, BEGIN + waiting + POST, count
        self.driver = start_driver(*self.asked, options=options)
        wait_until(lambda: len(list(up.iterdir())) == count, f"{count} runs")

    def go_on(self) -> None:
        """Let the runs end."""
        self._go.touch()


def check_finished(root: Path, script: str, count: int, options: Mapping[str, Any]) -> None:
    """Carry on with a sweep; each run has succeeded, at its only execution."""
    sweep = call(root, script, count, options=options)
    assert sweep.results == [1] * count, told(sweep)
    assert dict(executions(root)) == dict.fromkeys(range(count), 1)
    assert [run.attempts for run in sweep.runs] == [1] * count


def test_driver_and_jobs_see_nothing_of_each_other(login_node: LoginNode, tmp_path: Path) -> None:
    """The sweep is in a file system of the driver's alone; what is there is hidden from it."""
    if not may_make_namespaces():
        pytest.skip("mounts of a driver's own need root with CAP_SYS_ADMIN")
    private = tmp_path / "private"
    private.mkdir()
    mounts = 'mount -t tmpfs tmpfs "$1" && mount -t tmpfs tmpfs "$2" && shift 2 && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", mounts, "sh", str(private), str(login_node.home)]
    script = "echo {n} > out; " + POST
    order = {
        "root": str(private / "s"),
        "script": script,
        "count": 3,
        "options": login_node.options,
    }
    done = subprocess.run(
        [*argv, sys.executable, "-c", _APART],
        input=json.dumps(order),
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(private.iterdir())
    assert login_node.sweeps() == []


@pytest.mark.parametrize("transport", ["asyncssh", "openssh"])
def test_runs_are_carried_there_and_back_in_few_calls(
    transport: str, login_node: LoginNode, tmp_path: Path
) -> None:
    (tmp_path / HOSTILE).mkdir()
    root = tmp_path / HOSTILE / "s w"
    shared, own = tmp_path / "shared input", tmp_path / "it's $mine"
    shared.write_text("all the same\n" * 4000)
    own.write_text("own\n")
    options = {**login_node.options, "transport": transport}
    runner = SlurmRunner(poll_interval=0.5, **options)
    sweep = multirun(
        runs=[{"n": n} for n in range(30)],
        cmd=[
            "sh",
            "-c",
            "pwd > where; wc -c < 'shared input' > size; cat \"it's \\$mine\"; echo e >&2; "
            "mkdir -p sub; echo {n} > sub/out; " + POST,
        ],
        input_files=[shared, own],
        output_path=root,
        runner=runner,
        progress=False,
    )
    assert sweep.results == [1] * 30, told(sweep)
    for run in sweep.runs:
        assert (run.cwd / "sub" / "out").read_text() == f"{run.params['n']}\n"
        assert (run.cwd / "size").read_text().strip() == "52000"
        assert (run.cwd / "stdout.txt").read_text() == "own\n"
        assert (run.cwd / "stderr.txt").read_text() == "e\n"
        where = Path((run.cwd / "where").read_text().strip())
        assert where.is_relative_to(login_node.home)
        assert run.host is not None
        assert run.host.startswith("n")
    assert runner.calls["submit"] == 1
    assert login_node.sweeps() == []


def test_what_a_program_imports_in_a_run_is_there(login_node: LoginNode, tmp_path: Path) -> None:
    program = (
        "import multirun_core as m, sys; "
        "m.postRunResults({'n': m.getRunParams()['n'], 'from': m.__file__})"
    )
    sweep = multirun(
        runs=[{"n": 7}],
        cmd=["python", "-c", program],
        output_path=tmp_path / "s",
        runner="slurm",
        runner_options={"python": "/usr/bin/python3", **login_node.options},
        progress=False,
    )
    (run,) = sweep.runs
    assert run.status == "success", (run.reason, run.message, (run.cwd / "stderr.txt").read_text())
    assert run.result["n"] == 7
    assert run.result["from"].startswith(str(login_node.home))


def test_packed_runs_are_forked_there_by_its_python(login_node: LoginNode, tmp_path: Path) -> None:
    program = (
        "import multirun_core as m, os; n = m.getRunParams()['n']; "
        "parent = open(f'/proc/{os.getppid()}/cmdline').read(); "
        "m.postRunResults([n, 'warm_python' in parent, m.__file__])"
    )
    sweep = multirun(
        runs=[{"n": n} for n in range(4)],
        cmd=["python", "-c", program],
        output_path=tmp_path / "s",
        runner="slurm",
        runner_options={
            "python": "/usr/bin/python3",
            "pack": 4,
            "preload": ["json", "multirun_core"],
            **login_node.options,
        },
        progress=False,
    )
    assert [result[:2] for result in sweep.results] == [[n, True] for n in range(4)], told(sweep)
    assert all(result[2].startswith(str(login_node.home)) for result in sweep.results)


def test_a_link_that_is_lost_for_a_while_changes_no_verdict(
    login_node: LoginNode, tmp_path: Path, slurm: SlurmCluster
) -> None:
    begun = Begun(tmp_path, {**login_node.options, "file_grace": 1.0})
    login_node.stop()
    begun.go_on()
    wait_until(lambda: not slurm.run("squeue", "-h").stdout.strip(), "the end of all jobs")
    with pytest.raises(subprocess.TimeoutExpired):
        begun.driver.wait(3)  # nothing that is sent arrives, and nothing is concluded from that
    login_node.start()
    assert begun.driver.wait(120) == 0
    check_finished(*begun.asked, options=login_node.options)


@pytest.mark.long
def test_a_login_node_that_is_silent_for_a_while_changes_no_verdict(
    login_node: LoginNode, tmp_path: Path, slurm: SlurmCluster
) -> None:
    begun = Begun(tmp_path, {**login_node.options, "file_grace": 1.0, "connect_timeout": 5.0})
    login_node.fall_silent()
    try:
        begun.go_on()
        wait_until(lambda: not slurm.run("squeue", "-h").stdout.strip(), "the end of all jobs")
        with pytest.raises(subprocess.TimeoutExpired):
            begun.driver.wait(30)  # it has noticed, and cannot connect anew; nothing is concluded
    finally:
        login_node.speak()
    assert begun.driver.wait(120) == 0
    check_finished(*begun.asked, options=login_node.options)


@pytest.mark.long
def test_an_interrupted_driver_without_a_link_gives_up_and_is_followed_by_another(
    login_node: LoginNode, tmp_path: Path
) -> None:
    """Ending jobs is not waited for for ever; the next driver finds them as they are."""
    options = {**login_node.options, "grace": 1.0, "connect_timeout": 5.0}
    begun = Begun(tmp_path, options)
    login_node.stop()
    begun.driver.send_signal(signal.SIGINT)
    begun.driver.wait(100)
    login_node.start()
    begun.go_on()
    check_finished(*begun.asked, options=options)
    assert login_node.sweeps() == []


def test_a_driver_that_is_asked_twice_leaves_a_silent_login_node_in_good_order(
    login_node: LoginNode, tmp_path: Path
) -> None:
    begun = Begun(tmp_path, login_node.options)
    driver = begun.driver
    login_node.fall_silent()
    try:
        driver.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            driver.wait(3)  # it may speak again
        driver.send_signal(signal.SIGINT)
        driver.wait(30)
        assert events(begun.root)[-1]["event"] == "close"
    finally:
        login_node.speak()
    begun.go_on()
    sweep = call(*begun.asked, options=login_node.options)
    assert [run.status for run in sweep.runs] == ["success"] * 3, told(sweep)
    assert dict(executions(begun.root)) == {0: 1, 1: 1, 2: 1}


def test_a_killed_drivers_runs_are_adopted_and_come_back(
    login_node: LoginNode, tmp_path: Path
) -> None:
    begun = Begun(tmp_path, login_node.options, 4)
    begun.driver.kill()
    begun.driver.wait()
    with pytest.raises(BackendError, match="carry on with login='cluster'"):
        call(*begun.asked)
    begun.go_on()
    check_finished(*begun.asked, options=login_node.options)
    assert login_node.sweeps() == []


def go_by(place: Path, login_node: LoginNode, slurm: SlurmCluster) -> None:
    """Let logins find commands in a folder first."""
    assert login_node.host is not None
    login_node.host.restart_sshd(
        f"SetEnv HOME={login_node.home} SLURM_CONF={slurm.conf} "
        f"PATH={place}:/usr/bin:/bin:/usr/sbin"
    )


@pytest.mark.parametrize("point", POINTS)
def test_the_driver_is_killed_around_sbatch_over_there(
    point: str, login_node: LoginNode, tmp_path: Path, slurm: SlurmCluster
) -> None:
    root, pid = tmp_path / "s", tmp_path / "pid"
    know = f"until test -s '{pid}'; do sleep 0.05; done; driver=$(cat '{pid}')\n"
    go_by(put_sbatch(tmp_path, know + POINTS[point]), login_node, slurm)
    script = BEGIN + POST
    driver = start_driver(root, script, 3, options=login_node.options)
    pid.write_text(str(driver.pid))
    assert driver.wait(60) == -9
    check_finished(root, script, 3, options=login_node.options)
    assert len(arrays(slurm, root)) == 1


@pytest.mark.long
@pytest.mark.parametrize("point", SLOW)
def test_a_client_over_there_that_is_slower_than_the_next_driver_is_ended(
    point: str,
    login_node: LoginNode,
    tmp_path: Path,
    slurm: SlurmCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("multirun_core._runners.scheduler.far.WAIT_OUT_SECONDS", 1.0)
    root, place = tmp_path / "s", put_sbatch(tmp_path, SLOW[point])
    go_by(place, login_node, slurm)
    script = BEGIN + POST
    driver = start_driver(root, script, 3, options=login_node.options)
    wait_until((place / "sbatch.slow").exists, "a client that is slow")
    driver.kill()
    driver.wait()
    assert clients(tmp_path)
    check_finished(root, script, 3, options=login_node.options)
    assert clients(tmp_path) == []
    assert len(arrays(slurm, root)) == 1


def test_an_sbatch_whose_link_is_lost_submits_once(
    login_node: LoginNode, tmp_path: Path, slurm: SlurmCluster
) -> None:
    """The link breaks while sbatch is slow: what it did is found when the link is back."""
    root = tmp_path / "s"
    until = f"until test -e '{tmp_path}/on'; do sleep 0.1; done; "
    go_by(put_sbatch(tmp_path, until + 'exec $real "$@"'), login_node, slurm)
    script = BEGIN + POST
    driver = start_driver(root, script, 3, options=login_node.options)
    wait_until((tmp_path / "once").exists, "sbatch")
    login_node.stop()
    (tmp_path / "on").touch()
    login_node.start()
    assert driver.wait(120) == 0
    check_finished(root, script, 3, options=login_node.options)
    names = slurm.run("squeue", "-h", "-t", "all", "-o", "%F %j").stdout.split("\n")
    (token,) = [path.name for path in (root / "jobs").iterdir()]
    assert len({line for line in names if token in line}) == 1


def test_runs_are_let_go_and_collected_later(login_node: LoginNode, tmp_path: Path) -> None:
    root, go = tmp_path / "s", tmp_path / "go"
    script = BEGIN + f"until test -e {go}; do sleep 0.1; done; " + POST
    sweep = call(root, script, 3, options={**login_node.options, "detach": True})
    assert sweep.statistics.complete_count == 0
    assert len(login_node.sweeps()) == 1
    go.touch()
    check_finished(root, script, 3, options=login_node.options)
    assert login_node.sweeps() == []


def test_an_interrupted_driver_ends_its_jobs_and_brings_what_they_left(
    login_node: LoginNode, tmp_path: Path, slurm: SlurmCluster
) -> None:
    root = tmp_path / "s"
    deaf = f"trap '' TERM; echo half > left; touch {tmp_path}/up-{{n}}; while :; do sleep 1; done"
    driver = start_driver(root, deaf, 3, options={**login_node.options, "grace": 1.0})
    wait_until(lambda: len(list(tmp_path.glob("up-*"))) == 3, "three runs")
    driver.send_signal(signal.SIGINT)
    driver.wait(100)
    assert not slurm.run("squeue", "-h").stdout.strip()
    assert [path.read_text() for path in sorted(root.glob("runs/*/left"))] == ["half\n"] * 3
    assert login_node.sweeps() == []


def test_all_that_a_killed_driver_left_is_ended(
    login_node: LoginNode, tmp_path: Path, slurm: SlurmCluster
) -> None:
    begun = Begun(tmp_path, login_node.options)
    begun.driver.kill()
    begun.driver.wait()
    done = slurm.run(
        str(Path(sys.executable).with_name("multirun")),
        "cancel",
        str(begun.root),
        within=120,
    )
    assert done.returncode == 0, done.stderr
    assert not slurm.run("squeue", "-h").stdout.strip()


def test_what_can_not_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login_node: LoginNode
) -> None:
    with pytest.raises(UsageError, match="remote_path is given, but no login"):
        SlurmRunner(remote_path="/scratch")
    with pytest.raises(UsageError, match="driver='job' and login"):
        SlurmRunner(driver="job", **login_node.options)
    login_node.stop()
    with pytest.raises(BackendError, match="login='cluster' cannot be used"):
        call(tmp_path / "s", "true", options={**login_node.options, "connect_timeout": 3.0})


def test_without_multirun_ssh_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "multirun_ssh.transports", None)
    with pytest.raises(UsageError, match=r'pip install "multirun-core\[ssh\]"'):
        SlurmRunner(login="cluster")
