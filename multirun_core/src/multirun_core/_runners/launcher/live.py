"""What the launcher knows of one run."""

from __future__ import annotations

import time

NEVER = float("inf")


class LiveRun:
    """A run from its start to the moment when nothing is left of it.

    Attributes:
        number: what the driver calls it.
        pid: of its main process.
        tag: its mark, 0 for none.
        cwd: its directory.
        grace: seconds between TERM and KILL.
        started: when it was started, in seconds since the epoch.
        began: the same, by the monotonic clock.
        booted: the same, in seconds since boot.
        deadline: when its time is over, by the monotonic clock.
        main: whether the main process lives.
        status: how that ended, as wait4(2) says it.
        ended: when that ended, in seconds since the epoch.
        cpu: CPU time in seconds.
        rss: the largest resident set, in the system's unit.
        timed_out: whether its limit ended it.
        kill_at: when KILL follows, by the monotonic clock; None while it is not being ended.
        look_at: when to look for its processes again.
        told: pids and start times of the processes that TERM was sent to.
    """

    __slots__ = (
        "began",
        "booted",
        "cpu",
        "cwd",
        "deadline",
        "ended",
        "grace",
        "kill_at",
        "look_at",
        "main",
        "number",
        "pid",
        "rss",
        "started",
        "status",
        "tag",
        "timed_out",
        "told",
    )

    def __init__(self, number: int, cwd: bytes, grace: float, tag: int) -> None:
        self.number = number
        self.cwd = cwd
        self.grace = grace
        self.tag = tag
        self.pid = 0
        self.started = time.time()
        self.began = time.monotonic()
        self.booted = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.deadline = NEVER
        self.main = True
        self.status = 0
        self.ended = 0.0
        self.cpu = 0.0
        self.rss = 0
        self.timed_out = False
        self.kill_at: float | None = None
        self.look_at = NEVER
        self.told: set[tuple[int, int]] = set()
