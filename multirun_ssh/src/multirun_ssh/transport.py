"""`SSHTransport`: commands on a host, over one connection that is made when it is needed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping, Sequence

import asyncssh
from multirun_core._staging.mirror_streams import ended
from multirun_core._threads import heard
from multirun_core._transport.base import Completed, Sink, Source, Transport
from multirun_core._transport.shell import shell_line
from multirun_core.errors import TransportError, TransportTimeoutError

from multirun_ssh.channel import Session
from multirun_ssh.connect import CLOSE_SECONDS, Connection, Connector, close, told
from multirun_ssh.errors import LoginRefusedError, NeverSentError
from multirun_ssh.hosts import Host
from multirun_ssh.login import Shared
from multirun_ssh.openssh import OpenSSHTransport
from multirun_ssh.options import Connecting
from multirun_ssh.remote import Mark, ending

_log = logging.getLogger("multirun.ssh")

_CONNECT_FAILED = 2  # RFC 4254, section 5.1
_PATIENCE = 60.0  # seconds that a session may be refused
_END_SECONDS = 10.0


def open_pool(hosts: Iterable[Host], connecting: Connecting) -> dict[Host, Transport]:
    """Return a transport for each host, connected to nothing yet.

    A transport connects when `run` is called first, and again when it is called after the
    connection was lost: callers need not do anything but call it again. All transports of a pool
    share their jump hosts, and a bound on how many connect at once. Used in one event loop.

    `Transport.run` raises, besides `TransportError` (trying again may help), `LoginRefusedError`
    (it will not) and `LoginNeedsPersonError` (wait, and try again; nothing has failed).
    """
    if connecting.known_hosts is None:
        _log.warning(
            "known_hosts=None: no host key is verified, so anybody on the way can read and change "
            "what is sent to the hosts"
        )
    if connecting.transport == "openssh":
        shared = Shared()
        return {host: OpenSSHTransport(host, connecting, shared) for host in hosts}
    connector = Connector(connecting)
    return {host: SSHTransport(host, connector) for host in hosts}


class SSHTransport(Transport):
    """Runs commands on a host by asyncssh.

    Attributes:
        name: the host, for people.
        connected_in: seconds that the last connection took to make; None before there was one.
        server: what the server says it is, such as "OpenSSH_9.2p1"; None before.
    """

    def __init__(self, host: Host, connector: Connector) -> None:
        """Make a transport, connected to nothing yet.

        Args:
            host: the host.
            connector: makes the connections; shared by the transports of a pool.
        """
        self.name = str(host)
        self.host = host
        self.connected_in: float | None = None
        self.server: str | None = None
        self._connector = connector
        self._connecting: asyncio.Task[Connection] | None = None
        self._slots = asyncio.Semaphore(connector.connecting.sessions)
        connector.join()

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
        """Run a command; see `Transport.run`.

        The time to connect counts. Ended early, the command's process group is ended by a second
        command: sshd passes signals on for some logins only.

        Raises:
            LoginRefusedError: the host does not let us in, and trying again does not help.
            TransportTimeoutError: time was up.
            TransportError: the host cannot be reached, or the connection was lost meanwhile.
        """
        printed = bytearray()

        async def keep(block: bytes) -> None:
            printed.extend(block)

        limit = asyncio.timeout(timeout)
        try:
            async with limit, self._slots:
                line = shell_line(argv, cwd, env)
                code, stderr = await self._carry_out(argv[0], line, stdin, stdout or keep)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TransportTimeoutError(
                f"{argv[0]!r} took longer than {timeout:g} s on {self.name}"
            ) from None
        return Completed(code, bytes(printed), stderr)

    async def close(self) -> None:
        """Close the connection; bounded. What runs there detached goes on."""
        task, self._connecting = self._connecting, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=CLOSE_SECONDS)
                if task.done() and not task.cancelled() and task.exception() is None:
                    await close(task.result())
        finally:
            await self._connector.leave()

    # How.

    async def _carry_out(
        self, what: str, line: str, stdin: Source, stdout: Sink
    ) -> tuple[int, bytes]:
        mark = Mark()
        command = mark.command(line)
        connection = await self._connection()
        try:
            session = await self._open(connection, mark, command)
        except NeverSentError:  # it had died while nobody used it
            connection = await self._connection()
            session = await self._open(connection, mark, command)
        try:
            await session.converse(stdin, stdout)
        except BaseException:
            await self._end(connection, session)
            raise
        finally:
            session.close()
        # Closed without an end of the output is whole too, unless it was the connection's end.
        if session.code is None or not (session.whole or not connection.is_closed()):
            raise TransportError(
                f"the connection to {self.name} was lost while {what!r} ran there; nobody knows "
                "how it ended"
            )
        if mark.pid is None:
            said = mark.before or session.stderr.decode(errors="replace").strip()
            raise LoginRefusedError(
                f"the login shell of {self.name} did not start sh; it ended with exit status "
                f"{session.code} and said: {said or 'nothing'}"
            )
        return session.code, bytes(session.stderr)

    async def _connection(self) -> Connection:
        """Return the connection; make it where there is none, once for all that wait for it."""
        task = self._connecting
        if task is not None and task.done():
            failed = task.cancelled() or task.exception() is not None
            task = None if failed or task.result().is_closed() else task
        if task is None:
            task = self._connecting = asyncio.create_task(self._connect())
            task.add_done_callback(heard)
        return await asyncio.shield(task)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        began = loop.time()
        connection = await self._connector.connect(self.host)
        self.connected_in = loop.time() - began
        version: object = connection.get_extra_info("server_version")
        self.server = str(version).removeprefix("SSH-2.0-") if version else None
        return connection

    async def _open(self, connection: Connection, mark: Mark, command: str) -> Session:
        """Open a channel with the command; wait where sshd allows no more at once.

        That is when it says "connect failed" (RFC 4254, section 5.1); asyncssh says it as well
        where the connection has died before there was a channel.
        """
        pause, patience = 0.05, _PATIENCE
        while True:
            opening = asyncio.create_task(Session.open(connection, mark, command))
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_abandon)
                raise
            except asyncssh.ChannelOpenError as error:
                if connection.is_closed() and error.code == _CONNECT_FAILED:
                    raise NeverSentError(f"the connection to {self.name} was lost") from error
                if error.code != _CONNECT_FAILED or patience <= 0:
                    raise TransportError(
                        f"{self.name} opens no session: {told(error)}; look at MaxSessions in its "
                        "sshd_config"
                    ) from error
            except (asyncssh.Error, OSError) as error:
                raise TransportError(
                    f"the connection to {self.name} was lost while a command was being started "
                    f"there ({told(error)}); nobody knows whether it was"
                ) from error
            seconds = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            await asyncio.sleep(seconds)
            patience -= seconds
            pause = min(2 * pause, 1.0)

    async def _end(self, connection: Connection, session: Session) -> None:
        """End what a command has started; as far as the connection allows, and bounded.

        Whatever cancels this meanwhile must not leave the command running, and is passed on.
        """
        await ended(asyncio.create_task(self._kill(connection, session)))

    async def _kill(self, connection: Connection, session: Session) -> None:
        mark = Mark()

        async def ignore(block: bytes) -> None: ...

        try:
            async with asyncio.timeout(_END_SECONDS):
                pid = await session.started()
                session.abort()
                if pid is None or connection.is_closed():
                    return
                ender = await self._open(connection, mark, mark.command(ending(pid)))
                try:
                    await ender.converse(b"", ignore)
                finally:
                    ender.close()
        except (TimeoutError, TransportError, OSError) as error:
            _log.info("%s on %s may still run: %s", session.mark.pid, self.name, told(error))
        finally:
            session.abort()


def _abandon(opening: asyncio.Task[Session]) -> None:
    """Close a channel that nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()
