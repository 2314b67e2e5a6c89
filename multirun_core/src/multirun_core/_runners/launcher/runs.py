"""The runs of one launcher: starting them, noticing their ends, ending whole trees."""

from __future__ import annotations

import errno
import os
import signal
import time

from . import tree
from .live import NEVER, LiveRun
from .owners import Owners
from .starting import Confined, StartError, start
from .tags import Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .warm import Interpreters

# How long processes that cannot be killed, in uninterruptible sleep, are waited for.
_PATIENCE = 10.0
_ROUNDS = 20
# A driver says something every 10 seconds. One that does not is suspended, and another may have
# taken over what is lined up.
_SILENCE = 30.0


class Runs:
    """All runs of this process, which must be a child subreaper and call `reap` after SIGCHLD.

    Attributes:
        live: by number, those that were started and whose end has not been reported.
        interpreters: the warm ones, children of this process that are no runs.
        lined_up: by number, those that are started as soon as another one has succeeded.
        heard: when the driver last said something, by the monotonic clock.
        undecided: those that have failed, until the driver has decided what follows from that.
    """

    def __init__(
        self,
        base_env: dict[bytes, bytes],
        null: int,
        report: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self.live: dict[int, LiveRun] = {}
        self.interpreters: Interpreters | None = None
        self._base_env = base_env
        self._null = null
        self._report = report
        self._mains: dict[int, LiveRun] = {}
        self._tags = Tags()
        self._owners = Owners(self._tags, self.live)
        self._next_deadline = NEVER
        self._ending: set[LiveRun] = set()
        self.lined_up: dict[int, tuple[Any, ...]] = {}
        self.heard = time.monotonic()
        self.undecided: set[int] = set()
        self._me = os.getpid()
        self._children = -1
        if tree.HAS_CHILDREN:
            self._children = os.open("/proc/thread-self/children", os.O_RDONLY | os.O_CLOEXEC)

    def start(
        self,
        number: int,
        argv: list[bytes],
        cwd: bytes,
        extra: dict[bytes, bytes],
        stdout: bytes,
        stderr: bytes,
        limit: float | None,
        grace: float,
        confined: tuple[tuple[int, ...], int] | None = None,
        warm: tuple[int, int] | None = None,
    ) -> None:
        """Start a run, or report why that is not possible.

        Where `warm` is the number of a warm interpreter and the place of the script in `argv`,
        it is forked from that interpreter, if that lives.
        """
        run = LiveRun(number, cwd, grace, self._tags.take())
        within = None if confined is None else Confined(*confined)
        files = (cwd, stdout, stderr)
        try:
            pid = None if warm is None else self._fork(run, argv, files, extra, within, warm)
            if pid is None:
                env = self._base_env | extra
                pid = start(argv, cwd, env, stdout, stderr, self._null, within, moves=True)
            run.pid = pid
        except StartError as error:
            self._failed(run, error.errno, error.text, error.stream)
            return
        except Exception as error:
            self._failed(run, errno.EINVAL, "cannot start: " + repr(error), None)
            return
        if limit is not None:
            run.deadline = run.began + limit
            self._next_deadline = min(self._next_deadline, run.deadline)
        self.live[number] = self._mains[run.pid] = run

    def line_up(self, number: int, *order: Any) -> None:
        """Keep a run ready that is started as soon as another one has succeeded."""
        self.lined_up[number] = order

    def go(self, number: int) -> None:
        """Start a run that was lined up, unless it has been started."""
        order = self.lined_up.pop(number, None)
        if order is not None:
            self.start(number, *order)

    def _failed(self, run: LiveRun, number: int, text: str, stream: str | None) -> None:
        self._tags.give_back(run.tag)
        self._report(("failed", run.number, number, text, stream))
        self.undecided.add(run.number)

    def open_warm(self, *message: Any) -> None:
        """Start a warm interpreter, with a mark of its own."""
        if self.interpreters is not None:
            self._tags.take()
            self.interpreters.open(*message)

    def _fork(
        self,
        run: LiveRun,
        argv: list[bytes],
        files: tuple[bytes, bytes, bytes],
        extra: dict[bytes, bytes],
        within: Confined | None,
        warm: tuple[int, int],
    ) -> int | None:
        if self.interpreters is None:
            return None
        try:
            return self.interpreters.fork(warm[0], argv, warm[1], files, extra, within)
        except StartError as error:
            if error.stream is None:
                # It may have been started: nobody else gets its mark, and what bears it is killed.
                tag, run.tag = run.tag, 0
                marked = [
                    pid for pid in self._own_children() if tag and self._tags.read(pid) == tag
                ]
                self._kill(tree.family(marked))
            raise

    def take_back(self, number: int) -> bool:
        """Do not start a run that was lined up; False where it has been, which is left alone."""
        if self.lined_up.pop(number, None) is None:
            return False
        self._report(("withdrawn", number))
        return True

    def end(self, number: int) -> None:
        """End a run with its own grace, unless its end has been reported."""
        if not self.take_back(number) and number in self.live:
            self._end(self.live[number], self.live[number].grace)

    def _end(self, run: LiveRun, grace: float) -> None:
        """Send TERM to the run's tree now, and KILL after `grace` seconds. A shorter one wins."""
        when = time.monotonic() + grace
        first = run.kill_at is None
        if run.kill_at is None or when < run.kill_at:
            run.kill_at = run.look_at = when
        self._ending.add(run)
        if first or grace <= 0:
            self._look(run)

    def end_all(self, most: float) -> None:
        """End all runs with their own grace, but no more than `most` seconds."""
        for number in list(self.lined_up):
            self.end(number)
        for run in list(self.live.values()):
            self._end(run, min(run.grace, most))

    def reap(self) -> None:
        """Take note of all children that have ended."""
        touched: list[LiveRun] = []
        while True:
            try:
                # Only looked at first: once it is reaped, nothing tells whose orphan it was.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            pid = found.si_pid
            run = self._mains.pop(pid, None)
            if self.interpreters is not None and pid in self.interpreters.pids:
                self.interpreters.forget(pid)
            elif run is None:
                run = self._owners.owner(pid)
            _, status, usage = os.wait4(pid, 0)
            self._owners.forget(pid)
            if run is None:
                continue
            run.cpu += usage.ru_utime + usage.ru_stime
            run.rss = max(run.rss, usage.ru_maxrss)
            if pid == run.pid:
                run.main = False
                run.status = status
                run.ended = run.started + time.monotonic() - run.began
                touched.append(run)
            elif run in self._ending:
                touched.append(run)
        for run in touched:
            if run.number in self.live:
                self._look(run)

    def tick(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        if now >= self._next_deadline:
            for run in list(self.live.values()):
                if now >= run.deadline:
                    run.deadline = NEVER
                    if run.main and run.kill_at is None:
                        run.timed_out = True
                        self._end(run, run.grace)
            self._next_deadline = min((run.deadline for run in self.live.values()), default=NEVER)
        for run in list(self._ending):
            if now >= run.look_at:
                self._look(run)

    def due(self) -> float:
        """Return when `tick` has something to do, by the monotonic clock."""
        return min(self._next_deadline, min((run.look_at for run in self._ending), default=NEVER))

    def clear(self) -> None:
        """Kill every child that is left, whosever it is, until there is none, for some seconds."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            self._kill(tree.family(tree.children(self._me)))
            time.sleep(0.005)

    def _look(self, run: LiveRun) -> None:
        """See what is left of a run that is being ended, or whose main process has ended."""
        try:
            self._end_what_is_left(run)
        except Exception as error:
            # One run's trouble must not become that of the others.
            self._done(run, -1, f"{type(error).__name__}: {error}")

    def _end_what_is_left(self, run: LiveRun) -> None:
        roots = self._roots(run)
        if not roots:
            self._done(run)
            return
        now = time.monotonic()
        if run.kill_at is None:
            run.kill_at = run.look_at = now + run.grace
            self._ending.add(run)
        if now < run.kill_at:
            self._terminate(run, tree.family(roots))
            return
        seen: dict[int, tree.Process] = {}
        for _ in range(_ROUNDS):
            before, seen = seen, tree.family(roots)
            if all(pid in before and before[pid].start == seen[pid].start for pid in seen):
                break
            self._kill(seen, run)
            roots = self._roots(run)
        if now > run.kill_at + _PATIENCE:
            self._done(run, len(seen))
        else:
            run.look_at = now + 0.05

    def _roots(self, run: LiveRun) -> list[int]:
        """Return those children of this process that belong to a run; kill what is nobody's."""
        roots: list[int] = [run.pid] if run.main else []
        warm = set[int]() if self.interpreters is None else self.interpreters.pids
        for pid in self._own_children():
            if pid in self._mains or pid in warm:
                continue
            runs = self._owners.candidates(pid)
            if not runs:
                self._kill(tree.family([pid]))
            elif runs == [run]:
                roots.append(pid)
        return roots

    def _own_children(self) -> list[int]:
        if self._children < 0:
            return tree.children(self._me)
        data = os.pread(self._children, 4096, 0)
        if len(data) < 3000:  # the kernel returns at most a page at once
            return list(map(int, data.split()))
        return tree.children(self._me)

    def _terminate(self, run: LiveRun, seen: dict[int, tree.Process]) -> None:
        """Send TERM, once to each process.

        What the main process starts after its TERM is left alone until it has ended: it may be
        saving its work.
        """
        if run.main and run.told:
            return
        if run.main:
            _signal_group(run.pid, signal.SIGTERM)
        for one in seen.values():
            key = (one.pid, one.start)
            if key not in run.told:
                run.told.add(key)
                if not run.main or one.group != run.pid:
                    tree.signal_one(one, signal.SIGTERM)
                if one.state == b"T":
                    tree.signal_one(one, signal.SIGCONT)

    def _kill(self, seen: dict[int, tree.Process], run: LiveRun | None = None) -> None:
        """Send KILL to processes and to their groups, so that none forks itself away."""
        groups = {one.group for one in seen.values()} - {0, 1, os.getpgrp()}
        for group in groups:
            if self._mains.get(group, run) is run:
                _signal_group(group, signal.SIGKILL)
        for one in seen.values():
            tree.signal_one(one, signal.SIGKILL)

    def _done(self, run: LiveRun, left: int = 0, trouble: str | None = None) -> None:
        """Report the end of a run; its mark stays taken while processes of it are left."""
        del self.live[run.number]
        self._ending.discard(run)
        if run.main:
            self._mains.pop(run.pid, None)
        if not left:
            self._tags.give_back(run.tag)
        status = None if run.main else os.waitstatus_to_exitcode(run.status)
        ended = run.ended or None
        usage = (run.cpu, run.rss)
        self._report(
            ("end", run.number, status, run.timed_out, run.started, ended, *usage, left, trouble)
        )
        if status != 0 or run.timed_out or left or trouble:
            self.undecided.add(run.number)  # nothing new may be to start
        elif self.lined_up and not self.undecided and time.monotonic() - self.heard < _SILENCE:
            number = next(iter(self.lined_up))
            self._report(("began", number))
            self.go(number)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        pass  # it is gone, or another user's: then it is counted as left
