"""Runs over SSH that are forked from a warm interpreter of their host."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from far_sweeps import Going, Marks, forget_sweeps, going, runner, sweeps_left
from multirun_core._staging.orders import read_end, write_order
from multirun_core._transport.wrapper import Order
from multirun_ssh.luggage import luggage
from ssh_bed import SSHBed
from ssh_host import USER, Host
from test_busybox import small as small
from test_drivers import cancel, killed
from test_runner import carry_out, find_python

from multirun_core import Sweep
from multirun_ssh import SSHRunner, warming

# `statistics` is what was imported ahead: no program has it at its first line.
SCRIPT = """\
import sys
ahead = "statistics" in sys.modules
import os, statistics
from multirun_core import getRunParams, postRunResults
parent = open(f"/proc/{os.getppid()}/cmdline").read()
postRunResults([ahead, "begin.py" in parent, getRunParams()["n"]])
"""
# As `Marks.program`, in Python; it says in its mark whether it was forked.
WAITS = """\
import os, socket, sys, time
folder, index = sys.argv[1], os.environ["MULTIRUN_INDEX"]
forked = "begin.py" in open(f"/proc/{os.getppid()}/cmdline").read()
def mark(what):
    with open(f"{folder}/{what}-{index}", "a") as file:
        file.write(f"{socket.gethostname()} {forked}\\n")
mark("run")
while not any(os.path.exists(f"{folder}/{name}") for name in ("go", "go-" + index)):
    time.sleep(0.05)
mark("end")
with open("results.json", "w") as file:
    file.write(os.environ["MULTIRUN_PARAM_N"])
"""
ENDS = """\
import atexit, os, signal, subprocess, sys, time
n = int(os.environ["MULTIRUN_PARAM_N"])
forked = "begin.py" in open(f"/proc/{os.getppid()}/cmdline").read()
print("forked" if forked else "started", flush=True)
if n == 0:
    atexit.register(print, "at exit")
    sys.exit(3)
if n == 1:
    raise ValueError("no")
if n == 2:
    os.kill(os.getpid(), signal.SIGTERM)
if n == 3:
    os.kill(os.getpid(), signal.SIGKILL)
if n == 4:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM; while :; do sleep 1; done; : of-a-warm"])
    time.sleep(1000)
if n == 5:
    while time.process_time() < 0.5:
        pass
"""
FORKED, STARTED = [True, True], [False, False]


@pytest.fixture(autouse=True)
def nothing_left_by_others(bed: SSHBed, hosts: list[Host], request: pytest.FixtureRequest) -> None:
    """Give two hosts a place for temporary files that nobody else uses."""
    forget_sweeps(hosts)
    if "small" in request.fixturenames:
        request.getfixturevalue("small")
    path = bed.shared / "busybox" if "small" in request.fixturenames else None
    for host in hosts[:2]:
        place(host, bed).mkdir(exist_ok=True)
        place(host, bed).chmod(0o1777)
        words = [f"TMPDIR={place(host, bed)}", *([f"PATH={path}"] if path else [])]
        host.restart_sshd(" ".join(["SetEnv", *words]), drop=True)


def place(host: Host, bed: SSHBed) -> Path:
    return bed.shared / f"temporary-{host.name}"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "body.py"
    path.write_text(SCRIPT)
    return path


def interpreters(host: Host) -> list[str]:
    """Return the processes of warm interpreters, those that keep a run, and who cares for them."""
    return [line for word in ("begin.py", "far.sh warming") for line in host.processes(word)]


def left(host: Host, bed: SSHBed) -> list[object]:
    return [
        *interpreters(host),
        *host.processes("wrapper.sh"),
        *place(host, bed).iterdir(),
        *sweeps_left(host),
    ]


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {condition}"
        time.sleep(0.05)


def waiting(bed: SSHBed, name: str) -> Marks:
    """Return marks whose program is a Python script."""
    marks = Marks(bed, name)
    script = marks.folder / "wait.py"
    script.write_text(WAITS)
    marks.program = [sys.executable, str(script), str(marks.folder)]
    return marks


def ended(sweep: Going) -> list[tuple[str, int]]:
    return [(run.status, run.attempts) for run in sweep.wait().runs]


def how(marks: Marks) -> list[str]:
    """Return which runs have been forked, in order."""
    return [lines[0].split()[1] for _, lines in sorted(marks.lines().items())]


def seen(sweep: Sweep) -> list[Any]:
    return [result[:2] for result in sweep.results]  # type: ignore[index]


@pytest.mark.parametrize("options", [{"warm": True}, {"preload": ["statistics"]}], ids=str)
def test_runs_are_forked_and_nothing_stays(
    options: dict[str, Any], script: Path, tmp_path: Path, bed: SSHBed, host: Host
) -> None:
    made = runner(bed, [host], slots=8, **options)
    cmd = [sys.executable, script.name]
    sweep = carry_out(tmp_path / "s", made, cmd, 24, input_files=[script])
    assert sweep.results == [[*FORKED, n] for n in range(24)]
    assert left(host, bed) == []


@pytest.mark.namespaces
def test_what_it_is_asked_by_is_private(tmp_path: Path, bed: SSHBed, host: Host) -> None:
    """As a normal user, with a setup; where runs lie on is no reason for it to stay."""
    marks = waiting(bed, "private")
    marks.program[0] = "python"
    made = SSHRunner(
        hosts=[f"{USER}@{host.name}"],
        slots=3,
        ssh_config=bed.ssh_config,
        python="/usr/bin/python3",
        setup="export SET=1\n",
        warm=True,
        keep_remote=True,
    )
    with going(marks, tmp_path / "s", 3, made) as sweep:
        sweep.until(lambda: len(marks.executions()) == 3)
        (folder,) = place(host, bed).iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        marks.go()
        assert sweep.wait().results == list(range(3))
    assert how(marks) == ["True"] * 3
    assert not interpreters(host)
    assert list(place(host, bed).iterdir()) == []


def test_pipes_that_somebody_has_planted_are_not_used(tmp_path: Path) -> None:
    for name, text in luggage(warm=True).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text)
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / "orders")
    (tmp_path / "other" / "held").touch()
    pipes, folder, run = tmp_path / "pipes", tmp_path / "runs", tmp_path / "run"
    pipes.symlink_to("other")
    folder.mkdir()
    run.mkdir()
    write_order(run, Order(cmd=["true"], attempt=1, token="t", warm=b"it"))
    words = ["sh", tmp_path / "far.sh", "start", folder, pipes, "run", run, "1", "t"]
    done = subprocess.run(words, capture_output=True, check=True)
    assert done.stdout == b"cold\n"
    until(lambda: read_end(run, 1))
    assert not (tmp_path / "other" / "said-t").exists()


def test_runs_in_a_shared_file_system_are_forked(script: Path, bed: SSHBed, host: Host) -> None:
    root = bed.shared / "warm in place"
    made = runner(bed, [host], shared_filesystem=True, warm=True)
    sweep = carry_out(root, made, [sys.executable, script.name], input_files=[script])
    assert seen(sweep) == [FORKED] * 4
    assert left(host, bed) == []


@pytest.mark.usefixtures("small")
def test_busybox_is_enough(script: Path, tmp_path: Path, bed: SSHBed, hosts: list[Host]) -> None:
    made = runner(bed, hosts[:1], warm=True)
    cmd = ["/usr/bin/python3", script.name]
    sweep = carry_out(tmp_path / "s", made, cmd, 6, input_files=[script])
    assert seen(sweep) == [FORKED] * 6
    assert left(hosts[0], bed) == []


def test_ends_are_those_of_plain_runs(tmp_path: Path, bed: SSHBed, host: Host) -> None:
    """Exit statuses, signals, time limits that end whole trees, CPU time, streams."""
    (tmp_path / "ends.py").write_text(ENDS)
    ends: dict[bool, list[Any]] = {}
    for warm in (True, False):
        made = runner(bed, [host], slots=6, warm=warm, timeout=3.0, grace=0.5)
        cmd, given = [sys.executable, "ends.py"], [tmp_path / "ends.py"]
        runs = carry_out(tmp_path / str(warm), made, cmd, 7, input_files=given).runs
        word = "forked" if warm else "started"
        texts = [run.stdout.read_text().replace(word, "…") for run in runs]
        errors = [run.stderr.read_text() if run.stderr.exists() else "" for run in runs]
        ends[warm] = [
            (run.status, run.reason, run.exit_code, text, re.sub(r"/\S+/", "", error))
            for run, text, error in zip(runs, texts, errors, strict=True)
        ]
        assert host.processes("of-a-warm") == []
        assert 0.4 <= (runs[5].cpu_seconds or 0) < 5  # used 0.5, but clocks are coarse
    assert ends[True] == ends[False]
    assert ends[True][0][3] == "…\nat exit\n"
    assert ends[True][4][1] == "timeout"


def test_what_cannot_be_warm_is_told_once_and_runs_are_started(
    script: Path,
    tmp_path: Path,
    bed: SSHBed,
    hosts: list[Host],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "multirun.ssh")
    (bed.shared / "threads").mkdir()
    (bed.shared / "threads" / "thready.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
    )
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"preload": ["no_such_module"]}, sys.executable, "'no_such_module' cannot be imported"),
        (
            {"preload": ["thready"], "env": {"PYTHONPATH": str(bed.shared / "threads")}},
            sys.executable,
            "'thready' starts a thread when it is imported",
        ),
        ({"warm": True, "setup": "test $# != 2 || exit 7"}, sys.executable, "it is not ready"),
    ]
    if (old := find_python("3.8")) is not None:
        cases.append(({"warm": True}, old, "3.9 or newer can be warm"))
    for number, (options, python, told) in enumerate(cases):
        caplog.clear()
        made = runner(bed, hosts[:2], **options)
        path = tmp_path / str(number)
        sweep = carry_out(path, made, [python, script.name], 8, input_files=[script])
        assert seen(sweep) == [STARTED] * 8
        said = [record.getMessage() for record in caplog.records]
        for host in hosts[:2]:
            start = f"{host.name}: no warm Python, so that runs start as usual: "
            (why,) = [line for line in said if line.startswith(start)]
            assert told in why
            assert left(host, bed) == []


def test_an_interpreter_that_is_killed_is_replaced(tmp_path: Path, bed: SSHBed, host: Host) -> None:
    """What it had forked goes on."""
    marks = waiting(bed, "warm and killed")
    with going(marks, tmp_path / "s", 8, runner(bed, [host], warm=True)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 2)
        (folder,) = place(host, bed).iterdir()
        tell(host, bed, "KILL")
        sweep.until((folder / "ended").exists)  # it stays for those who listen there
        marks.go(*marks.executions())
        sweep.until(lambda: len(marks.executions()) == 4)
        marks.go()
        assert sweep.wait().results == list(range(8))
    assert ended(sweep) == [("success", 1)] * 8
    assert how(marks)[:2] == how(marks)[-2:] == ["True"] * 2
    until(lambda: left(host, bed) == [], 5)  # whoever listened for a last word


def tell(host: Host, bed: SSHBed, signal_name: str) -> None:
    """Send a signal to the interpreter itself."""
    (pid,) = [path.read_text().strip() for path in place(host, bed).glob("*/pid")]
    host.inside("kill", "-s", signal_name, pid)


@pytest.mark.long
def test_an_interpreter_that_does_not_answer_holds_up_no_run(
    tmp_path: Path, bed: SSHBed, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    marks = waiting(bed, "warm and stopped")
    with going(marks, tmp_path / "s", 8, runner(bed, [host], warm=True)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 2)
        tell(host, bed, "STOP")
        marks.go(*marks.executions())
        sweep.until(lambda: len(marks.executions()) == 4)
        marks.go()
        assert sweep.wait().results == list(range(8))
    assert ended(sweep) == [("success", 1)] * 8
    assert how(marks)[:4] == ["True", "True", "False", "False"]
    assert caplog.text.count("it does not answer") == 1
    assert left(host, bed) == []


def test_a_lost_connection_is_outlived(tmp_path: Path, bed: SSHBed, host: Host) -> None:
    marks = waiting(bed, "warm and cut off")
    with going(marks, tmp_path / "s", 6, runner(bed, [host], warm=True)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 2)
        host.restart_sshd(*host.extra, drop=True)
        marks.go()
        assert sweep.wait().results == list(range(6))
    assert ended(sweep) == [("success", 1)] * 6
    assert how(marks) == ["True"] * 6
    assert left(host, bed) == []


def test_forked_runs_of_a_driver_that_was_killed_are_adopted(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = waiting(bed, "warm and adopted")
    killed(tmp_path / "s", bed, marks, marks.program, warm=True)
    made = runner(bed, hosts[:2], warm=True)
    with going(marks, tmp_path / "s", 6, made, resume=True) as sweep:
        marks.go(*marks.on(hosts[0]))
        sweep.until(lambda: len(marks.executions()) == 6)
        marks.go()
        assert sweep.wait().results == list(range(6))
    assert marks.executions() == Counter(range(6))
    assert ended(sweep) == [("success", 1)] * 6
    assert how(marks) == ["True"] * 6
    assert [left(host, bed) for host in hosts[:2]] == [[], []]


def test_forked_runs_of_a_driver_that_was_killed_are_cancelled(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = waiting(bed, "warm and cancelled")
    killed(tmp_path / "s", bed, marks, marks.program, warm=True)
    done = cancel(tmp_path / "s")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = Sweep.open(tmp_path / "s").runs
    begun = [run for run in runs if run.index in marks.executions()]
    assert [(run.status, run.reason) for run in begun] == [("failure", "cancelled")] * 4
    assert how(marks) == ["True"] * 4
    assert [left(host, bed) for host in hosts[:2]] == [[], []]


def test_what_is_interrupted_ends_with_its_interpreter(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = waiting(bed, "warm and interrupted")
    killed(
        tmp_path / "s",
        bed,
        marks,
        marks.program,
        lambda driver: driver.send_signal(signal.SIGINT),
        warm=True,
    )
    assert len(marks.lines("end")) == 0
    assert [left(host, bed) for host in hosts[:2]] == [[], []]


@pytest.mark.long
def test_with_a_driver_it_stays(
    tmp_path: Path, bed: SSHBed, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "LEASE_SECONDS", 10)
    marks = waiting(bed, "warm and kept")
    with going(marks, tmp_path / "s", 4, runner(bed, [host], warm=True)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 2)
        (pid,) = place(host, bed).glob("*/pid")
        (seen,) = (host.home() / ".cache" / "multirun").glob("*/node1-*/seen.*")
        heard = seen.stat().st_mtime
        sweep.until(lambda: seen.stat().st_mtime > heard + 15)
        marks.go()
        assert sweep.wait().results == list(range(4))
    assert how(marks) == ["True"] * 4
    assert not pid.exists()
    assert left(host, bed) == []


@pytest.mark.long
def test_without_a_driver_it_ends_with_the_last_run(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = waiting(bed, "warm and alone")
    killed(tmp_path / "s", bed, marks, marks.program, warm=True)
    until(lambda: not [path for host in hosts[:2] for path in place(host, bed).glob("*/held")], 90)
    assert all(interpreters(host) for host in hosts[:2])
    marks.go(*marks.on(hosts[0]))
    until(lambda: not interpreters(hosts[0]))
    assert interpreters(hosts[1])
    marks.go()
    until(lambda: not interpreters(hosts[1]))
    assert [path for host in hosts[:2] for path in place(host, bed).iterdir()] == []
    assert len(marks.lines("end")) == 4
