"""Mark the processes of each run so that the mark cannot be lost.

A process hands its resource limits down through fork, exec, setsid and an emptied environment, and
anybody may read them in /proc/PID/limits. So the launcher lowers its own soft limit of the bytes in
POSIX message queues (RLIMIT_MSGQUEUE, getrlimit(2)) by a little before each start, by another
little for each run that is alive. Nothing else reads that limit but mq_open(3), and 256 bytes less
for each parallel run leave it usable.

The launcher of a sweep that is itself a run of another sweep counts in single bytes below the mark
that it was given, so that the outer launcher still reads its own mark on all of them. Deeper down
there are no marks. Neither are there where the limit is too small or was changed by the program:
then other evidence is looked for.
"""

from __future__ import annotations

import os
import resource

from . import tree

NAME = b"multirun-launch"
_STEP = 256
_UNLIMITED = 1 << 40


class Tags:
    """The marks that are free, and reading them.

    Attributes:
        count: how many runs can be marked at once; 0 where marks do not work.
    """

    def __init__(self) -> None:
        soft, self._hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
        self._base = _UNLIMITED if soft == resource.RLIM_INFINITY else soft
        depth = _depth()
        self._step = _STEP if depth == 0 else 1
        room = self._base // 2 // self._step
        self.count = (room, min(room, _STEP - 1), 0)[min(depth, 2)]
        self._free: list[int] = []
        self._next = 1
        self._set = 0

    def take(self) -> int:
        """Mark what is started from now on, with a mark that nobody else has; 0 for none."""
        if self._free:
            tag = self._free.pop()
        elif self._next <= self.count:
            tag = self._next
            self._next += 1
        else:
            tag = 0
        if tag != self._set:
            limits = (self._base - tag * self._step, self._hard)
            try:
                resource.setrlimit(resource.RLIMIT_MSGQUEUE, limits)
            except (OSError, ValueError):
                self.count = tag = 0
            self._set = tag
        return tag

    def give_back(self, tag: int) -> None:
        """Let a mark be used again: nobody bears it any more."""
        if tag and self.count:
            self._free.append(tag)

    def read(self, pid: int) -> int:
        """Return the mark of a process; 0 where it bears none."""
        if not self.count:
            return 0
        _, _, rest = tree.read(f"/proc/{pid}/limits").partition(b"Max msgqueue size")
        value = rest.split(None, 1)[0] if rest else b""
        below = self._base - int(value) if value.isdigit() else 0
        tag = below // self._step
        return tag if 0 < tag < self._next else 0


def _depth() -> int:
    """Return how many launchers are above this process."""
    depth, pid = 0, os.getppid()
    while pid > 1 and (one := tree.process(pid)) is not None:
        depth += one.name == NAME
        pid = one.parent
    return depth
