"""What pages need: a real cluster, for those about Slurm, and real hosts, for those about SSH."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from login_node import *  # noqa: F403
from slurm_fixtures import *  # noqa: F403
from ssh_bed import SSHBed


@pytest.fixture(scope="session")
def bed() -> Iterator[SSHBed]:
    """A bed with node1 to node4."""
    with SSHBed() as made:
        for name in ("node1", "node2", "node3", "node4"):
            made.add(name)
        yield made
