"""`Child`: a process of this machine with its pipes, that is never half started.

asyncio's own subprocesses have a moment in which the process lives and nobody knows its pid: one
cancelled there waits for whoever has inherited the pipes, and leaves them alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from multirun_core._transport.base import BLOCK_BYTES

_END_SECONDS = 5.0
_LOOK_SECONDS = 0.02  # where the system does not tell of an end


class Child:
    """A process that leads a session of its own.

    Attributes:
        pid: of the process, and of its session.
    """

    def __init__(self, argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._pipes: list[asyncio.BaseTransport | asyncio.StreamWriter] = []

    async def streams(
        self,
    ) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]:
        """Return its standard input, output and error; to be asked for once."""
        process = self._process
        return (
            await self._write(process.stdin),
            await self._read(process.stdout),
            await self._read(process.stderr),
        )

    async def _write(self, file: IO[bytes] | None) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        pipe, _ = await loop.connect_write_pipe(lambda: protocol, file)
        writer = asyncio.StreamWriter(pipe, protocol, None, loop)
        self._pipes.append(writer)
        return writer

    async def _read(self, file: IO[bytes] | None) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=BLOCK_BYTES)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        self._pipes.append(pipe)
        return reader

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status, negative for a signal."""
        while (code := self._process.poll()) is None:
            try:
                watch = os.pidfd_open(self.pid)  # Linux 5.3 or later
            except (AttributeError, OSError):
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            try:
                loop.add_reader(watch, ended.set)
                await ended.wait()
            finally:
                loop.remove_reader(watch)
                os.close(watch)
        return code

    async def end(self) -> None:
        """End it with its session, and reap it, also where that is cancelled meanwhile; bounded.

        In no task of its own: a loop that ends cancels all tasks, and one that had not begun would
        leave the process alive. What left the session may hold the pipes; they are let go of.
        """
        cancelled: asyncio.CancelledError | None = None
        try:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            deadline = asyncio.get_running_loop().time() + _END_SECONDS
            with contextlib.suppress(TimeoutError):
                while self._process.poll() is None:
                    try:
                        async with asyncio.timeout_at(deadline):
                            await self.wait()
                    except asyncio.CancelledError as error:
                        cancelled = error
        finally:
            self._close()
        if cancelled is not None:
            raise cancelled
        await asyncio.sleep(0)  # pipes are closed by the loop

    def _close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        process = self._process
        taken = {pipe.get_extra_info("pipe") for pipe in self._pipes}
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None and file not in taken:
                file.close()
