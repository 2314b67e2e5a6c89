"""`LocalTransport`: commands on this machine, as children of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from multirun_core._transport.base import (
    BLOCK_BYTES,
    KEPT_STDERR_BYTES,
    Completed,
    Sink,
    Source,
    Transport,
)
from multirun_core.errors import TransportError, TransportTimeoutError

_END_SECONDS = 5.0


class LocalTransport(Transport):
    """Runs commands on this machine; for tools of this machine that know about others."""

    name: ClassVar[str] = "this machine"  # type: ignore[misc]

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - the far side has to be told, too
    ) -> Completed:
        """Run a command; see `Transport.run`. What leaves its session is not ended with it."""
        loop = asyncio.get_running_loop()
        starting = asyncio.ensure_future(
            loop.subprocess_exec(
                partial(SubprocessStreamProtocol, limit=BLOCK_BYTES, loop=loop),
                *argv,
                cwd=cwd,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
            )
        )
        try:
            # Cancelled half-way, asyncio would wait for whoever has inherited the pipes.
            transport, protocol = await asyncio.shield(starting)
        except asyncio.CancelledError:
            while not starting.done():  # cancelled once more, it would leave what it has started
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([starting])
            if starting.exception() is None:
                transport, protocol = starting.result()
                try:
                    await _end(Process(transport, protocol, loop))
                finally:
                    transport.close()
            raise
        except OSError as error:
            raise TransportError(f"{argv[0]!r} cannot be started here: {error}") from error
        process = Process(transport, protocol, loop)
        try:
            async with asyncio.timeout(timeout):
                return await _converse(process, stdin, stdout)
        except TimeoutError:
            raise TransportTimeoutError(
                f"{argv[0]!r} took longer than {timeout:g} s on {self.name}"
            ) from None
        finally:
            try:
                if process.returncode is None:
                    await _end(process)
            finally:
                # What left the session may hold the pipes, and would keep them open here.
                transport.close()
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


async def _converse(process: Process, stdin: Source, stdout: Sink | None) -> Completed:
    """Feed a process and hear it; what fails on one side ends the others."""
    printed, complained = bytearray(), bytearray()
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError("pipes are made unless something else is asked for")

    async def hear_stdout(stream: asyncio.StreamReader) -> None:
        while block := await stream.read(BLOCK_BYTES):
            if stdout is None:
                printed.extend(block)
            else:
                await stdout(block)

    async def hear_stderr(stream: asyncio.StreamReader) -> None:
        while block := await stream.read(BLOCK_BYTES):
            complained.extend(block)
            del complained[:-KEPT_STDERR_BYTES]

    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(process.stdin, stdin))
            group.create_task(hear_stdout(process.stdout))
            group.create_task(hear_stderr(process.stderr))
            code = await process.wait()
            feeding.cancel()  # a source may have nothing to give for long
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # what the source or the sink raised
    return Completed(code, bytes(printed), bytes(complained))


async def _feed(pipe: asyncio.StreamWriter, stdin: Source) -> None:
    """Write all of the input; a command need not read it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if isinstance(stdin, bytes):
            pipe.write(stdin)
            await pipe.drain()
        else:
            async for block in stdin:
                pipe.write(block)
                await pipe.drain()
    pipe.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await pipe.wait_closed()


async def _end(process: Process) -> None:
    """End a process with its session, and reap it, also where that is cancelled meanwhile.

    In no task of its own: a loop that ends cancels all tasks, and one that had not begun would
    leave the process alive.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = asyncio.get_running_loop().time() + _END_SECONDS
    cancelled: asyncio.CancelledError | None = None
    with contextlib.suppress(TimeoutError):
        while process.returncode is None:
            try:
                async with asyncio.timeout_at(deadline):
                    await process.wait()
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
