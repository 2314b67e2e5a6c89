"""How asyncssh connects: configuration, jump hosts, host keys, and trying again."""

from __future__ import annotations

import asyncio
import random
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.config import ConfigParseError
from multirun_core._threads import heard
from multirun_core.errors import RunnerOptionError, TransportError

from multirun_ssh.errors import LoginRefusedError
from multirun_ssh.hosts import Host, parse_host
from multirun_ssh.options import Connecting
from multirun_ssh.sealing import install
from multirun_ssh.trust import GLOBAL, USUAL, Client, KnownHosts, refusal

Connection = asyncssh.SSHClientConnection

AT_ONCE = 8
"""Connections that are being made: sshd drops some from the tenth on that has not logged in."""
FAST = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Ciphers that come first: twice as fast as the usual one where the processor knows AES."""
_SEALED = re.compile(r"-gcm@|^chacha20-poly1305@")
"""Ciphers that authenticate what they encrypt."""
_IGNORE = 2  # RFC 4253, section 12
CLOSE_SECONDS = 3.0
# sshd closes connections without a word when too many log in, and while it restarts.
_PASSING = (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)


class Connector:
    """Makes the connections of a pool of hosts; they share their jump hosts.

    Used in one event loop.
    """

    def __init__(self, connecting: Connecting) -> None:
        """Make a connector; nothing is connected yet.

        Args:
            connecting: how.
        """
        install()
        self.connecting = connecting
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._known = KnownHosts()
        self._users = 0
        self._jumps: dict[str, asyncio.Task[Connection]] = {}

    async def connect(self, host: Host) -> Connection:
        """Connect and log in; bounded by `connect_timeout`, further attempts included.

        Raises:
            LoginRefusedError: trying again does not help.
            TransportError: it cannot be reached now.
        """
        seconds, pause, last = self.connecting.connect_timeout, 0.1, ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await self._attempt(host)
                    except _PASSING as error:
                        last = f"; {told(error)}"
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                    pause = min(2 * pause, 3.0)
        except TimeoutError:
            raise TransportError(
                f"{host} did not let us in within {seconds:g} s (connect_timeout){last}"
            ) from None

    def join(self) -> None:
        """Count one more transport that connects by this."""
        self._users += 1

    async def leave(self) -> None:
        """Count one less; the last one has the connections to jump hosts closed. Bounded."""
        self._users -= 1
        if self._users:
            return
        tasks, self._jumps = list(self._jumps.values()), {}
        for task in tasks:
            task.cancel()
            if task.done() and not task.cancelled() and task.exception() is None:
                await close(task.result())

    # How.

    async def _attempt(
        self, host: Host, chain: tuple[str, ...] = (), tunnel: Connection | None = None
    ) -> Connection:
        """Connect and log in once; `chain` names the jump hosts that are being connected for."""
        asked = self._asked(host)
        try:
            options = await read_options(asked)
        except (ConfigParseError, asyncssh.Error, OSError, ValueError) as error:
            raise LoginRefusedError(f"ssh's configuration for {host}: {told(error)}") from error
        jumps = options.tunnel
        if tunnel is None and isinstance(jumps, str) and jumps != host.name:
            tunnel = await self._tunnel(jumps, chain)
        if tunnel is not None:
            asked["tunnel"] = tunnel
        if not options.config.get("Ciphers"):
            asked["encryption_algs"] = FAST
        files = self._files(options)
        known = self._known.of(files)
        client = Client()
        try:
            async with self._gate:
                connection = await asyncssh.connect(
                    **asked,
                    client_factory=lambda: client,
                    known_hosts=None if self.connecting.known_hosts is None else known,
                    keepalive_interval=self.connecting.silence_timeout / 3.5,
                    keepalive_count_max=2,  # the third in vain is the end
                    connect_timeout=None,
                    login_timeout=self.connecting.connect_timeout,
                )
        except _PASSING:
            raise
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            where = (options.host_key_alias or options.host, options.port)
            has = any(known.match(where[0], "", where[1] if where[1] != 22 else None)[:2])
            if client.refused is None and not (has and "host key" in str(error).lower()):
                raise LoginRefusedError(f"{host}: {told(error)}") from error
            login = login_command(host, self.connecting)
            raise refusal(
                host, where, client.refused, known=has, files=files, login=login, why=told(error)
            ) from error
        except (asyncssh.Error, OSError, ValueError) as error:
            raise explained(error, host, options.port) from error
        send_no_padding(connection)
        return connection

    def _asked(self, host: Host) -> dict[str, Any]:
        """Return what asyncssh is told about a host; all else is the configuration's matter."""
        config = [str(path) for path in self.connecting.config_files]
        asked: dict[str, Any] = {"host": host.name, "config": config}
        if host.user:
            asked["username"] = host.user
        if host.port:
            asked["port"] = host.port
        return asked

    def _files(self, options: Any) -> Sequence[Path]:
        """Return the files of known hosts: the one that was given, or those that ssh would read."""
        given = self.connecting.known_hosts
        if given is None:
            return []
        if given != "default":
            return [Path(given).expanduser()]
        files: list[Path] = []
        for key, usual in (("UserKnownHostsFile", USUAL), ("GlobalKnownHostsFile", GLOBAL)):
            named: Any = options.config.get(key)
            # "none" reads as an empty list: no file, which is not the same as no verification.
            files += usual if named is None else [Path(one) for one in named]
        return [file.expanduser() for file in files]

    async def _tunnel(self, jumps: str, chain: tuple[str, ...]) -> Connection:
        """Return the connection to the last of the jump hosts, made once for the whole pool."""
        if jumps in chain:
            raise LoginRefusedError(f"the jump hosts {jumps} are reached by themselves (ProxyJump)")
        task = self._jumps.get(jumps)
        if task is not None and task.done():
            failed = task.cancelled() or task.exception() is not None
            task = None if failed or task.result().is_closed() else task
        if task is None:
            task = self._jumps[jumps] = asyncio.create_task(self._jump(jumps, (*chain, jumps)))
            task.add_done_callback(heard)
        return await asyncio.shield(task)

    async def _jump(self, jumps: str, chain: tuple[str, ...]) -> Connection:
        before, _, last = jumps.rpartition(",")
        url = last.strip() if "://" in last else f"ssh://{last.strip()}"
        try:
            (host,) = parse_host(url)
        except (RunnerOptionError, ValueError) as error:
            raise LoginRefusedError(f"the jump host {last!r} (ProxyJump): {error}") from None
        seconds = self.connecting.connect_timeout
        try:
            async with asyncio.timeout(seconds):
                tunnel = await self._tunnel(before, chain) if before else None
                return await self._attempt(host, chain, tunnel)
        except TimeoutError:
            raise TransportError(f"the jump host {host} did not answer in {seconds:g} s") from None


def send_no_padding(connection: Any) -> None:
    """Have a connection send only packets that say something.

    asyncssh sends an empty one ahead of each, which is to be ignored (RFC 4251, section 9.3.1).
    That protects CBC, where the last block sent is the next vector; ciphers that authenticate gain
    nothing by it, and large inputs take more time.
    """
    if not _SEALED.search(str(connection.get_extra_info("send_cipher"))):
        return
    send = connection.send_packet

    def send_packet(kind: int, *args: bytes, handler: Any = None) -> None:
        if kind != _IGNORE:
            send(kind, *args, handler=handler)

    connection.send_packet = send_packet


async def read_options(asked: Mapping[str, Any]) -> Any:
    """Return what the configuration says about a host."""
    return await asyncssh.SSHClientConnectionOptions.construct(**asked)  # pyright: ignore


def explained(error: Exception, host: Host, port: int) -> TransportError:
    """Return what people are told about a connection that could not be made."""
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginRefusedError(
            f"{host} refuses the login: {told(error)}\n"
            "  Load a key that it accepts with ssh-add, or name it in ssh_config as IdentityFile; "
            "for passwords,\n  one-time codes and Kerberos use transport=openssh"
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return TransportError(f"{host} cannot be reached from its jump host: {told(error)}")
    if isinstance(error, asyncssh.Error | ValueError):
        return LoginRefusedError(f"{host}: {told(error)}")
    if isinstance(error, socket.gaierror):
        return TransportError(f"{host}: no such name is known to this machine ({told(error)})")
    if isinstance(error, ConnectionRefusedError):
        return TransportError(f"{host} refuses connections: no sshd listens at its port {port}")
    return TransportError(f"{host} cannot be reached: {told(error)}")


def told(error: BaseException) -> str:
    """Return an error as one line that is never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def login_command(host: Host, connecting: Connecting) -> str:
    """Return what a person would type to log in."""
    words = ["ssh"]
    if connecting.ssh_config is not None:
        words += ["-F", str(connecting.ssh_config)]
    if connecting.known_hosts not in (None, "default"):
        words += ["-o", f"UserKnownHostsFile={connecting.known_hosts}"]
    if host.port:
        words += ["-p", str(host.port)]
    return shlex.join([*words, f"{host.user}@{host.name}" if host.user else host.name])


async def close(connection: Connection) -> None:
    """Close a connection; bounded."""
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
