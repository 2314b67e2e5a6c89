"""A warm interpreter beside the launcher: asked for runs through a socket that both share.

It forks a process for each request, which becomes the launcher's own child, as if that had started
it, and answers with its pid when it is in place.
"""

from __future__ import annotations

import _socket
import marshal
import os
import resource
import sys

from . import sibling
from .forking import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADER = 4
_FORMAT = 2  # of marshal: the launcher may be of another version of Python


class Connection:
    """What the launcher asks for runs by."""

    def __init__(self, number: int) -> None:
        """Take the number of the socket."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, number)
        os.set_inheritable(number, False)
        self._launcher = os.getppid()

    def first(self) -> Any:
        """Return the program of this interpreter, and what to import; end where nobody is left."""
        first, _ = self._receive()
        if first is None:
            os._exit(0)
        return first

    def say(self, refusal: str | None) -> None:
        """Say that runs may be asked for, or why not."""
        self._send(refusal)
        if refusal is not None:
            os._exit(0)
        sibling.prepare()

    def serve(self) -> tuple[Run, list[int]]:
        """Fork a process for each request; return in the new process, with its request."""
        own = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
        while True:
            request, streams = self._receive()
            if request is None:
                os._exit(0)
            run = Run(*request)
            try:
                if run.mark is not None:  # from its first moment it is known whose process it is
                    resource.setrlimit(resource.RLIMIT_MSGQUEUE, run.mark)
                child = sibling.fork()
            except (OSError, ValueError) as error:
                self._send(_failure(error))
            else:
                if child == 0:
                    self._settle(run)
                    return run, streams
            resource.setrlimit(resource.RLIMIT_MSGQUEUE, own)
            for stream in streams:
                os.close(stream)

    def _settle(self, run: Run) -> None:
        """Be where the run is to be, and say so; where that cannot be, end."""
        try:
            os.setpgid(0, 0)
            if run.cpus:
                os.sched_setaffinity(0, run.cpus)
            os.chdir(run.cwd)
            if run.data is not None:
                resource.setrlimit(resource.RLIMIT_DATA, run.data)
            # A child of anybody else would never be reaped.
            answer = os.getpid() if os.getppid() == self._launcher else -1
        except BaseException as error:  # without an answer the launcher would wait
            answer = _failure(error)
        try:
            self._send(answer)
        except OSError:
            answer = 0  # nobody waits for it any more
        if answer <= 0:
            os._exit(1)
        self._socket.close()

    def _receive(self) -> tuple[Any, list[int]]:
        """Return a message and the descriptors that came with it; None where nobody is left."""
        data = b""
        descriptors: list[int] = []
        while len(data) < _HEADER or len(data) < _HEADER + int.from_bytes(data[:_HEADER], "little"):
            part, ancillary, _, _ = self._socket.recvmsg(1 << 16, _socket.CMSG_SPACE(8))
            if not part:
                return None, []
            data += part
            for _, _, numbers in ancillary:
                each = (numbers[at : at + 4] for at in range(0, len(numbers), 4))
                descriptors += [int.from_bytes(number, sys.byteorder) for number in each]
        return marshal.loads(data[_HEADER:]), descriptors  # noqa: S302 - the launcher's own

    def _send(self, message: Any) -> None:
        body = marshal.dumps(message, _FORMAT)
        self._socket.sendall(len(body).to_bytes(_HEADER, "little") + body)


def _failure(error: BaseException) -> int:
    return -(getattr(error, "errno", None) or 1)
