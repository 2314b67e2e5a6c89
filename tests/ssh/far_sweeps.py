"""What tests of sweeps over SSH share: a sweep that goes on while a test does things to hosts."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multirun_ssh.runner import SSHRunner
from ssh_bed import SSHBed
from ssh_host import USER, Host

from multirun_core import Sweep, multirun

QUICK: dict[str, Any] = {"silence_timeout": 2.0, "connect_timeout": 4.0}
"""Options by which a silent host is soon noticed."""


def runner(bed: SSHBed, hosts: list[Host], **options: Any) -> SSHRunner:
    """Return a runner for hosts of the bed."""
    options = {"slots": 2, "ssh_config": bed.ssh_config, **QUICK, **options}
    return SSHRunner(hosts=[host.name for host in hosts], **options)


class Marks:
    """A folder that all hosts see, where runs leave marks and wait for a sign.

    Attributes:
        folder: the folder.
        program: a command that leaves a mark, waits until it may go on, and posts its parameter.
    """

    def __init__(self, bed: SSHBed, name: str) -> None:
        self.folder = bed.shared / name
        self.folder.mkdir()
        self.folder.chmod(0o1777)
        self.program = [
            "sh",
            "-c",
            'echo "$(hostname) $MULTIRUN_ATTEMPT" >> "$0/run-$MULTIRUN_INDEX"; '
            'until test -e "$0/go" || test -e "$0/go-$MULTIRUN_INDEX"; do sleep 0.05; done; '
            'echo "$(hostname)" >> "$0/end-$MULTIRUN_INDEX"; '
            'printf %s "$MULTIRUN_PARAM_N" > results.part; mv results.part results.json',
            str(self.folder),
        ]

    def go(self, *indices: int) -> None:
        """Let runs go on; all of them without indices."""
        for index in indices:
            (self.folder / f"go-{index}").touch()
        if not indices:
            (self.folder / "go").touch()

    def lines(self, what: str = "run") -> dict[int, list[str]]:
        """Return the marks of each run that has left any."""
        return {
            int(path.name.rpartition("-")[2]): path.read_text().splitlines()
            for path in self.folder.glob(f"{what}-*")
        }

    def executions(self) -> Counter[int]:
        """Return how often each run was executed."""
        return Counter({index: len(lines) for index, lines in self.lines().items()})

    def on(self, host: Host) -> list[int]:
        """Return the runs that were begun on a host, in order."""
        return sorted(
            index
            for index, lines in self.lines().items()
            if any(line.split()[0] == host.name for line in lines)
        )


class Going:
    """A sweep under way in a thread."""

    def __init__(self, **call: Any) -> None:
        self.sweep: Sweep | None = None
        self.error: BaseException | None = None
        self._call = {"progress": False, **call}
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.sweep = multirun(**self._call)
        except BaseException as error:
            self.error = error

    def wait(self, seconds: float = 90.0) -> Sweep:
        """Return the sweep once it is over.

        Raises:
            BaseException: what the call raised.
        """
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the sweep is not over after {seconds} s"
        if self.error is not None:
            raise self.error
        assert self.sweep is not None
        return self.sweep

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Return what a condition does once it is true, while the sweep goes on."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {seconds} s for {condition}"
            if not self._thread.is_alive():
                self.wait()
                raise AssertionError("the sweep was over before")
            time.sleep(0.02)
        return value


@contextmanager
def going(marks: Marks, path: Path, count: int, runner: SSHRunner, **call: Any) -> Iterator[Going]:
    """Carry out a sweep of `marks.program` in a thread; at the end all runs may go on."""
    one = Going(
        **{"runs": [{"n": n} for n in range(count)], "cmd": marks.program,
           "output_path": path, "runner": runner, **call}
    )  # fmt: skip
    try:
        yield one
    finally:
        marks.go()
        one._thread.join(60)


def forget_sweeps(hosts: list[Host]) -> None:
    """Remove what earlier tests have left on hosts that they did something to."""
    for host in hosts:
        for user in ("root", USER):
            shutil.rmtree(host.home(user) / ".cache" / "multirun", ignore_errors=True)


def sweeps_left(host: Host, user: str = "root") -> list[str]:
    """Return the directories of sweeps that are left on a host."""
    cache = host.home(user) / ".cache" / "multirun"
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []
