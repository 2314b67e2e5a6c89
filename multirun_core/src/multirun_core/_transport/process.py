"""Which process is which, so that a reused pid is never taken for the one that was meant."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any


@cache
def boot_id() -> str:
    """Return what tells this boot of this machine from every other; "" where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        done = subprocess.run(
            ["sysctl", "-n", "kern.boottime"],  # noqa: S607 - macOS keeps it in /usr/sbin
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        return done.stdout.strip()


def start_time(pid: int) -> str | None:
    """Return when process `pid` was started, as text to compare; None where there is none.

    On Linux, the 22nd field of /proc/PID/stat (proc(5)): clock ticks since boot. A zombie counts
    as gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _start_time_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607 - part of every POSIX system
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return done.stdout.strip() or None


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process on one boot of one host.

    Attributes:
        host: name of the host.
        boot: id of its boot.
        pid: process id there.
        start: when the process was started, see `start_time`.
    """

    host: str
    boot: str
    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Identify process `pid` of this machine; None where there is none."""
        start = start_time(pid)
        return None if start is None else cls(socket.gethostname(), boot_id(), pid, start)

    @classmethod
    def own(cls) -> ProcessId:
        """Identify the calling process."""
        pid = os.getpid()
        return cls(socket.gethostname(), boot_id(), pid, start_time(pid) or "")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ProcessId:
        """Read what `to_json` wrote."""
        return cls(*(value[name] for name in ("host", "boot", "pid", "start")))

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    def alive(self) -> bool | None:
        """Whether it still runs; None where it is on another host, so that nobody here can tell."""
        if self.host != socket.gethostname():
            return None
        return self.boot == boot_id() and start_time(self.pid) == self.start

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"
