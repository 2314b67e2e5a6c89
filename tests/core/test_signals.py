"""Ctrl-C, SIGTERM, SIGHUP: what a driver in a process of its own does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweeps import processes_with, wait_until

from multirun_core import RunStatistics, Sweep

DRIVER = """
import sys
from multirun_core import ParallelLocalRunner, Sweep, multirun
root, grace = sys.argv[1], float(sys.argv[2])
try:
    multirun(
        runs=[{"n": n} for n in range(30)],
        cmd=["sh", "-c", sys.argv[3]],
        output_path=root,
        runner=ParallelLocalRunner(max_parallel=2, grace=grace),
        resume=True,
    )
except KeyboardInterrupt:
    print("KeyboardInterrupt", Sweep.open(root).statistics.complete_count)
    sys.exit(130)
"""

STUBBORN = "trap '' TERM; setsid sleep 300 & touch started; while :; do sleep 1; done"
ENDED = RunStatistics(failure_count=2, skipped_count=28, complete_count=30, total_count=30)


def begin(root: Path, grace: float = 0.3, **keywords: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root), str(grace), STUBBORN],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,  # type: ignore[call-overload]
    )
    wait_until(lambda: len(list(root.glob("runs/*/started"))) == 2)
    return process


def test_ctrl_c_ends_in_good_order(tmp_path: Path) -> None:
    root = tmp_path / "s"
    process = begin(root)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == ("KeyboardInterrupt 30\n", 130)
    assert f"multirun resume {root}" in err
    assert "0 of 30 runs succeeded" in err
    assert "Traceback" not in err
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == ENDED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_do_the_same_and_then_what_they_would_have_done(
    tmp_path: Path, number: signal.Signals
) -> None:
    root = tmp_path / "s"
    process = begin(root)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == -number
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == ENDED


def test_an_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    root = tmp_path / "s"
    process = begin(root, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    root = tmp_path / "s"
    process = begin(root, grace=300)
    process.send_signal(signal.SIGINT)
    told = process.stderr.readline() if process.stderr else ""
    while "once more" not in told and process.stderr:
        told = process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert time.monotonic() - began < 20
    assert out == "KeyboardInterrupt 30\n"
    assert not processes_with(str(root))
    assert Sweep.open(root).statistics == ENDED


def test_ctrl_c_of_a_terminal_reaches_only_the_driver(tmp_path: Path) -> None:
    """The terminal signals its whole foreground group; the runs are in none of its groups."""
    root = tmp_path / "s"
    pid, terminal = pty.fork()
    if pid == 0:
        words = [sys.executable, "-c", DRIVER, str(root), "0.3", STUBBORN]
        os.execv(sys.executable, words)  # noqa: S606 - the child of pty.fork becomes the driver
    try:
        wait_until(lambda: len(list(root.glob("runs/*/started"))) == 2)
        os.write(terminal, b"\x03")
        output = b""
        while True:
            try:
                output += os.read(terminal, 4096)
            except OSError:
                break
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"KeyboardInterrupt 30" in output
    assert not processes_with(str(root))


def test_handlers_are_as_before_afterwards(tmp_path: Path) -> None:
    root = str(tmp_path / "s")
    code = (
        "import signal\n"
        "from multirun_core import multirun\n"
        "def mine(number, frame): print('mine')\n"
        "signal.signal(signal.SIGTERM, mine)\n"
        f"multirun(runs=[{{}}], cmd=['true'], output_path={root!r}, progress=False)\n"
        "assert signal.getsignal(signal.SIGTERM) is mine\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "mine\n"
