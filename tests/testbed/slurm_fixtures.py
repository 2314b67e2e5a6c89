"""Fixtures for tests on a real cluster: `from slurm_fixtures import *` in a conftest.py.

A cluster is started when the first test of the session asks for it. What a test broke is healed
after that test, with a new cluster where that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from slurm_cluster import CGROUPS, ClusterOptions, SlurmCluster

__all__ = ["accounting_slurm", "cgroup_slurm", "clusters", "make_slurm", "slurm"]


class Clusters:
    """The clusters of the session, one for each variant."""

    def __init__(self) -> None:
        self._running: dict[ClusterOptions, SlurmCluster] = {}

    def get(self, options: ClusterOptions) -> SlurmCluster:
        if options not in self._running:
            cluster = SlurmCluster(options)
            cluster.start()
            self._running[options] = cluster
        return self._running[options]

    def drop(self, options: ClusterOptions) -> None:
        self._running.pop(options).stop()

    def stop(self) -> None:
        for options in list(self._running):
            self.drop(options)

    def lend(self, options: ClusterOptions) -> Iterator[SlurmCluster]:
        cluster = self.get(options)
        yield cluster
        try:
            cluster.heal()
        except BaseException:
            self.drop(options)
            raise


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    found = Clusters()
    yield found
    found.stop()


@pytest.fixture
def slurm(clusters: Clusters) -> Iterator[SlurmCluster]:
    """Yield four idle nodes without accounting."""
    yield from clusters.lend(ClusterOptions())


@pytest.fixture
def accounting_slurm(clusters: Clusters) -> Iterator[SlurmCluster]:
    """Yield four idle nodes with MariaDB and slurmdbd, so that sacct works."""
    yield from clusters.lend(ClusterOptions(accounting=True))


@pytest.fixture
def cgroup_slurm(clusters: Clusters) -> Iterator[SlurmCluster]:
    """Yield two idle nodes on which going over the memory becomes OUT_OF_MEMORY."""
    if not CGROUPS.is_dir():
        pytest.skip(f"this machine has no {CGROUPS}: version 1 of control groups, with memory")
    yield from clusters.lend(ClusterOptions(cgroups=True, nodes=2))


@pytest.fixture
def make_slurm() -> Iterator[Callable[[ClusterOptions], SlurmCluster]]:
    """Yield what starts a cluster of one's own, such as one with MaxJobCount=10, for one test."""
    started: list[SlurmCluster] = []

    def make(options: ClusterOptions) -> SlurmCluster:
        cluster = SlurmCluster(options)
        started.append(cluster)
        cluster.start()
        return cluster

    yield make
    for cluster in started:
        cluster.stop()
