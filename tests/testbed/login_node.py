"""A login node of a cluster: a real sshd that reaches it, and a home that nobody else looks at.

It listens on the loopback device, as the cluster does, and has nothing of the driver's environment
but what an administrator would set there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from slurm_cluster import SlurmCluster
from ssh_bed import SSHBed
from ssh_host import Host

__all__ = ["LoginNode", "login_node", "login_nodes"]


class LoginNode:
    """One such node; a context manager.

    Attributes:
        bed: its bed.
        host: the node.
        options: what a runner is told to use it.
        home: the home directory there.
    """

    def __init__(self) -> None:
        self.bed = SSHBed(namespaces=False)
        self.home = self.bed.root / "homes-login" / "root"
        self.options: dict[str, Any] = {
            "login": "cluster",
            "ssh_config": str(self.bed.ssh_config),
            "known_hosts": str(self.bed.known_hosts),
            "connect_timeout": 20.0,
        }
        self.host: Host | None = None
        self._conf: Path | None = None

    def reach(self, cluster: SlurmCluster) -> None:
        """Be a login node of this cluster."""
        directive = f"SetEnv HOME={self.home} SLURM_CONF={cluster.conf}"
        if self.host is None:
            self.host = self.bed.add("cluster", directive, home="login")
        elif self._conf != cluster.conf or self.host.touched:
            self.host.restart_sshd(directive)
            self.host.touched = False
        self._conf = cluster.conf

    def stop(self) -> None:
        """Break all connections, and refuse new ones."""
        assert self.host is not None
        self.host.stop_sshd(drop=True)

    def start(self) -> None:
        """Take connections again."""
        assert self.host is not None
        self.host.restart_sshd(*self.host.extra)

    def fall_silent(self) -> None:
        """Answer nothing any more, on connections that there are and on new ones."""
        assert self.host is not None
        self.host.fall_silent()

    def speak(self) -> None:
        """Answer again."""
        assert self.host is not None
        self.host.speak()

    def sweeps(self) -> list[Path]:
        """Return the directories of sweeps that are there."""
        cache = self.home / ".cache" / "multirun"
        return sorted(cache.iterdir()) if cache.exists() else []

    def __enter__(self) -> LoginNode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bed.close()


@pytest.fixture(scope="session")
def login_nodes() -> Iterator[LoginNode]:
    with LoginNode() as node:
        yield node


@pytest.fixture
def login_node(
    login_nodes: LoginNode, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> LoginNode:
    """Return a login node of the cluster without accounting, which this process does not reach."""
    for name in ("SLURM_CONF", "SQUEUE_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    for left in login_nodes.sweeps():  # by tests that kill their drivers
        shutil.rmtree(left)
    login_nodes.reach(slurm)
    return login_nodes
