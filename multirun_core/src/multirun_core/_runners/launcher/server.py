"""The launcher's process: serves one driver, and takes everything down with it.

It has a session of its own, so no signal of the terminal reaches it. It ends all runs and then
itself when the driver closes the connection, asks for it, or dies, and at SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

from .live import NEVER
from .runs import Runs
from .tags import NAME
from .wire import PORTION, Inbox, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

# Without its driver, the launcher gives runs no more than this many seconds to end by TERM.
_LAST_GRACE = 2.0
_LONGEST_WAIT = 3600.0
# While the next runs are lined up, the driver need not be woken for each success.
_GATHER_SECONDS = 0.008
_PR_SET_CHILD_SUBREAPER = 36


class Server:
    """One connection and the runs behind it."""

    def __init__(self, connection: int, driver: int, base_env: dict[bytes, bytes]) -> None:
        self._connection = connection
        self._driver = driver
        self._inbox = Inbox()
        self._messages: list[tuple[Any, ...]] = []
        self._outgoing = bytearray()
        self._flush_at = NEVER
        self._most_left = 0
        self._closing = False
        self._terminated = False
        self._connected = True
        self._blocked = False
        self._base_env = base_env
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.runs = Runs(base_env, self._null, self._messages.append)
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, self._on_terminate)
        self._poll = select.epoll()
        for fd in (self._wake, driver, connection):
            self._poll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        """Work until there is no driver and no run."""
        self._messages.append(("ready",))
        while self._connected or self.runs.live:
            self._flush_in_time()
            if self._closing and not self.runs.live:
                break
            due = min(self.runs.due(), self._flush_at)
            # epoll_wait(2) takes milliseconds as an int, which is less than 25 days.
            wait = -1 if due == NEVER else min(max(0.0, due - time.monotonic()), _LONGEST_WAIT)
            ready = {fd for fd, _ in self._poll.poll(wait)}
            if self.runs.interpreters is not None:  # before any of these numbers can be another's
                self.runs.interpreters.notice(ready)
            if self._driver in ready:
                self._poll.unregister(self._driver)
                self._lose_driver()
            if self._wake in ready:
                os.read(self._wake, 4096)
                if self._terminated:
                    self._terminated = False
                    self._close("the launcher was ended by SIGTERM", _LAST_GRACE)
                self.runs.reap()
            if self._connection in ready and self._connected:
                self._receive()
            self.runs.tick()
        self.runs.clear()
        self._flush()

    def _receive(self) -> None:
        try:
            data = os.read(self._connection, PORTION)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose_driver()
            return
        self.runs.heard = time.monotonic()
        for message in self._inbox.feed(data):
            self._handle(message)

    def _handle(self, message: tuple[Any, ...]) -> None:
        what = message[0]
        if what == "start":
            if self._closing:
                self._messages.append(("failed", message[1], 0, "the launcher is ending", None))
            else:
                self.runs.start(*message[1:])
        elif what == "next" and not self._closing:
            self.runs.line_up(*message[1:])
        elif what == "go":
            self.runs.go(message[1])
        elif what == "take back":
            self.runs.take_back(message[1])
        elif what == "decided":
            self.runs.undecided.discard(message[1])
        elif what == "end":
            self.runs.end(message[1])
        elif what == "end all":
            self.runs.end_all(message[1])
        elif what == "warm":
            self._open_warm(*message[1:])
        elif what == "ping":
            self._messages.append(("pong",))
        elif what == "close":
            self._closing = True
            self.runs.end_all(NEVER)

    def _open_warm(self, *message: Any) -> None:
        if self.runs.interpreters is None:
            from .warm import Interpreters

            self.runs.interpreters = Interpreters(
                self._base_env, self._null, self._driver, self._poll, self._messages.append
            )
        self.runs.open_warm(*message)

    def _close(self, why: str, grace: float) -> None:
        self._closing = True
        self._messages.append(("gone", why))
        self.runs.end_all(grace)

    def _lose_driver(self) -> None:
        if self._connected:
            self._connected = False
            self._poll.unregister(self._connection)
        self._close("", _LAST_GRACE)

    def _flush_in_time(self) -> None:
        """Send what there is to tell, or keep it for a moment in which there may be more."""
        runs, left = self.runs, len(self.runs.lined_up)
        self._most_left = max(self._most_left, left)
        many = 2 * left > self._most_left
        if self._messages and many and not runs.undecided and not self._closing:
            now = time.monotonic()
            self._flush_at = min(self._flush_at, now + _GATHER_SECONDS)
            if now < self._flush_at:
                return
        self._flush()

    def _flush(self) -> None:
        self._flush_at = NEVER
        self._most_left = len(self.runs.lined_up)
        if self._messages:
            self._outgoing += pack(self._messages)
            self._messages.clear()
        if not self._connected:
            self._outgoing.clear()
        if not self._outgoing:
            return
        try:
            del self._outgoing[: os.write(self._connection, self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._lose_driver()
            return
        if bool(self._outgoing) != self._blocked:
            self._blocked = not self._blocked
            wanted = select.EPOLLIN | (select.EPOLLOUT if self._blocked else 0)
            self._poll.modify(self._connection, wanted)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing. Unlike SIG_IGN, a handler does not pass to the programs that are started."""


def _prepare() -> None:
    """Become the parent of all orphans below, and start programs with signals as by default."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    with open("/proc/self/comm", "wb") as name:
        name.write(NAME)
    for number in signal.valid_signals():
        # SIGPIPE and SIGXFSZ are ignored by Python itself, and restored by subprocess.
        if number in (signal.SIGPIPE, signal.SIGXFSZ):
            continue
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _hello(connection: int, driver: int) -> dict[bytes, bytes]:
    """Wait for the first message: the environment of all runs."""
    inbox = Inbox()
    while driver not in select.select([connection, driver], [], [])[0]:
        data = os.read(connection, PORTION)
        if not data:
            break
        for message in inbox.feed(data):
            return dict(message[1])
    raise EOFError("the driver is gone")


def main() -> None:
    """Serve the connection with the number `sys.argv[-2]` of the driver with pid `sys.argv[-1]`."""
    connection, pid = map(int, sys.argv[-2:])
    os.set_inheritable(connection, False)
    driver = os.pidfd_open(pid)
    if os.getppid() != pid:
        return  # it died before it could be watched
    _prepare()
    base_env = _hello(connection, driver)
    os.set_blocking(connection, False)
    server = Server(connection, driver, base_env)
    try:
        server.serve()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        server.runs.clear()
        os._exit(1)
