"""What the tests over SSH share: one bed of real hosts for all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_bed import SSHBed
from ssh_host import PATIENCE, Host

FOUR = ("node1", "node2", "node3", "node4")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what talks to real servers more time, their start and their faults included."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(autouse=True)
def outside_of_any_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MULTIRUN_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def bed() -> Iterator[SSHBed]:
    """A bed with node1 to node4; a test that adds hosts removes them."""
    with SSHBed() as made:
        for name in FOUR:
            made.add(name)
        yield made


@pytest.fixture(autouse=True)
def namespaces(request: pytest.FixtureRequest) -> None:
    """Leave out tests marked `namespaces` where hosts have none, as in loopback mode."""
    if request.node.get_closest_marker("namespaces") is None:
        return
    if not request.getfixturevalue("bed").namespaces:
        pytest.skip(
            "its hosts need links, users or disks of their own, and so root with CAP_NET_ADMIN; "
            "the bed is in loopback mode"
        )


@pytest.fixture
def hosts(bed: SSHBed) -> Iterator[list[Host]]:
    """The four hosts; whatever a test does to them is put right afterwards."""
    four = [bed.hosts[name] for name in FOUR]
    yield four
    for host in four:
        if not host.up:
            host.boot()
        elif host.touched:
            host.restore()
            host.restart_sshd(drop=True)


@pytest.fixture
def host(hosts: list[Host]) -> Host:
    """One of them."""
    return hosts[0]


@pytest.fixture(params=["asyncssh", "openssh"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Either way to log in; the logins of drivers that were killed are ended afterwards."""
    runtime = Path(tempfile.mkdtemp(prefix="mr-", dir="/tmp"))  # sockets need short paths
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    yield request.param
    for socket in (runtime / "multirun-ssh").glob("*"):
        words = ["ssh", "-S", str(socket), "-O", "exit", "any"]
        subprocess.run(words, check=False, capture_output=True, timeout=PATIENCE)
    shutil.rmtree(runtime)
