"""What tests of transports share: pools of hosts of the bed, and waiting for things there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from multirun_ssh.hosts import find_hosts
from multirun_ssh.options import Connecting
from multirun_ssh.transport import open_pool
from ssh_bed import SSHBed
from ssh_host import Host

PATIENCE = 30.0
NASTY = [
    "a b",
    "it's",
    '"quoted"',
    "$HOME `id` $(id)",
    "semi; colon & more | less > out < in",
    "* ? [a-z] {a,b} ~",
    "back\\slash \\n \\0101 \\",
    "two\nlines\n",
    "tab\tand\rreturn",
    "bang!bang !! !$",
    "ümlaut ☃ 火",
    "no\udcffutf8",
    "-n",
    "%s %d %%",
    "#hash",
    "=",
]


class pool_of:  # noqa: N801 - it reads as a verb
    """An async context: transports of hosts, closed at the end."""

    def __init__(self, hosts: list[str], connecting: Connecting) -> None:
        self.hosts = find_hosts(hosts)
        self.connecting = connecting

    async def __aenter__(self) -> list[Any]:
        self.pool = open_pool(self.hosts, self.connecting)
        return list(self.pool.values())

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(one.close() for one in self.pool.values()))


class Pool:
    """Makes pools of hosts of a bed, with its configuration."""

    def __init__(self, bed: SSHBed, **options: Any) -> None:
        self.bed = bed
        self.options = options

    def __call__(self, *hosts: str, **options: Any) -> pool_of:
        given = {"ssh_config": self.bed.ssh_config, **self.options, **options}
        return pool_of(list(hosts), Connecting(**given))

    def login(self, user: str, host: str) -> str:
        """Return how a host is written for a login as this user, where the bed has one."""
        return f"{user}@{host}" if self.bed.namespaces else host


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def gone(host: Host, text: str) -> None:
    await until(lambda: not host.processes(f"sleep {text}"))
