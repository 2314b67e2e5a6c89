"""Which processes descend from which: reading /proc, see proc(5)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HAS_PROC = os.path.exists("/proc/self/stat")
HAS_CHILDREN = os.path.exists("/proc/thread-self/children")


class Process:
    """One process as it was seen.

    Attributes:
        pid: its id.
        name: of its program, cut to 15 bytes.
        state: a letter, such as b"Z" for a zombie.
        parent: the id of its parent.
        group: the id of its process group.
        session: the id of its session.
        start: when it was started, in clock ticks since boot.
    """

    __slots__ = ("group", "name", "parent", "pid", "session", "start", "state")

    def __init__(self, pid: int, text: bytes) -> None:
        head, _, tail = text.rpartition(b")")
        fields = tail.split()
        self.pid = pid
        self.name = head.partition(b"(")[2]
        self.state = fields[0]
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.session = int(fields[3])
        self.start = int(fields[19])


def read(path: str) -> bytes:
    """Return what a file of /proc holds; nothing where it or its process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts: list[bytes] = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(fd)


def process(pid: int) -> Process | None:
    """Look at one process; None where there is none."""
    text = read(f"/proc/{pid}/stat")
    return Process(pid, text) if text else None


def processes() -> dict[int, Process]:
    """Look at all processes."""
    seen = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {one.pid: one for one in seen if one is not None}


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies too.

    For the calling process this is exact: only it can take a child from that list.
    """
    if not HAS_CHILDREN:
        return [one.pid for one in processes().values() if one.parent == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found += map(int, read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def family(roots: Iterable[int]) -> dict[int, Process]:
    """Look at processes and all their descendants.

    A family that changes meanwhile may be seen in part; who needs all of it looks until there is
    nobody left.
    """
    everybody = None if HAS_CHILDREN else processes()
    seen: dict[int, Process] = {}
    todo = list(roots)
    while todo:
        pid = todo.pop()
        one = process(pid) if everybody is None else everybody.get(pid)
        if one is None or pid in seen:
            continue
        seen[pid] = one
        if everybody is None:
            todo += children(pid)
        else:
            todo += [other.pid for other in everybody.values() if other.parent == pid]
    return seen


def signal_one(one: Process, number: int) -> None:
    """Send a signal to a process that was seen, and never to another that has its id by now."""
    from signal import pidfd_send_signal

    try:
        fd = os.pidfd_open(one.pid)
    except OSError:
        return
    try:
        now = process(one.pid)
        if now is not None and now.start == one.start:
            pidfd_send_signal(fd, number)
    except OSError:
        pass  # gone, or another user's by now: then it stays, and is counted as left
    finally:
        os.close(fd)


def uses(pid: int, folder: bytes) -> bool:
    """Whether a process has its current directory or an open file in `folder`."""
    base = f"/proc/{pid}/"
    try:
        links = [base + "cwd", *(base + "fd/" + name for name in os.listdir(base + "fd"))]
    except OSError:
        links = [base + "cwd"]
    for link in links:
        try:
            target = os.readlink(os.fsencode(link))
        except OSError:
            continue
        if target == folder or target.startswith(folder + b"/"):
            return True
    return False


def variable(pid: int, name: bytes) -> bytes | None:
    """Return a variable of the environment that a process was started with."""
    for entry in read(f"/proc/{pid}/environ").split(b"\0"):
        key, equals, value = entry.partition(b"=")
        if equals and key == name:
            return value
    return None
