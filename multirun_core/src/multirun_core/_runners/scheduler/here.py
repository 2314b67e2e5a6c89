"""`Here`: jobs in a file system that this machine sees as they do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._runners.local import base_environment
from multirun_core._runners.scheduler import JOBS
from multirun_core._runners.scheduler.site import (
    WAIT_OUT_SECONDS,
    Evidence,
    Left,
    Site,
    check_how,
    home_of,
)
from multirun_core._runners.scheduler.submission import Submission, Work
from multirun_core._staging.files import own_directory
from multirun_core._staging.names import PRIVATE
from multirun_core._staging.orders import drop_order, read_end, write_order
from multirun_core._transport.process import ProcessId
from multirun_core.errors import TransportError

if TYPE_CHECKING:
    from multirun_core import _threads
    from multirun_core._model.run import Run
    from multirun_core._transport.base import Transport
    from multirun_core._transport.wrapper import Event, Order

_KILL_SECONDS = 5.0


class Here(Site):
    """A file system that jobs see as this machine does: run directories are where runs run."""

    def __init__(self, transport: Transport, threads: _threads.Work) -> None:
        super().__init__()
        self.transport = transport
        self._do = threads.do
        # Queue systems hand the environment on: `python` in a run is then the interpreter here.
        self.variables["PATH"] = base_environment().get("PATH", os.defpath)

    async def open(self) -> None:
        """Do nothing."""

    async def close(self, *, leave: bool) -> None:
        """Let go of the transport."""
        await self.transport.close()

    def directory(self, run: Run, attempt: int, earlier: Path | None = None) -> Path:
        """Return the run directory."""
        return Path(os.path.abspath(run.cwd))  # noqa: PTH100 - resolve() follows links

    def home(self, run: Run, token: str) -> tuple[Path, Path]:
        """Return the directory of a submission twice."""
        place = home_of(run, token)
        return place, place

    def handle(self, work: Work) -> Mapping[str, Any]:
        """Return nothing: the run directory says it all."""
        return {}

    def recall(self, work: Work, handle: Mapping[str, Any]) -> tuple[Path, Path]:
        """Return where a submission is in the sweep's directory."""
        check_how(work.run, handle, None)
        place = self.directory(work.run, 0).parent.parent / JOBS / str(handle["job"])
        return place, place

    async def lay_out(
        self,
        submission: Submission,
        works: Sequence[Work],
        orders: Mapping[Work, Order],
        script: str,
        slots: int,
    ) -> Mapping[Work, str]:
        """Write the submission and the orders."""
        submission.call_seconds = self.call_seconds

        def write() -> None:
            submission.write(works, script, slots)
            for work, order in orders.items():
                if work.done.done():
                    continue
                if work.run.keeper is None:  # otherwise it has been staged
                    write_order(work.directory, order)
                    drop_order(work.directory)
                write_order(work.directory, order)

        await self._do(write)
        return {}

    async def submit(
        self,
        submission: Submission,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the transport keeps it
    ) -> tuple[int, str, str]:
        """Call a submit command; one that takes too long has been ended."""
        home = str(submission.directory)
        try:
            done = await self.transport.run(
                ["sh", f"{home}/submit.sh", home, "stop", *argv], env=env, timeout=timeout
            )
            code, said = done.code, done.stderr.decode(errors="replace")
        except TransportError as error:
            code, said = -1, str(error)
        answer, complaint = (_text(submission.directory / n) for n in ("answer", "complaint"))
        return code, answer, complaint + said

    async def news(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Event]]:
        """Read what has been appended to logs."""

        def read() -> list[tuple[Submission, Event]]:
            return [(one, event) for one in submissions for event in one.take(_appended(one))]

        return await self._do(read)

    async def evidence(self, works: Sequence[Work]) -> list[Evidence]:
        """Look into run directories."""
        return await self._do(lambda: [_evidence(work) for work in works])

    async def prevent(self, works: Sequence[Work]) -> list[bool]:
        """Make the claims, or notes in them."""
        return await self._do(lambda: [_prevent(work, ends=True) for work in works])

    async def spare(self, works: Sequence[Work]) -> list[bool]:
        """Make the claims."""
        return await self._do(lambda: [_prevent(work, ends=False) for work in works])

    async def find(self, token: str, directory: Path, local: Path) -> Submission | None:
        """Read what was written down."""
        return await self._do(lambda: Submission.load(token, directory, local))

    async def left(self, submission: Submission) -> Left:
        """Read what a submit command has left."""
        begun = (submission.directory / "client").exists()
        return Left(await self._do(lambda: _text(submission.directory / "answer")), begun)

    async def see_off(self, submission: Submission, *, answered: bool) -> None:
        """Wait for a client's end, and kill it in the end."""
        (submission.directory / "stop").touch()
        client = _client_of(submission)
        if client is None:
            return
        deadline = time.monotonic() + (0.0 if answered else WAIT_OUT_SECONDS)
        if client.alive() is None and not answered:  # on another host, where nobody can look
            age = time.time() - (submission.directory / "client").stat().st_mtime
            deadline += submission.call_seconds - age
        while client.alive() is not False and time.monotonic() < deadline:  # noqa: ASYNC110 - far away
            await asyncio.sleep(0.1)
        if client.alive():
            _kill(client.pid)
            deadline = time.monotonic() + _KILL_SECONDS
            while client.alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - no child of ours
                await asyncio.sleep(0.05)


def _kill(client: int) -> None:
    """Kill a client with its group: it may be a script that has called the real command."""
    with contextlib.suppress(OSError):
        group = os.getpgid(client)
        if group == os.getpgrp():
            os.kill(client, signal.SIGKILL)
        else:
            os.killpg(group, signal.SIGKILL)


def _appended(submission: Submission) -> bytes:
    try:
        with (submission.directory / "log").open("rb") as file:
            file.seek(submission.offset)
            return file.read()
    except OSError:
        return b""


def _evidence(work: Work) -> Evidence:
    """Look for the record of a run; in a thread."""
    with contextlib.suppress(OSError):
        os.listdir(work.claim.parent)  # noqa: PTH208 - the look itself is what is wanted
        os.listdir(work.claim)  # noqa: PTH208
    record = None
    with contextlib.suppress(OSError):
        record = read_end(work.directory, work.attempt)
    return Evidence(record, work.claim.is_dir())


def _prevent(work: Work, *, ends: bool) -> bool:
    claim = work.claim
    try:
        own_directory(f"{work.directory}/{PRIVATE}")
        claim.mkdir()
    except FileExistsError:
        if ends and not (claim / "exit").exists():
            with contextlib.suppress(OSError):
                aside = claim / "ending.driver"
                aside.write_text("cancelled\n")
                aside.rename(claim / "ending")
        return False
    except OSError:
        return False  # its directory is gone: it cannot be claimed by anybody
    return True


def _client_of(submission: Submission) -> ProcessId | None:
    host, _, rest = _text(submission.directory / "client").rstrip("\n").partition("\t")
    fields = rest.split("\t")
    if len(fields) != 4 or fields[3] != "." or not fields[1].isdecimal():
        return None
    boot, pid, start, _ = fields
    return ProcessId(host, boot, int(pid), start)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
