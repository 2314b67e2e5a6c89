"""What the tests of the launcher share."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from multirun_core._model.run import ExitStatus
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.launcher.threads import ThreadLauncher, open_launcher

PYTHON = [sys.executable, "-S", "-I"]
HOSTILE = [*PYTHON, str(Path(__file__).with_name("launcher_hostile.py"))]
KINDS = ["plain", "deaf", "session", "orphan", "daemon", "unmarked", "stopped", "deep", "forker"]
AWKWARD = "a b'c\"d$HOME;*?[x]\n`é`\\"

PATIENCE = 30.0  # seconds that anything may take on a machine that is busy
AT_ONCE = 30.0  # seconds: much less than the grace of those that are not to get it


def marker() -> str:
    """Return an argument that no other process has."""
    return "launcher-test-" + uuid4().hex


def see(path: Path) -> None:
    """Wait for a file while the event loop stands still: nobody else can do anything."""
    until_when = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < until_when, f"{path} does not come"
        time.sleep(0.005)


def living(word: str) -> list[str]:
    """Return the commands of all processes that have `word` in an argument; zombies have none."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if word in command and int(entry.name) != os.getpid():
            found.append(entry.name + " " + command.replace("\0", " "))
    return found


def descriptors(pid: int | str = "self") -> list[str]:
    """Return the numbers of the open descriptors of a process."""
    return sorted(entry.name for entry in Path(f"/proc/{pid}/fd").iterdir())


async def until(condition: Callable[[], object], bound: float = PATIENCE) -> None:
    """Wait for a condition; fail where it does not come true."""
    end = time.monotonic() + bound
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


class Bench:
    """A launcher, and a directory for each run."""

    def __init__(self, launcher: Launcher | ThreadLauncher, folder: Path) -> None:
        self.launcher = launcher
        self.folder = folder
        self.count = 0

    def directory(self) -> Path:
        self.count += 1
        folder = self.folder / f"{AWKWARD} {self.count}"
        folder.mkdir(parents=True)
        return folder

    async def run(
        self,
        *argv: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        limit: float | None = None,
        grace: float = 0.3,
    ) -> ExitStatus:
        folder = cwd or self.directory()
        variables = {"MULTIRUN_RUN_DIR": str(folder), **(env or {})}
        return await self.launcher.run(
            argv,
            folder,
            variables,
            str(folder / "stdout.txt"),
            str(folder / "stderr.txt"),
            timeout=limit,
            grace=grace,
        )

    async def output(self, *argv: str, env: Mapping[str, str] | None = None) -> bytes:
        """Run a program that must succeed and return what it printed."""
        folder = self.directory()
        end = await self.run(*argv, cwd=folder, env=env)
        assert end.ok, (end, (folder / "stderr.txt").read_text())
        return (folder / "stdout.txt").read_bytes()

    def begin(
        self, *argv: str, cwd: Path | None = None, limit: float | None = None, grace: float = 0.3
    ) -> asyncio.Task[ExitStatus]:
        return asyncio.create_task(self.run(*argv, cwd=cwd, limit=limit, grace=grace))

    async def begin_hostile(
        self, word: str, *kinds: str, after: str = "stay", grace: float = 0.3
    ) -> asyncio.Task[ExitStatus]:
        """Start the hostile program and wait until all of its processes are in place."""
        folder = self.directory()
        task = self.begin(*HOSTILE, word, after, *kinds, cwd=folder, grace=grace)
        out = folder / "stdout.txt"
        await until(lambda: task.done() or (out.exists() and out.read_text() == "ready\n"))
        return task


@asynccontextmanager
async def opened(folder: Path, base_env: Mapping[str, str] | None = None) -> AsyncIterator[Bench]:
    """Open a launcher as the environment says, and close it."""
    launcher = await open_launcher(base_env)
    try:
        yield Bench(launcher, folder)
    finally:
        await launcher.close()
