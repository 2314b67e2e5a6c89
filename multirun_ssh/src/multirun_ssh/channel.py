"""One command on one channel of a connection, with its streams."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from typing import Any

import asyncssh
from multirun_core._transport.base import BLOCK_BYTES, KEPT_STDERR_BYTES, Sink, Source
from multirun_core._waiting import together

from multirun_ssh.remote import Mark

_MOST_WAITING = 8 * BLOCK_BYTES  # bytes of output that the sink has not taken yet


class Session(asyncssh.SSHClientSession[bytes]):
    """The near end of a command that runs over there.

    asyncssh's own streams take half the speed away, and say nothing when a connection is lost.

    Attributes:
        code: the exit status, negative for a signal; None until it has come.
        stderr: the last 64 KiB of standard error.
    """

    def __init__(self, mark: Mark) -> None:
        """Make it ready for a channel."""
        self.mark = mark
        self.code: int | None = None
        self.stderr = bytearray()
        self._channel: Any = None
        self._blocks: deque[bytes] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._begun = asyncio.Event()
        self._whole = False
        self._over = False

    @classmethod
    async def open(cls, connection: Any, mark: Mark, command: str) -> Session:
        """Have the login shell execute a command.

        Raises:
            asyncssh.Error: no channel was opened; `ChannelOpenError` says why.
        """
        opened = await connection.create_session(
            lambda: cls(mark), command, encoding=None, request_pty=False
        )
        session: Session = opened[1]
        return session

    @property
    def whole(self) -> bool:
        """Whether all output has come, as far as the far side said so."""
        return self._whole

    # What the channel tells.

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Take the channel."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take output."""
        if datatype is not None:
            self.stderr += data
            del self.stderr[:-KEPT_STDERR_BYTES]
            return
        block = self.mark.strip(data)
        if self.mark.pid is not None:
            self._begun.set()
        if block:
            self._blocks.append(block)
            self._waiting += len(block)
            self._news.set()
            if self._waiting > _MOST_WAITING and self._channel is not None:
                self._channel.pause_reading()

    def eof_received(self) -> bool:
        """Take the end of the output; keep the other direction open."""
        self._whole = True
        return True

    def exit_status_received(self, status: int) -> None:
        """Take the exit status."""
        self.code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Take the name of the signal that ended the command."""
        self.code = _signal_code(signal)

    def pause_writing(self) -> None:
        """Have the feeding wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Have the feeding go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the channel, with or without the connection."""
        self._over = True
        self._begun.set()
        self._news.set()
        self._writable.set()

    # What the transport does.

    async def started(self) -> int | None:
        """Wait until the command has started and return its pid; None where it never will."""
        await self._begun.wait()
        return self.mark.pid

    def close(self) -> None:
        """Let go of the channel."""
        if self._channel is not None:
            self._channel.close()

    def abort(self) -> None:
        """Let go of the channel at once, whatever is still to be sent."""
        if self._channel is not None:
            self._channel.abort()

    async def converse(self, stdin: Source, stdout: Sink) -> None:
        """Feed the command and hand its output over until the channel is closed.

        What the source or the sink raises ends it and is raised.
        """

        async def hear() -> None:
            await self._hear(stdout)
            feeding.cancel()  # a command need not read all of its input

        feeding = asyncio.ensure_future(self._feed(stdin))
        await together(feeding, hear())

    async def _hear(self, stdout: Sink) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._blocks:
                block = self._take()
                await stdout(block)
            if self._over and not self._blocks:
                return

    def _take(self) -> bytes:
        """Take what waits, in one piece of about a block."""
        pieces: list[bytes] = []
        size = 0
        while self._blocks and size < BLOCK_BYTES:
            pieces.append(self._blocks.popleft())
            size += len(pieces[-1])
        before, self._waiting = self._waiting, self._waiting - size
        if before > _MOST_WAITING >= self._waiting and self._channel is not None and not self._over:
            self._channel.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _feed(self, stdin: Source) -> None:
        channel = self._channel
        try:
            if isinstance(stdin, bytes):
                for start in range(0, len(stdin), BLOCK_BYTES):
                    await self._writable.wait()
                    channel.write(stdin[start : start + BLOCK_BYTES])
            else:
                async for block in stdin:
                    # In parts that the processor's cache can hold while they are cut into packets.
                    parts = memoryview(block)
                    for start in range(0, len(block), BLOCK_BYTES):
                        await self._writable.wait()
                        channel.write(parts[start : start + BLOCK_BYTES])
            channel.write_eof()
        except BrokenPipeError:
            return  # the command has ended


def _signal_code(name: str) -> int:
    try:
        return -signal.Signals[f"SIG{name.partition('@')[0]}"]
    except KeyError:
        return -signal.SIGKILL
