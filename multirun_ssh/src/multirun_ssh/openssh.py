"""`OpenSSHTransport`: commands on a host by the system's ssh, over one login that is shared.

For logins that asyncssh cannot do: one-time codes, passwords, Kerberos, security keys. ssh itself
asks for what it needs, on the terminal, and its configuration is followed to the letter. One login
is a master process (ControlMaster in ssh_config(5)) which all commands go through.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Any

from multirun_core._staging.mirror_streams import ended
from multirun_core._transport.base import Completed, Sink, Source, Transport
from multirun_core._transport.local import LocalTransport
from multirun_core._transport.shell import shell_line
from multirun_core.errors import TransportError, TransportTimeoutError

from multirun_ssh.errors import NeverSentError
from multirun_ssh.hosts import Host
from multirun_ssh.login import Login, Shared
from multirun_ssh.options import Connecting
from multirun_ssh.remote import Mark, ending

_log = logging.getLogger("multirun.ssh")

_NO_MASTER = b"UNKNOWN port 65535"
"""What ssh says of the proxy command `false`, which it starts where no master takes a command."""
_NO_SESSION = (b"refused by peer", b"session request failed", b"open failed")
_PATIENCE = 60.0  # seconds that a session may be refused
_END_SECONDS = 10.0
_BEGIN_SECONDS = 3.0  # that a command which is to be ended may take to tell that it has begun


class OpenSSHTransport(Transport):
    """Runs commands on a host by the system's ssh.

    A command that is ended by a signal there has the exit status that a shell gives it: 128 and
    the number of the signal.

    Attributes:
        name: the host, for people.
    """

    def __init__(self, host: Host, connecting: Connecting, shared: Shared) -> None:
        """Make a transport, connected to nothing yet.

        Args:
            host: the host.
            connecting: how to connect to it.
            shared: what the logins of a pool share.
        """
        self.name = str(host)
        self.host = host
        self._login = Login(host, connecting, shared)
        self._local = LocalTransport()
        self._slots = asyncio.Semaphore(connecting.sessions)

    @property
    def connected_in(self) -> float | None:
        """Seconds that the last login took; None before there was one."""
        return self._login.seconds

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
        """Run a command; see `Transport.run`. The time to log in counts.

        Raises:
            LoginRefusedError: the host does not let us in, and trying again does not help.
            LoginNeedsPersonError: it asks for something, and there is no terminal, or nobody has
                answered there in time.
            TransportTimeoutError: time was up.
            TransportError: the host cannot be reached, or the connection was lost meanwhile.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit, self._slots:
                return await self._persist(argv[0], shell_line(argv, cwd, env), stdin, stdout)
        except TimeoutError:
            if not limit.expired():
                raise
            if self._login.asking is not None:
                raise self._login.asking from None
            raise TransportTimeoutError(
                f"{argv[0]!r} took longer than {timeout:g} s on {self.name}"
            ) from None

    async def close(self) -> None:
        """Let go of the login; bounded. One that a person made stays for ten minutes."""
        await self._login.close()

    # How.

    async def _persist(self, what: str, line: str, stdin: Source, stdout: Sink | None) -> Completed:
        """Send a command until it has been taken."""
        pause, patience, anew = 0.05, _PATIENCE, False
        while True:
            await self._login.ready()
            done = await self._send(what, line, stdin, stdout)
            if isinstance(done, Completed):
                return done
            if any(text in done for text in _NO_SESSION) and patience > 0:
                seconds = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                await asyncio.sleep(seconds)
                patience, pause = patience - seconds, min(2 * pause, 1.0)
            elif anew:
                said = done.decode(errors="replace").strip().partition("\n")[0]
                raise NeverSentError(f"{self.name} takes no command: {said}")
            else:
                anew = True
                self._login.forget()

    async def _send(
        self, what: str, line: str, stdin: Source, stdout: Sink | None
    ) -> Completed | bytes:
        """Send a command; return what ssh said where it was never sent."""
        mark, printed = Mark(), bytearray()
        streams = _Streams(mark, stdin, stdout or _into(printed))
        words = self._login.through(mark.command(line, tell_end=True))
        sending = asyncio.create_task(
            self._local.run(words, stdin=streams.source, stdout=streams.sink, timeout=None)
        )
        try:
            both: list[asyncio.Future[Any]] = [sending, streams.failed]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if streams.failed.done():
                streams.failed.result()
            done = sending.result()
        finally:
            if not streams.failed.cancel():
                streams.failed.exception()  # now somebody has heard it
            try:
                # First what runs there: the master holds the pipes of a client as long as it does.
                if not sending.done():
                    await self._end(mark, sending, streams.begun)
            finally:
                sending.cancel()
                await ended(sending)
        said, code = mark.end(done.stderr)
        if code is not None:
            return Completed(code, bytes(printed), said)
        if mark.pid is None and _NO_MASTER in done.stderr:
            return done.stderr
        if mark.pid is None and done.code != 255:
            raise self._login.no_shell(mark.before, done)
        raise TransportError(
            f"the connection to {self.name} was lost while {what!r} ran there; nobody knows how it "
            f"ended ({done.said})"
        )

    async def _end(
        self, mark: Mark, sending: asyncio.Task[Completed], begun: asyncio.Event
    ) -> None:
        """End what a command has started; as far as the connection allows, and bounded.

        Whatever cancels this meanwhile must not leave the command running, and is passed on.
        """
        task = asyncio.create_task(self._kill(mark, sending, begun))
        await ended(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.info("process %s on %s may still run: %s", mark.pid, self.name, error)

    async def _kill(
        self, mark: Mark, sending: asyncio.Task[Completed], begun: asyncio.Event
    ) -> None:
        beginning = asyncio.create_task(begun.wait())  # that it has begun may be on its way
        both: list[asyncio.Future[Any]] = [sending, beginning]
        await asyncio.wait(both, timeout=_BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        beginning.cancel()
        if mark.pid is not None:
            words = self._login.through(Mark().command(ending(mark.pid)))
            await self._local.run(words, timeout=_END_SECONDS)


class _Streams:
    """The streams of a command: without its mark, and what fails on this side.

    Attributes:
        source: what it is given, once it has begun: it may have to be sent once more.
        begun: set once it has.
        failed: raises what the source or the sink has raised.
    """

    def __init__(self, mark: Mark, stdin: Source, stdout: Sink) -> None:
        self.source: Source = stdin if isinstance(stdin, bytes) else self._given(stdin)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mark, self._stdout = mark, stdout
        self.begun = asyncio.Event()

    async def sink(self, block: bytes) -> None:
        """Hand over what is the command's own."""
        rest = self._mark.strip(block)
        if self._mark.pid is not None:
            self.begun.set()
        if not rest or self.failed.done():
            return
        try:
            await self._stdout(rest)
        except Exception as error:
            self._fail(error)

    async def _given(self, source: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        await self.begun.wait()
        try:
            async for block in source:
                yield block
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)


def _into(printed: bytearray) -> Sink:
    async def keep(block: bytes) -> None:
        printed.extend(block)

    return keep
