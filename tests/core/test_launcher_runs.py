"""One run in the launcher: what the program gets, and what is reported of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from launcher_tools import AWKWARD, PYTHON, descriptors, opened
from multirun_core._model.run import ExitStatus
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.launcher.ends import DISK_ERRORS, StartFailure, start_failure
from multirun_core._runners.launcher.wire import Inbox, pack
from multirun_core.errors import RunnerClosedError

SHOW = """
import os, sys
out = {"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}
os.write(1, ascii(out).encode())
"""


@pytest.mark.asyncio
async def test_exit_status_signal_and_times(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        before = time.time()
        end = await bench.run("sh", "-c", "sleep 0.1; exit 3")
        after = time.time()
        assert (end.code, end.reason, end.message, end.cause) == (3, None, None, "exit")
        assert end.started is not None
        assert end.ended is not None
        assert before - 0.01 <= end.started <= end.ended - 0.1 <= after
        killed = await bench.run("sh", "-c", "kill -9 $$")
        assert (killed.code, killed.cause) == (-9, "signal")
        assert (await bench.run("true")).ok


@pytest.mark.asyncio
async def test_the_usage_is_the_runs_own(tmp_path: Path) -> None:
    """Neither a big driver nor the launcher show in it; a child that was waited for does."""
    async with opened(tmp_path) as bench:
        ballast = bytearray(os.urandom(1 << 20)) * 500
        small = await bench.run("true")
        assert small.max_rss_bytes is not None
        assert 0 < small.max_rss_bytes < 20 << 20
        del ballast
        body = "x = bytearray(60 << 20); sum(range(3_000_000))"
        big = await bench.run("sh", "-c", f'"$0" -S -I -c "{body}"; true', sys.executable)
        assert big.max_rss_bytes is not None
        assert big.cpu_seconds is not None
        assert 60 << 20 < big.max_rss_bytes < 100 << 20
        assert 0.01 < big.cpu_seconds < 10


@pytest.mark.asyncio
async def test_awkward_words_variables_and_directories(tmp_path: Path) -> None:
    words = [AWKWARD, "", "-n", "*", "$(exit 1)", "\udcff\udc80", "ü€😀", "x" * 100_000]
    variables = {"ODD": AWKWARD, "lower.case-name": "\udcfe", "EMPTY": "", "BASE": "mine"}
    async with opened(tmp_path, {"BASE": "theirs", "LC_ALL": "C.UTF-8"}) as bench:
        folder = bench.directory()
        end = await bench.run(*PYTHON, "-c", SHOW, *words, cwd=folder, env=variables)
        assert end.ok
        shown = eval((folder / "stdout.txt").read_text())  # noqa: S307 - our own words
        assert shown["argv"] == words
        assert shown["cwd"] == str(folder)
        run_dir = {"MULTIRUN_RUN_DIR": str(folder)}
        assert shown["env"] == {"LC_ALL": "C.UTF-8"} | run_dir | variables


@pytest.mark.asyncio
async def test_relative_paths_are_taken_from_the_drivers_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/prog").write_text("#!/bin/sh\npwd\n")
    Path("run/prog").chmod(0o755)
    async with opened(tmp_path) as bench:
        end = await bench.launcher.run(
            ["./prog"], "run", {}, "run/out", "run/err", timeout=None, grace=1
        )
        assert end.ok
        assert Path("run/out").read_text() == f"{tmp_path}/run\n"


@pytest.mark.asyncio
async def test_streams(tmp_path: Path) -> None:
    """More than 1 MiB on both at once, old content gone, the mode of new files, an empty stdin."""
    script = "head -c 1500000 /dev/zero & head -c 1700000 /dev/zero >&2; wait; cat; echo end"
    async with opened(tmp_path) as bench:
        folder = bench.directory()
        (folder / "stdout.txt").write_bytes(b"x" * 3_000_000)
        end = await bench.run("sh", "-c", script, cwd=folder)
        assert end.ok
        assert (folder / "stdout.txt").read_bytes() == b"\0" * 1_500_000 + b"end\n"
        assert (folder / "stderr.txt").stat().st_size == 1_700_000
        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE((folder / "stderr.txt").stat().st_mode) == 0o666 & ~umask


INSIDE = """
import json, os
fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
       if os.path.exists(f"/proc/self/fd/{fd}")}
print(json.dumps({"fds": fds, "group": os.getpgrp() == os.getpid()}))
"""


@pytest.mark.asyncio
async def test_a_run_inherits_neither_descriptors_nor_signals(tmp_path: Path) -> None:
    """Even if the driver ignores or blocks signals and leaves descriptors open to children."""
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    user = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
    try:
        async with opened(tmp_path) as bench:
            folder = bench.directory()
            assert (await bench.run("cat", "/proc/self/status", cwd=folder)).ok
            text = (folder / "stdout.txt").read_text()
            status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
            # 32 and 33 belong to the C library, whose posix_spawn(3) leaves them ignored.
            assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0
            assert int(status["SigBlk"], 16) == 0
            inside = json.loads(await bench.output(*PYTHON, "-c", INSIDE))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, hung_up)
        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGUSR1, user)
        os.close(inherited)
    assert set(inside["fds"]) == {"0", "1", "2"}
    assert inside["fds"]["0"] == "/dev/null"
    assert inside["fds"]["1"].endswith("stdout.txt")
    assert inside["fds"]["2"].endswith("stderr.txt")
    assert inside["group"]


@pytest.mark.asyncio
async def test_the_driver_keeps_nothing(tmp_path: Path) -> None:
    before = descriptors()
    async with opened(tmp_path) as bench:
        assert isinstance(bench.launcher, Launcher)
        await bench.run("true")
        held = bench.launcher.identity.pid
        first = len(descriptors(held))
        await asyncio.gather(*(bench.run("true") for _ in range(20)), bench.run("no-such-program"))
        assert len(descriptors(held)) == first
    assert descriptors() == before


@pytest.mark.asyncio
async def test_300_quick_runs(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        folder = bench.directory()
        numbers = iter(range(300))
        codes: dict[int, int | None] = {}

        async def worker() -> None:
            for number in numbers:
                end = await bench.run("sh", "-c", f"exit {number % 256}", cwd=folder)
                codes[number] = end.code

        await asyncio.gather(*(worker() for _ in range(6)))
        assert codes == {number: number % 256 for number in range(300)}


@pytest.mark.asyncio
async def test_big_commands_and_environments(tmp_path: Path) -> None:
    words = ["x" * 120_000] * 8
    variables = {f"BIG{number}": "y" * 100_000 for number in range(5)}
    counting = 'echo $# ${#1} ${#BIG4} "${#8}"'
    async with opened(tmp_path) as bench:
        ends = [
            bench.output("bash" if shutil.which("bash") else "sh", "-c", counting, "sh", *words,
                         env=variables)
            for _ in range(4)
        ]  # fmt: skip
        assert await asyncio.gather(*ends) == [b"8 120000 100000 120000\n"] * 4
        end = await bench.run("true", "x" * 200_000)
        assert isinstance(end, StartFailure)
        assert (end.reason, end.errno) == ("submit", errno.E2BIG)
        assert end.message is not None
        assert end.message.startswith("cannot start 'true': its arguments and environment are too")


FILES: dict[str, tuple[bytes | None, int]] = {
    "scrapt": (b"#!/bin/sh\ntrue\n", 0o644),
    "bare": (b"true\n", 0o755),
    "lost": (b"#!/no/such/interpreter -x\ntrue\n", 0o755),
    "windows": (b"#!/bin/sh\r\ntrue\r\n", 0o755),
    "folder": (None, 0o755),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("program", "number", "text"),
    [
        ("simulat", errno.ENOENT, "no such program in PATH ({path}); install it, or give its path"),
        (
            "scrapt",
            errno.ENOENT,
            "no such program in PATH ({path}); install it, or give its path; there is one in the "
            "run directory: write './scrapt'",
        ),
        ("", errno.ENOENT, "no such program in PATH ({path}); install it, or give its path"),
        (
            "simulate -x 'a b' c",
            errno.ENOENT,
            "no such program in PATH ({path}); install it, or give its path. Is that more than one "
            """word? No shell takes it apart; write 'simulate', '-x', "'a", "b'", …""",
        ),
        (
            "./none",
            errno.ENOENT,
            "'{cwd}/./none': No such file or directory; relative paths are looked up in the run "
            "directory",
        ),
        (
            "./scrapt",
            errno.EACCES,
            "'{cwd}/./scrapt' is not executable; run `chmod +x` on it, or name its interpreter "
            "first, such as ['python3', '{cwd}/./scrapt']",
        ),
        (
            "./bare",
            errno.ENOEXEC,
            "'{cwd}/./bare' is no program of this machine; a script needs a first line such as "
            "`#!/bin/sh`",
        ),
        (
            "./lost",
            errno.ENOENT,
            "its first line names the interpreter '/no/such/interpreter': No such file or "
            "directory; correct that line (it must end in a plain newline), or name the "
            "interpreter first",
        ),
        (
            "./windows",
            errno.ENOENT,
            "its first line names the interpreter '/bin/sh\\r': No such file or directory; correct "
            "that line (it must end in a plain newline), or name the interpreter first",
        ),
        ("./folder", errno.EACCES, "'{cwd}/./folder' is a directory"),
        ("nul\0", errno.EINVAL, "embedded null byte; look at its arguments and environment"),
    ],
)
async def test_programs_that_cannot_be_started(
    tmp_path: Path, program: str, number: int, text: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, (content, mode) in FILES.items():
        if content is None:
            (folder / name).mkdir(mode)
        else:
            (folder / name).write_bytes(content)
            (folder / name).chmod(mode)
    async with opened(tmp_path) as bench:
        end = await bench.run(program, cwd=folder)
        assert isinstance(end, StartFailure)
        text = text.format(cwd=folder, path=os.environ["PATH"])
        line = f"cannot start {program!r}: {text}"
        assert (end.code, end.reason, end.errno, end.message) == (None, "submit", number, line)
        assert (end.started, end.ended) == (None, None)
        assert (folder / "stderr.txt").read_text() == f"multirun: {line}\n"
        assert (await bench.run("true", cwd=folder)).ok


@pytest.mark.asyncio
async def test_other_things_that_stop_a_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        end = await bench.run(cwd=tmp_path)
        assert end.message is not None
        assert end.message.startswith("cannot start ''")

        end = await bench.run("true", cwd=tmp_path, env={"A=B": "c"})
        assert end.message is not None
        assert "illegal environment variable name" in end.message

        end = await bench.run("true", cwd=tmp_path / "none")
        assert isinstance(end, StartFailure)
        assert end.errno == errno.ENOENT
        missing = str(tmp_path / "none" / "stdout.txt")
        text = f"cannot open {missing!r} for the program's output: No such file or directory"
        assert end.message == text

        out, err = str(tmp_path / "o"), str(tmp_path / "e")
        end = await bench.launcher.run(
            ["true"], tmp_path / "none", {}, out, err, timeout=None, grace=1
        )
        text = f"its directory '{tmp_path}/none' cannot be entered: No such file or directory"
        assert end.message == f"cannot start 'true': {text}"
        words: list[Any] = ["true", 5]
        with pytest.raises(TypeError):
            await bench.run(*words)
        assert (await bench.run("true")).ok


@pytest.mark.asyncio
async def test_numbers_of_another_type(tmp_path: Path) -> None:
    class Seconds(float):
        """As numpy's are."""

    async with opened(tmp_path) as bench:
        end = await bench.run("sleep", "1000", limit=Seconds(0.1), grace=Seconds(1))
        assert end.reason == "timeout"


@pytest.mark.asyncio
async def test_the_path_of_the_run_counts(tmp_path: Path) -> None:
    """Each run's own PATH, relative folders in the run directory, and a program that moves."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
        (place / "tool").write_text(f"#!/bin/sh\necho {place.name}\n")
        (place / "tool").chmod(0o755)
    both = ":".join(map(str, places))
    async with opened(tmp_path) as bench:
        assert await bench.output("tool", env={"PATH": str(places[1])}) == b"two\n"
        assert await bench.output("tool", env={"PATH": both}) == b"one\n"
        assert await bench.output("tool", env={"PATH": "../one"}) == b"one\n"
        (places[0] / "tool").unlink()
        assert await bench.output("tool", env={"PATH": both}) == b"two\n"
        (places[1] / "tool").chmod(0o644)
        end = await bench.run("tool", env={"PATH": both})
        assert isinstance(end, StartFailure)
        assert end.errno == errno.EACCES
        assert end.message is not None
        assert f"'{places[1]}/tool' is not executable" in end.message


def test_a_full_disk_is_raised() -> None:
    for number in DISK_ERRORS:
        with pytest.raises(OSError, match="text") as caught:
            start_failure(number, "text", "/out")
        assert caught.value.errno == number
        assert caught.value.filename == "/out"
    assert start_failure(errno.ENOSPC, "text", None).reason == "submit"
    assert start_failure(errno.EMFILE, "text", "/out").errno == errno.EMFILE


FEW_FILES = """
import asyncio, resource, sys
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from launcher_tools import opened

async def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (24, hard))
    async with opened(Path()) as bench:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        resource.prlimit(bench.launcher.identity.pid, resource.RLIMIT_NOFILE, (10, hard))
        print(await bench.run("true", cwd=Path()))
        resource.prlimit(bench.launcher.identity.pid, resource.RLIMIT_NOFILE, (24, hard))
        print(await bench.run("true", cwd=Path()))

asyncio.run(main())
"""


def test_a_shortage_is_reported_and_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, repr(sys.path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    first, second = done.stdout.splitlines()
    assert f"errno={errno.EMFILE}" in first
    assert "reason='submit'" in first
    assert "code=0" in second


@pytest.mark.asyncio
async def test_the_launcher_is_small_and_apart(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await bench.run("true")
        identity = bench.launcher.identity
        assert identity.alive()
        assert os.getsid(identity.pid) == identity.pid
        status = Path(f"/proc/{identity.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0])
        assert peak < 20_000
        assert "multirun_core" not in Path(f"/proc/{identity.pid}/maps").read_text()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            os.kill(identity.pid, number)
        assert (await bench.run("true")).ok
        await bench.launcher.close()
        assert not identity.alive()
        assert not bench.launcher.lost
        with pytest.raises(RunnerClosedError):
            await bench.run("true")
        bench.launcher.end_all(0)


@given(
    st.lists(st.lists(st.tuples(st.text(), st.binary(), st.floats(allow_nan=False))), max_size=4),
    st.integers(1, 50),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_frames_in_any_portions(batches: list[list[tuple[str, bytes, float]]], size: int) -> None:
    stream = b"".join(pack(list(batch)) for batch in batches)
    inbox = Inbox()
    got = [
        message
        for start in range(0, len(stream), size)
        for message in inbox.feed(stream[start : start + size])
    ]
    assert got == [message for batch in batches for message in batch]


def test_what_ended_means() -> None:
    assert ExitStatus(code=0).ok
    assert not StartFailure(code=None, reason="submit", errno=errno.ENOENT).ok
