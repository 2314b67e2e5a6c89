"""`multirun status --watch`, in a terminal and in a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from cli_tools import PROGRAM, begin, call
from display_tools import frames
from sweeps import wait_until

from multirun_core import Sweep

SCRIPT = "while ! test -e ../../../go{a}; do sleep 0.05; done; test {a} != 2"


@pytest.fixture
def driver(tmp_path: Path) -> subprocess.Popen[str]:
    """A driver of two runs that wait for files `go1` and `go2`."""
    child = begin("run", "-p", "a=1,2", "-o", "st", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    root = tmp_path / "st"
    wait_until(lambda: (root / "multirun.json").exists() and (root / "journal").exists())
    wait_until(lambda: Sweep.open(root).statistics.running_count == 2)
    return child


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        take = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.child = subprocess.Popen(
            [sys.executable, "-c", take, *PROGRAM, *words],
            cwd=cwd, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.set_blocking(self.master, False)
        self.seen = ""

    def read(self) -> str:
        with contextlib.suppress(OSError):
            self.seen += os.read(self.master, 65536).decode()
        return self.seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        status = self.child.wait(30)
        self.read()
        assert termios.tcgetattr(self.slave) == self.before
        assert "\x1b[?25l" not in self.seen  # the cursor was never hidden
        assert self.seen.count("\x1b[?7l") == self.seen.count("\x1b[?7h")
        os.close(self.master)
        os.close(self.slave)
        return status


def test_a_terminal_is_redrawn_until_the_end(tmp_path: Path, driver: subprocess.Popen[str]) -> None:
    terminal = Terminal("status", "st", "--watch", cwd=tmp_path)
    wait_until(lambda: "0 of 2 runs complete" in terminal.read())
    (tmp_path / "go1").write_text("")
    wait_until(lambda: "1 of 2 runs complete" in terminal.read())
    (tmp_path / "go2").write_text("")
    assert terminal.end() == 0
    lines = frames(terminal.seen)
    assert lines[-1].startswith("driver: process ")
    assert "has ended" in lines[-1]
    # Each picture takes the place of the last one: as many lines up as that had.
    pictures = re.split(r"\x1b\[(\d+)A\x1b\[J", terminal.seen)
    assert len(pictures) >= 5
    for before, up in zip(pictures[::2], pictures[1::2], strict=False):
        assert before.count("\n") == int(up)
    driver.communicate(timeout=30)


def test_ctrl_c_leaves_130_and_the_terminal_as_it_was(
    tmp_path: Path, driver: subprocess.Popen[str]
) -> None:
    terminal = Terminal("status", "st", "-w", cwd=tmp_path)
    wait_until(lambda: "2 runs complete" in terminal.read())
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert terminal.seen.endswith("\n")
    assert driver.poll() is None  # whoever only looks on disturbs nobody
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=30)


def test_a_pipe_gets_a_line_at_each_change(tmp_path: Path, driver: subprocess.Popen[str]) -> None:
    watching = begin("status", "st", "--watch", cwd=tmp_path)
    as_json = begin("status", "st", "--watch", "--json", cwd=tmp_path)
    assert watching.stdout is not None
    assert watching.stdout.readline() == "0/2 done, 2 running\n"
    (tmp_path / "go1").write_text("")
    assert watching.stdout.readline().startswith("1/2 done, 1 running")
    time.sleep(2.5)  # nothing changes, so nothing is written
    (tmp_path / "go2").write_text("")
    rest, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")
    lines = rest.splitlines()
    assert lines[-1].startswith("2/2 done, 1 failed, driver: process ")
    assert len(lines) <= 2
    told = [json.loads(line) for line in as_json.communicate(timeout=30)[0].splitlines()]
    assert told[-1]["complete"] == 2
    assert told[-1]["driver"]["alive"] is False
    assert len(told) <= 4
    driver.communicate(timeout=30)


def test_it_ends_when_the_driver_dies(tmp_path: Path, driver: subprocess.Popen[str]) -> None:
    watching = begin("status", "st", "--watch", cwd=tmp_path)
    assert watching.stdout is not None
    assert watching.stdout.readline() == "0/2 done, 2 running\n"
    driver.kill()
    rest, _ = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert "has died; multirun resume carries on with 2 runs" in rest.splitlines()[-1]
    driver.communicate(timeout=30)


def test_a_sweep_that_has_ended_is_shown_once(tmp_path: Path) -> None:
    assert call("run", "-p", "a=1", "-o", "st", "true", cwd=tmp_path).returncode == 0
    done = call("status", "st", "--watch", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("1/1 done, driver: ")
    none = call("status", "nowhere", "--watch", cwd=tmp_path)
    assert (none.returncode, "holds no sweep" in none.stderr) == (2, True)
