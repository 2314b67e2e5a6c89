"""Signals while inputs are read and copied: large ones, and ones on a disk that hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import pytest
from sweeps import script, wait_until

from multirun_core import Sweep

HUGE = 1 << 40  # bytes, all of them a hole; some ten minutes of hashing, at the least
AT_ONCE = 15.0  # seconds, on a machine that has other work; the wait for what hangs is 1 s

DRIVER = """
import sys
from multirun_core import FileResource, multirun
root, path, linkage, runs = sys.argv[1:5]
try:
    multirun(
        runs=[{"n": n} for n in range(int(runs))],
        cmd=["true"],
        output_path=root,
        input_files=[FileResource(path, linkage)],
        resume=True,
        accept_changes=True,
    )
except KeyboardInterrupt:
    sys.exit(130)
"""
# A network disk whose server has gone: nothing comes, and no signal ends the wait.
HANGS = """
import os, threading
read = os.read
def hang(fd, size):
    if os.readlink(f"/proc/self/fd/{fd}").endswith("/input.dat"):
        print("hangs", flush=True)
        threading.Event().wait()
    return read(fd, size)
os.read = hang
"""


def driver(
    root: Path, path: Path, linkage: str = "shared", runs: int = 2, before: str = ""
) -> AbstractContextManager[subprocess.Popen[str]]:
    return script(before + DRIVER, str(root), str(path), linkage, str(runs))


def await_line(stream: IO[str] | None, text: str) -> None:
    assert stream is not None
    for line in stream:
        if text in line:
            return
    pytest.fail(f"{text!r} was not said")


def press(process: subprocess.Popen[str]) -> float:
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    return began


def carries_on(root: Path, path: Path) -> None:
    """The same call again, with an input of a size that is handled at once."""
    path.unlink()
    path.write_text("small")
    with driver(root, path) as process:
        assert process.wait(60) == 0
    assert [run.status for run in Sweep.open(root).runs] == ["success"] * 2
    assert {p.read_text() for p in root.glob("runs/*/input.dat")} == {"small"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "input.dat"
    path.write_text("small")
    return path


def make_huge(path: Path) -> None:
    with path.open("ab") as file:
        try:
            file.truncate(HUGE)
        except OSError:  # a file system of small files
            file.truncate(HUGE >> 6)


def test_ctrl_c_ends_the_hashing_of_a_huge_input(tmp_path: Path, small: Path) -> None:
    root = tmp_path / "s"
    with driver(root, small) as process:
        assert process.wait(60) == 0
    make_huge(small)
    with driver(root, small) as process:
        await_line(process.stderr, "reading the input files")
        began = press(process)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - began < AT_ONCE
    assert process.returncode == 130
    assert "Traceback" not in told
    assert Sweep.open(root).statistics.success_count == 2
    carries_on(root, small)


def test_a_second_ctrl_c_ends_the_hashing_as_well(tmp_path: Path, small: Path) -> None:
    root = tmp_path / "s"
    with driver(root, small) as process:
        assert process.wait(60) == 0
    make_huge(small)
    with driver(root, small) as process:
        await_line(process.stderr, "reading the input files")
        press(process)
        began = press(process)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - began < AT_ONCE
    assert process.returncode == 130
    assert "Traceback" not in told
    carries_on(root, small)


def test_ctrl_c_ends_the_copying_of_a_huge_input(tmp_path: Path, small: Path) -> None:
    root = tmp_path / "s"
    make_huge(small)
    with driver(root, small) as process:
        wait_until(lambda: any(p.stat().st_size for p in root.glob("shared/.*/input.dat")))
        began = press(process)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - began < AT_ONCE
    assert process.returncode == 130
    assert "interrupted before the sweep had begun" in told
    assert not list((root / "shared").iterdir()), "the part that was copied takes room"
    carries_on(root, small)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ctrl_c_ends_the_copying_into_run_directories(tmp_path: Path, small: Path) -> None:
    root = tmp_path / "s"
    with small.open("wb") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    with driver(root, small, "copy", runs=20) as process:
        wait_until(lambda: list(root.glob("runs/*/.*")) or list(root.glob("runs/*/input.dat")))
        began = press(process)
        process.communicate(timeout=60)
        assert time.monotonic() - began < AT_ONCE
    assert process.returncode in (0, 130)  # 0: the disk shares blocks, and all was done already
    assert not list(root.glob("runs/*/.multirun.part-*"))
    with driver(root, small, "copy", runs=20) as process:
        assert process.wait(500) == 0
    assert Sweep.open(root).statistics.success_count == 20


@pytest.mark.parametrize("resumed", [False, True])
def test_a_second_ctrl_c_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, small: Path, resumed: bool
) -> None:
    root = tmp_path / "s"
    if resumed:
        with driver(root, small) as process:
            assert process.wait(60) == 0
    with driver(root, small, before=HANGS) as process:
        await_line(process.stdout, "hangs")
        press(process)
        await_line(process.stderr, "once more")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)  # it may be slow, and not dead
        began = press(process)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - began < AT_ONCE
    assert process.returncode == 130
    assert "Traceback" not in told
    carries_on(root, small)


def test_a_sweep_in_a_thread_outlives_the_main_thread(tmp_path: Path, small: Path) -> None:
    """Executors of the standard library take no work any more at that point."""
    code = f"""
import threading, time
from multirun_core import FileResource, multirun

def sweep():
    threading.main_thread().join()
    multirun(
        runs=[{{"n": n}} for n in range(6)],
        cmd=["sh", "-c", "sleep 0.3; cat input.dat; echo {{n}} >result.txt"],
        output_path={str(tmp_path / "s")!r},
        input_files=[FileResource({str(small)!r}, "copy")],
        runner_options={{"max_parallel": 2}},
        runner="local",
        collect="re:(?P<word>small)",
        keep="results",
    )

threading.Thread(target=sweep).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert Sweep.open(tmp_path / "s").results == [{"word": "small"}] * 6


def test_nobody_waits_at_exit_for_a_thread_that_hangs() -> None:
    code = """
import threading
from multirun_core._threads import Threads
begun = threading.Event()
Threads(1, "x").submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)
