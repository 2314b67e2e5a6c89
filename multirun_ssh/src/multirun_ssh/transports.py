"""The way to one host over SSH, for runners of other distributions.

from multirun_ssh.transports import way_to

transport = way_to("me@login.example.org")()
done = await transport.run(["uname", "-a"], timeout=60)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from multirun_core.backends import Transport
from multirun_core.errors import RunnerOptionError

from multirun_ssh.hosts import find_hosts
from multirun_ssh.options import Connecting


def way_to(
    host: str,
    *,
    transport: Literal["asyncssh", "openssh"] = "asyncssh",
    ssh_config: Path | None = None,
    known_hosts: Path | Literal["default"] | None = "default",
    connect_timeout: float = 30.0,
    silence_timeout: float = 15.0,
    sessions: int = 4,
) -> Callable[[], Transport]:
    """Return what makes the way to a host; nothing is connected before that is used.

    Its `run` connects where it has to, also after a connection was lost. It is for one event loop.
    A `TransportError` that
    is `permanent` says that trying again is of no use: the host does not let us in.

    Args:
        host: such as "cluster", a name of `~/.ssh/config`, or "me@login.example.org:2222".
        transport: "asyncssh", or "openssh" for the system's ssh, which can ask for one-time codes.
        ssh_config: the configuration to read in place of ~/.ssh/config.
        known_hosts: the file of host keys to trust in place of those that ssh trusts; none trusts
            whoever answers, and warns.
        connect_timeout: seconds that connecting and logging in may take.
        silence_timeout: seconds without a word after which the connection is taken for lost.
        sessions: how many commands at once the connection is used for.

    Raises:
        RunnerOptionError: that is no host, or an option makes no sense.
    """
    found = find_hosts(host)
    if len(found) != 1:
        raise RunnerOptionError(f"{host!r} stands for {len(found)} hosts; one is wanted")
    connecting = Connecting(
        transport=transport,
        ssh_config=ssh_config,
        known_hosts=known_hosts,
        connect_timeout=connect_timeout,
        silence_timeout=silence_timeout,
        sessions=sessions,
    )

    def connect() -> Transport:
        from multirun_ssh.transport import open_pool

        (one,) = open_pool(found, connecting).values()
        return one

    return connect
