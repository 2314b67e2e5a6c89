"""Ports for the servers of the tests, so that several test runs on one machine never share one."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 20  # ports
LOWEST, HIGHEST = 20_000, 32_000


class NoPortsError(Exception):
    """No block of ports is free."""


@dataclass
class PortBlock:
    """Consecutive ports that nobody else who asks here is given while `claim` is open.

    Attributes:
        first: the lowest of them.
        claim: a socket with a name of its own in the abstract namespace (unix(7)): bound once,
            in this network namespace, and free again when the last process that holds it has ended.
    """

    first: int
    claim: socket.socket = field(repr=False)

    def __getitem__(self, number: int) -> int:
        if not 0 <= number < BLOCK:
            raise IndexError(number)
        return self.first + number

    def close(self) -> None:
        """Let go of them."""
        self.claim.close()


def claim_ports() -> PortBlock:
    """Return ports that nobody listens at.

    They lie below those that the kernel hands out to clients, so that none is taken by chance.
    """
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    blocks = list(range(LOWEST, min(HIGHEST, ephemeral) - BLOCK, BLOCK))
    random.shuffle(blocks)
    for first in blocks:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0multirun-testbed-ports-{first}")
        except OSError:
            claim.close()
            continue
        if all(_free(port) for port in range(first, first + BLOCK)):
            return PortBlock(first, claim)
        claim.close()
    raise NoPortsError(f"no {BLOCK} free ports between {LOWEST} and {HIGHEST}")


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
