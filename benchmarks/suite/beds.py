"""The test bed for the rows about hosts and clusters: real servers, started when first needed."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from suite.report import say
from suite.setup import ROOT

HOSTS = ("node1", "node2", "node3", "node4")
_TEST_BED = ROOT / "tests" / "testbed"
_CPUS = 4  # of a node; as many jobs at once as this machine can bear
_MOST_JOBS = 100_000  # those that have ended are counted too, for five minutes
_SLURM = ("slurmctld", "slurmd", "munged", "sbatch")


class Beds:
    """The servers of one measurement; a context manager that ends them.

    Args:
        place: where the hosts have their homes.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._hosts: Any = None
        self._cluster: Any = None

    def __enter__(self) -> Beds:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._hosts is not None:
                self._hosts.close()
        finally:
            if self._cluster is not None:
                self._cluster.stop()

    def ssh_config(self) -> Path:
        """Return the configuration in which four hosts have their names, `HOSTS`."""
        if self._hosts is None:
            say("starting four SSH hosts")
            before, tempfile.tempdir = tempfile.tempdir, str(self._place)
            try:
                self._place.chmod(0o711)  # the hosts' users pass through
                self._hosts = _module("ssh_bed").SSHBed()
            finally:
                tempfile.tempdir = before
            for name in HOSTS:
                self._hosts.add(name, "Subsystem sftp internal-sftp")
        config: Path = self._hosts.ssh_config
        return config

    def slurm(self) -> list[str]:
        """Return the beginning of a command that is to reach a cluster of four nodes.

        Nothing is left there of what was measured before.
        """
        if self._cluster is None:
            say("starting a Slurm cluster")
            cluster, files = _module("slurm_cluster"), _module("slurm_files")
            self._cluster = cluster.SlurmCluster(
                files.ClusterOptions(cpus=_CPUS, max_jobs=_MOST_JOBS)
            )
            self._cluster.start()
        self._cluster.cancel_all()
        self._cluster.wait_idle()
        env: dict[str, str] = self._cluster.env
        return ["/usr/bin/env", *(f"{name}={env[name]}" for name in ("SLURM_CONF", "PATH"))]


def lacks_hosts() -> str | None:
    """Return what has to be installed for the hosts; None where all is there."""
    found = shutil.which("ssh") and Path("/usr/sbin/sshd").exists()
    return _lacks_python() or (None if found else "openssh-server openssh-client (./dev test)")


def lacks_cluster() -> str | None:
    """Return what has to be installed for the cluster; None where all is there."""
    path = f"{_module('slurm_cluster').PATH}" if _lacks_python() is None else None
    missing = [name for name in _SLURM if shutil.which(name, path=path) is None]
    return _lacks_python() or (f"{' '.join(missing)} (./dev test)" if missing else None)


def _lacks_python() -> str | None:
    return None if importlib.util.find_spec("pytest") else "pytest, for the test bed (./dev test)"


def _module(name: str) -> Any:
    if str(_TEST_BED) not in sys.path:
        sys.path.append(str(_TEST_BED))
    return importlib.import_module(name)
