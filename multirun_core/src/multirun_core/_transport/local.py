"""`LocalTransport`: commands on this machine, as children of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

from multirun_core._transport.base import (
    BLOCK_BYTES,
    KEPT_STDERR_BYTES,
    Completed,
    Sink,
    Source,
    Transport,
)
from multirun_core._transport.child import Child
from multirun_core._waiting import together
from multirun_core.errors import TransportError, TransportTimeoutError


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
        try:
            child = Child(argv, cwd, None if env is None else {**os.environ, **env})
        except OSError as error:
            raise TransportError(f"{argv[0]!r} cannot be started here: {error}") from error
        try:
            async with asyncio.timeout(timeout):
                return await _converse(child, stdin, stdout)
        except TimeoutError:
            raise TransportTimeoutError(
                f"{argv[0]!r} took longer than {timeout:g} s on {self.name}"
            ) from None
        finally:
            await child.end()

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


async def _converse(child: Child, stdin: Source, stdout: Sink | None) -> Completed:
    """Feed a process and hear it; what the source or the sink raises ends that and is raised."""
    printed, complained = bytearray(), bytearray()

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

    async def watch() -> int:
        code = await child.wait()
        feeding.cancel()  # a source may have nothing to give for long
        return code

    pipe, output, complaints = await child.streams()
    feeding, watching = asyncio.ensure_future(_feed(pipe, stdin)), asyncio.ensure_future(watch())
    await together(feeding, watching, hear_stdout(output), hear_stderr(complaints))
    return Completed(watching.result(), bytes(printed), bytes(complained))


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
