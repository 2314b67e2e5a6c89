"""Checks with a disk that fills up, and one that can be written no more."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from multirun_core._sweep.sweep import Sweep
from multirun_core.testing.base import KitBase, expect, promise, requires
from multirun_core.testing.fault_tools import (
    BEGIN,
    POST,
    gone,
    sh,
    statuses,
    successes,
    wait_for_files,
)

_RUNS = 40
_SIZE = 64 << 20
_BALLAST = "ballast"
_FIRST_STAYS = 'test "$MULTIRUN_ATTEMPT$MULTIRUN_PARAM_N" != 10 || sleep 300; '
_SECOND_WAITS = 'test "$MULTIRUN_PARAM_N" != 1 || until test -e "$0"; do sleep 0.02; done; '
_SPACES = (["unshare", "--mount"], ["unshare", "--mount", "--user", "--map-root-user"])


class SmallDisk:
    """A file system of its own in memory, which only processes started by `prefix` see.

    Attributes:
        inside: its path for those.
        outside: its path for all others.
        prefix: what to put before a command so that it sees it.
    """

    def __init__(self, keeper: int, inside: Path, *, user: bool) -> None:
        self.inside = inside
        self.outside = Path(f"/proc/{keeper}/root{inside}")
        self.prefix = ["nsenter", "--mount", f"--target={keeper}"]
        if user:
            self.prefix += ["--user", "--preserve-credentials"]

    def mount(self, *words: str | Path) -> None:
        """Mount something where it is seen, with the words of that command."""
        subprocess.run([*self.prefix, "mount", *words], check=True)

    def fill(self, free: int) -> None:
        """Leave so many bytes free. Without root a disk cannot be made larger, but emptied."""
        with (self.outside / _BALLAST).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _SIZE - free)

    def empty(self) -> None:
        """Make room again."""
        (self.outside / _BALLAST).unlink()

    def unmount(self, path: Path) -> None:
        """Undo a mount there."""
        subprocess.run([*self.prefix, "umount", path], check=True)


@contextmanager
def small_disk(folder: Path) -> Generator[SmallDisk]:
    """Make a small disk, in a mount namespace that a sleeping process keeps; see unshare(1)."""
    words = next(filter(_works, _SPACES), None)
    if words is None:
        pytest.skip("this machine lets nobody make a mount namespace, and so no small disk")
    inside = folder / "disk"
    inside.mkdir()
    script = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec sleep 600'
    with subprocess.Popen(
        [*words, "sh", "-c", script, inside, str(_SIZE)], stdout=subprocess.PIPE
    ) as keeper:
        try:
            told = keeper.stdout.readline() if keeper.stdout else b""
            promise(told, "a file system in memory can be mounted (tmpfs)", told)
            yield SmallDisk(keeper.pid, inside, user="--user" in words)
        finally:
            keeper.kill()


def _works(words: list[str]) -> bool:
    try:
        return subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class DiskFaults(KitBase):
    """What a runner promises when the sweep's directory takes no more."""

    @requires("sees_private_mounts")
    def test_a_full_disk_is_told_and_the_sweep_resumed(self, tmp_path: Path) -> None:
        """No success is invented meanwhile; with room again, the rest is executed."""
        # The first ones are written down before the others fill the disk.
        few = 'test "$MULTIRUN_PARAM_N" -lt 4 || '
        cmd = sh(BEGIN, few, "{ sleep 0.2; head -c 100000 /dev/zero > data; } && ", POST)
        with small_disk(tmp_path) as disk:
            disk.fill(1 << 20)
            first = self._drive(disk, tmp_path, cmd)
            seen = statuses(disk.outside / "sweep")
            promise("success" in seen and set(seen) != {"success"}, "the disk has filled up", seen)
            if first:
                self._check_told(tmp_path, "No space left on device")
            self._check_nothing_invented(disk)
            disk.empty()
            expect(self._drive(disk, tmp_path, cmd), 0, "with room again, the sweep is resumed")
            if self.why_not("can_reattach") is None:
                # What the full disk has ended was found to have ended, and is now tried again.
                expect(self._drive(disk, tmp_path, cmd), 0, "the sweep can be resumed once more")
            self._check_complete(disk)

    @requires("sees_private_mounts", "shares_files")
    def test_an_unwritable_directory_is_told_and_the_sweep_resumed(self, tmp_path: Path) -> None:
        """What runs is ended, no success is invented, and later the rest is executed."""
        go = tmp_path / "go"
        cmd = [*sh(BEGIN, _FIRST_STAYS, _SECOND_WAITS, POST), str(go)]
        with small_disk(tmp_path) as disk:
            runs = disk.inside / "sweep" / "runs"
            driver = self._start(disk, tmp_path, cmd)
            self.wait_until(
                lambda: statuses(disk.outside / "sweep")[:2] == ["running"] * 2, "two runs start"
            )
            wait_for_files(self, disk.outside / "sweep", "runs/00000[01]/began", 2)
            disk.mount("--bind", runs, runs)
            disk.mount("-o", "remount,bind,ro", runs)
            go.touch()
            self.wait_until(
                lambda: driver.poll() is not None or self._only_the_first_is_left(disk),
                "when a run finds its directory unwritable, the driver ends, or all others do",
            )
            if driver.poll() is None:  # they were prepared before, and failed each by itself
                driver.terminate()
                driver.wait(self.patience(20))
            else:
                self._check_told(tmp_path, "Read-only file system")
            adopts = self.why_not("can_reattach") is None
            if adopts and self.runs_on_this_machine:
                for pid in self.processes_of(disk.inside):  # let go of, and alive
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            elif self.runs_on_this_machine:
                gone(self, disk.inside, "what ran is ended")
            disk.unmount(runs)
            self._check_nothing_invented(disk)
            expect(self._drive(disk, tmp_path, cmd), 0, "later, the sweep is resumed")
            if adopts:
                expect(self._drive(disk, tmp_path, cmd), 0, "what was found ended is tried again")
            self._check_complete(disk)

    # Helpers.

    def _start(self, disk: SmallDisk, folder: Path, cmd: list[str]) -> subprocess.Popen[bytes]:
        aside = ["sh", "-c", 'exec "$@" 2> "$0"', os.fspath(folder / "told")]
        return self.driver(
            disk.inside / "sweep",
            _RUNS,
            cmd,
            options=self.slots(2),
            prefix=[*disk.prefix, *aside],
            resume=True,
        )

    def _drive(self, disk: SmallDisk, folder: Path, cmd: list[str]) -> int | None:
        driver = self._start(disk, folder, cmd)
        self.wait_until(lambda: driver.poll() is not None, "the driver ends", 40)
        return driver.returncode

    def _only_the_first_is_left(self, disk: SmallDisk) -> bool:
        first, *others = statuses(disk.outside / "sweep")
        return first == "running" and set(others) <= {"success", "failure"}

    def _check_told(self, folder: Path, why: str) -> None:
        told = (folder / "told").read_text().splitlines()
        # The last line of a traceback; a backend may log something after it.
        errors = [line for line in told if line.startswith("multirun_core.")]
        promise(errors, "it is an error of multirun", told[-1:])
        promise(why in errors[-1], f"it says why: {why}", errors)

    def _check_nothing_invented(self, disk: SmallDisk) -> None:
        for run in Sweep.open(disk.outside / "sweep").runs:
            if run.status == "success":
                expect(run.result, {"n": run.index}, f"run {run.index} succeeded with its result")

    def _check_complete(self, disk: SmallDisk) -> None:
        path = disk.outside / "sweep"
        sweep = Sweep.open(path)
        expect(sweep.statistics.success_count, _RUNS, "all runs succeed in the end")
        expect(sweep.results, [{"n": n} for n in range(_RUNS)], "with their own results")
        expect(sorted(successes(path).values()), [1] * _RUNS, "once in the journal")
