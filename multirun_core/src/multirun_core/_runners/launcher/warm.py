"""The warm interpreters of this launcher: starting them, and asking them for runs.

A warm interpreter is a child of the launcher, in a process group of its own. What it forks for a
run becomes a child of the launcher too and bears that run's mark, so all that holds for a program
that the launcher started itself holds for it. See `warm_python` for the other end.
"""

from __future__ import annotations

import errno
import marshal
import os
import resource
import select
import signal
import socket
import subprocess
import time

from . import tree
from .starting import StartError, find, open_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .starting import Confined

_BEGIN = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "warm_python", "begin.py"
)
_HEADER = 4
_FORMAT = 2
# How long a warm interpreter may take to fork; it does nothing else.
_PATIENCE = 10.0


class _Interpreter:
    """A warm interpreter.

    Attributes:
        number: what the driver calls it.
        pid: of its process.
        connection: to it.
        errors: what it wrote to its standard error.
        warm: whether it has imported what it was told to.
    """

    __slots__ = ("connection", "errors", "number", "pid", "warm")

    def __init__(self, number: int, pid: int, connection: socket.socket, errors: int) -> None:
        self.number = number
        self.pid = pid
        self.connection = connection
        self.errors = errors
        self.warm = False

    def send(self, message: Any, streams: tuple[int, ...] = ()) -> None:
        body = marshal.dumps(message, _FORMAT)
        data = len(body).to_bytes(_HEADER, "little") + body
        sent = socket.send_fds(self.connection, [data], streams)
        self.connection.sendall(data[sent:])

    def receive(self) -> Any:
        """Return its answer.

        Raises:
            EOFError: it has ended.
            OSError: it did not answer in time.
        """
        size = int.from_bytes(self._read(_HEADER), "little")
        return marshal.loads(self._read(size))  # noqa: S302 - it is the user's own program

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.connection.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def last_words(self) -> str:
        size = os.lseek(self.errors, 0, os.SEEK_END)
        text = os.pread(self.errors, 2000, max(0, size - 2000)).decode(errors="replace")
        return (text.strip().splitlines() or ["it ended at once"])[-1]

    def close(self) -> None:
        self.connection.close()
        os.close(self.errors)


class Interpreters:
    """All warm interpreters of this process.

    Attributes:
        pids: of their processes.
    """

    def __init__(
        self,
        base_env: dict[bytes, bytes],
        null: int,
        driver: int,
        poll: select.epoll,
        report: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self.pids: set[int] = set()
        self._base_env = base_env
        self._null = null
        self._driver = driver
        self._poll = poll
        self._report = report
        self._by_number: dict[int, _Interpreter] = {}
        self._by_connection: dict[int, _Interpreter] = {}

    def open(
        self,
        number: int,
        argv: list[bytes],
        extra: dict[bytes, bytes],
        wanted: tuple[Any, ...],
    ) -> None:
        """Start one; whether it is warm, or why not, is reported later.

        Args:
            number: what the driver calls it.
            argv: the interpreter and its options.
            extra: variables that all its runs have.
            wanted: what it shall import.
        """
        ours, theirs = socket.socketpair()
        errors = os.memfd_create("multirun-warm-errors")
        output = os.memfd_create("multirun-warm-output")
        env = self._base_env | extra
        try:
            program = find(argv[0], env, b"/")
            # A regular file for each stream, so that Python sets them up as it does for a run.
            process = subprocess.Popen(
                [*argv, os.fsencode(_BEGIN), b"%d" % theirs.fileno()],
                executable=program,
                cwd="/",
                env=env,
                stdin=self._null,
                stdout=output,
                stderr=errors,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except (OSError, ValueError) as error:
            ours.close()
            os.close(errors)
            self._report(("warm", number, f"it cannot be started: {error}"))
            return
        finally:
            theirs.close()
            os.close(output)
        process.returncode = 0  # reaped by `Runs.reap`
        ours.settimeout(_PATIENCE)
        one = _Interpreter(number, process.pid, ours, errors)
        self.pids.add(one.pid)
        self._by_number[number] = self._by_connection[ours.fileno()] = one
        self._poll.register(ours.fileno(), select.EPOLLIN)
        try:
            one.send((program, *wanted))
        except OSError:
            self._lose(one)

    def notice(self, ready: set[int]) -> None:
        """Take note of what the interpreters say by themselves: that they are warm, or gone."""
        for one in [self._by_connection[fd] for fd in ready if fd in self._by_connection]:
            try:
                refusal = one.receive()
            except (OSError, EOFError, ValueError):
                self._lose(one)
                continue
            one.warm = refusal is None
            self._report(("warm", one.number, refusal))
            if refusal is not None:
                self._drop(one)

    def forget(self, pid: int) -> None:
        """Take note that a process was reaped."""
        self.pids.discard(pid)

    def fork(
        self,
        number: int,
        words: list[bytes],
        at: int,
        files: tuple[bytes, bytes, bytes],
        extra: dict[bytes, bytes],
        confined: Confined | None,
    ) -> int | None:
        """Have a run forked and return its pid; None where it must be started plainly.

        Args:
            number: of the interpreter.
            words: the command.
            at: where in it the script is, or "-m".
            files: its directory, and those for its standard output and standard error.
            extra: variables on top of those that all runs have.
            confined: what it may use; everything by default.

        Raises:
            StartError: an output stream cannot be opened, or the interpreter did not answer.
        """
        one = self._by_number.get(number)
        if one is None or not one.warm:
            return None
        out = open_output(files[1])
        try:
            err = open_output(files[2])
            try:
                mark = resource.getrlimit(resource.RLIMIT_MSGQUEUE)  # see `tags`
                limits = ((), None) if confined is None else confined.limits()
                one.send((words, at, files[0], extra, mark, *limits), (out, err))
                answer = self._answer(one)
            except (OSError, EOFError, ValueError) as error:
                # What it may have started bears the mark of the run, and ends with it.
                self._lose(one)
                if isinstance(error, EOFError):
                    text = "the warm interpreter ended while it started this run"
                else:
                    text = f"the warm interpreter did not start this run: {error}"
                raise StartError(errno.ETIMEDOUT, text) from None
            finally:
                os.close(err)
        finally:
            os.close(out)
        return answer if answer > 0 else None

    def _answer(self, one: _Interpreter) -> int:
        """Wait for the pid of a run, as long as there is a driver."""
        until = time.monotonic() + _PATIENCE
        poll = select.poll()
        for fd in (one.connection.fileno(), self._driver):
            poll.register(fd, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            ready = {fd for fd, _ in poll.poll(left * 1000)}
            if one.connection.fileno() in ready:
                return int(one.receive())
            if self._driver in ready:
                raise OSError(errno.ECONNRESET, "the driver is gone")
        raise OSError(errno.ETIMEDOUT, f"it did not answer within {_PATIENCE:g} seconds")

    def _lose(self, one: _Interpreter) -> None:
        """Give up one that has ended, or that does not answer."""
        what = "cold" if one.warm else "warm"
        self._report((what, one.number, one.last_words()))
        self._drop(one)

    def _drop(self, one: _Interpreter) -> None:
        if one.pid in self.pids:
            for process in tree.family([one.pid]).values():
                tree.signal_one(process, signal.SIGKILL)
        self._poll.unregister(one.connection.fileno())
        del self._by_number[one.number], self._by_connection[one.connection.fileno()]
        one.close()
