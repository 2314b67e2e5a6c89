"""The driver's end of the connection to the launcher, in its event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from multirun_core._runners.launcher.wire import PORTION, Inbox, pack

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Connection:
    """Sends and receives messages; what is sent in one step of the loop goes out together."""

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[tuple[Any, ...]], None],
        ended: Callable[[], None],
    ) -> None:
        """Begin to receive.

        Args:
            sock: a connected socket that does not block; closed by `close`.
            received: is told of each message.
            ended: is told when the other end is closed.
        """
        self._socket = sock
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._messages: list[tuple[Any, ...]] = []
        self._outgoing = bytearray()
        self._closed = False
        self._loop.add_reader(sock, self._receive)

    def send(self, *message: Any) -> None:
        """Send a message soon; once it is closed, do nothing."""
        if self._closed:
            return
        if not self._messages:
            self._loop.call_soon(self._flush)
        self._messages.append(message)

    def close(self) -> None:
        """Let go of the socket; what is not sent yet is dropped."""
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()

    def _flush(self) -> None:
        if self._closed:
            return
        if self._messages:
            waiting = bool(self._outgoing)
            self._outgoing += pack(self._messages)
            self._messages.clear()
            if waiting:
                return
        try:
            del self._outgoing[: self._socket.send(self._outgoing)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return  # its end of file is on the way
        if self._outgoing:
            self._loop.add_writer(self._socket, self._drain)

    def _drain(self) -> None:
        self._loop.remove_writer(self._socket)
        self._flush()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(PORTION)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._ended()
            return
        for message in self._inbox.feed(data):
            self._received(message)
