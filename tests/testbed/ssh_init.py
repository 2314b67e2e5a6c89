"""The first process of a host of the test bed: keeps sshd, reaps orphans, and ends everything.

Started as `python -I -S ssh_init.py HOST_DIRECTORY namespaces|loopback`. It takes one JSON object a
line on standard input and answers each with one line. When standard input ends, since whoever made
the bed has gone, however that came about, so does the host with every process on it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SSHD = "/usr/sbin/sshd"


class Host:
    def __init__(self, directory: Path, alone: bool) -> None:
        self.directory = directory
        self.alone = alone  # in a pid namespace of its own
        self.sshd: int | None = None

    def listen(self) -> str:
        words = [SSHD, "-D", "-e", "-f", str(self.directory / "etc/sshd_config")]
        with (self.directory / "sshd.log").open("ab") as log, Path(os.devnull).open("rb") as null:
            # Not Popen, which would wait for it too.
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.dup2(null.fileno(), 0)
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                os.execv(SSHD, words)  # noqa: S606 - no shell is wanted
        self.sshd = pid
        return "listening"

    def deafen(self) -> str:
        """End the listening sshd alone: sessions that there are go on, as after a restart."""
        if self.sshd is not None:
            os.kill(self.sshd, signal.SIGKILL)
            self._until(lambda: self.sshd is None)
        return "deaf"

    def drop(self) -> str:
        """End all that is sshd: the connections die, the programs go on."""
        self.deafen()
        # From OpenSSH 9.8 on, connections are programs of their own: sshd-session, sshd-auth.
        self._until(lambda: not self._end(lambda pid: name_of(pid).startswith("sshd")))
        return "dropped"

    def end(self) -> None:
        self._until(lambda: not self._end(lambda _: True))

    def reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.sshd:
                self.sshd = None

    def _end(self, wanted: Callable[[int], bool]) -> bool:
        found = False
        for pid in descendants(os.getpid()):
            if wanted(pid):
                found = True
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return found

    def _until(self, condition: Callable[[], object]) -> None:
        for _ in range(1000):
            self.reap()
            if condition():
                return
            time.sleep(0.01)
        raise TimeoutError("what was killed is still there after 10 s")


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
        except OSError:
            continue
        if state not in (b"Z", b"X"):
            children.setdefault(int(parent), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def main() -> None:
    directory, kind = Path(sys.argv[1]), sys.argv[2]
    host = Host(directory, kind == "namespaces")
    if host.alone:
        subprocess.run(["sh", str(directory / "etc/boot.sh")], check=True)
    else:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    heard, told = os.pipe()
    os.set_blocking(heard, False)
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("up", flush=True)
    waiting = b""
    while True:
        ready, _, _ = select.select([0, heard], [], [])
        if heard in ready:
            os.read(heard, 4096)
        host.reap()
        if 0 not in ready:
            continue
        came = os.read(0, 4096)
        if not came:
            break
        waiting += came
        while b"\n" in waiting:
            line, _, waiting = waiting.partition(b"\n")
            answer = "".join(getattr(host, word)() for word in json.loads(line))
            print(answer, flush=True)
    if not host.alone:
        host.end()


if __name__ == "__main__":
    main()
