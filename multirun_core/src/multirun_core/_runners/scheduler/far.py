"""`Far`: jobs in a file system that is reached by way of a login, and that this machine lacks."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._runners.local import base_environment
from multirun_core._runners.scheduler.fetching import Fetching
from multirun_core._runners.scheduler.gathering import Gathering
from multirun_core._runners.scheduler.link import Link, Login
from multirun_core._runners.scheduler.sending import Sending
from multirun_core._runners.scheduler.site import (
    WAIT_OUT_SECONDS,
    Evidence,
    Left,
    Site,
    check_how,
    home_of,
)
from multirun_core._runners.scheduler.submission import CALL_SECONDS, Submission, Work, escaped
from multirun_core._staging.elsewhere import command_of, sweep_name
from multirun_core._staging.luggage import PYTHON, luggage
from multirun_core._staging.mirror import Mirror, MirrorError, Stores
from multirun_core._transport.wrapper import parse_line
from multirun_core.errors import BackendError, TransportError

if TYPE_CHECKING:
    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._runners.scheduler.haste import Haste
    from multirun_core._transport.wrapper import Event, Order

_log = logging.getLogger("multirun.runner")

_END_SECONDS = 30.0  # for what is wanted while runs are being ended
_CLEAR_SECONDS = 5.0  # for trying again to remove what is there


class Far(Site):
    """Carries run directories there and back; what runs write is looked at by few commands.

    A login that is out of reach tells nothing about runs: all is tried again until it is back.
    Each attempt has a directory of its own there.
    """

    look_seconds = (0.4, 5.0)

    def __init__(self, login: Login, root: Path | None, haste: Haste) -> None:
        """Prepare; nothing is connected yet.

        Args:
            login: how it is reached.
            root: the sweep's directory; None where runs belong to none.
            haste: whether the user has asked twice.
        """
        super().__init__()
        self._link = Link(login)
        self.transport = self._link.transport
        self.base = ""
        self._login = login
        self._haste = haste
        name = "attempts" if login.near and root is not None else sweep_name(root)
        self._mirror = Mirror(self.transport, Stores(), place=login.place, name=name)
        self._looking = Gathering(self._look, most=512)
        self._sending = Sending(login, self._mirror, self._link)
        self._fetching = Fetching(login, self._mirror, self._link)

    async def open(self) -> None:
        """Make the sweep's directory there, and carry there what programs import in a run."""
        try:
            await self._mirror.open()
            self.base = self._mirror.base
            if self._login.near:
                self.variables["PATH"] = base_environment().get("PATH", os.defpath)
                return
            place = await self._mirror.supply(luggage())
            done = await self._link.verb("path", self._login.program)
        except (TransportError, MirrorError) as error:
            raise BackendError(f"{self._login.option} cannot be used: {error}") from error
        path = shlex.quote(f"{place}/{PYTHON}")
        self.setup = (f"export PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}}",)
        lines = done.stdout.decode(errors="surrogateescape").splitlines()
        if done.code or not lines:
            raise BackendError(
                f"{self._login.option}: {self._login.program} is not found there, neither "
                "on the PATH of a command over SSH nor on that of a login shell"
            )
        self.variables["PATH"] = lines[-1]

    async def close(self, *, leave: bool) -> None:
        """Remove what is there, unless it is wanted, and hang up."""
        await self._looking.close()
        try:
            if self.base and not self._login.keep:
                async with self._haste.bound(_END_SECONDS):
                    await self._link.insist(lambda: self._clear(leave), _CLEAR_SECONDS)
        except (BackendError, TimeoutError) as error:
            where = f"{self._login.name}:{self.base}"
            _log.warning("%s stays there: %s", where, str(error) or "it took too long")
        finally:
            await self._fetching.close()
            await self.transport.close()

    async def _clear(self, leave: bool) -> None:
        await self._fetching.clear()
        if not leave and (done := await self._link.verb("leave", self.base)).code:
            raise BackendError(done.said)

    # Where things are.

    def directory(self, run: Run, attempt: int, earlier: Path | None = None) -> Path:
        """Return a directory that no other attempt has, not even another driver's."""
        if earlier is not None and earlier.is_relative_to(self.base):
            return earlier
        number = f"b{id(run):x}" if run.index is None else f"{run.index:06d}"
        return Path(f"{self.base}/runs/{number}.{attempt}-{uuid.uuid4().hex[:8]}")

    def home(self, run: Run, token: str) -> tuple[Path, Path]:
        """Return the directory of a submission there, and the one here."""
        return Path(f"{self.base}/jobs/{token}"), home_of(run, token)

    def command(self, run: Run) -> list[str]:
        """Return the command, with the Python of there."""
        return command_of(run, self._login.python)

    def handle(self, work: Work) -> Mapping[str, Any]:
        """Return by which login it is reached, and where it is."""
        assert work.submission is not None  # noqa: S101 - it is in one by now
        home = str(work.submission.directory)
        return {"how": self._login.option, "dir": str(work.directory), "home": home}

    def recall(self, work: Work, handle: Mapping[str, Any]) -> tuple[Path, Path]:
        """Set a run's directory as an earlier driver had it; return that of its submission."""
        check_how(work.run, handle, self._login.option)
        work.directory = Path(str(handle["dir"]))
        return Path(str(handle["home"])), home_of(work.run, str(handle["job"]))

    # What is done there.

    async def lay_out(
        self,
        submission: Submission,
        works: Sequence[Work],
        orders: Mapping[Work, Order],
        script: str,
        slots: int,
    ) -> Mapping[Work, str]:
        """Carry run directories there, and the submission; once again where the link breaks."""
        submission.call_seconds = self.call_seconds
        await asyncio.to_thread(submission.write, works, script, slots)
        lacking = await self._sending.send(orders)
        await self._sending.send_directory(submission.local, submission.directory)
        return lacking

    async def submit(
        self,
        submission: Submission,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout: float,  # noqa: ASYNC109 - the transport keeps it
    ) -> tuple[int, str, str]:
        """Call a submit command; where the link breaks, see to it that it lives no more."""
        home, mark = str(submission.directory), uuid.uuid4().hex
        stop = f"stop-{mark[:8]}"
        try:
            words = ("submit", home, stop, mark, *argv)
            done = await self._link.verb(*words, env=env, timeout=timeout)
        except TransportError as error:
            await self._settle(home, stop, timeout)
            return -1, (await self.left(submission)).answer, str(error)
        printed = done.stdout.decode(errors="replace")
        code, answer, complaint = ([*printed.split(f"{mark}\n"), "", ""])[:3]
        answer = answer.removesuffix("\n")
        kept = {"answer": answer, "complaint": complaint}
        await asyncio.to_thread(_keep, submission.local, kept)
        if done.code or not code.strip().lstrip("-").isdecimal():
            return -1, answer, complaint + done.stderr.decode(errors="replace")
        return int(code), answer, complaint + done.stderr.decode(errors="replace")

    async def news(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Event]]:
        """Read what has been appended to logs, by one command."""
        if not submissions:
            return []
        mark = uuid.uuid4().hex
        lines = b"".join(b"%d %b\n" % (one.offset, escaped(one.directory)) for one in submissions)
        try:
            done = await self._link.verb("news", mark, stdin=lines)
        except TransportError as error:
            self._link.lost(error)
            return []
        self._link.back()
        parts = done.stdout.split(f"\n{mark}\n".encode())
        if len(parts) != len(submissions) + 1:
            return []  # not all of it has come
        return [
            (submission, event)
            for submission, part in zip(submissions, parts, strict=False)
            for event in submission.take(part)
        ]

    async def evidence(self, works: Sequence[Work]) -> list[Evidence]:
        """Look for records, by one command for all that ask at the same time."""
        return list(await asyncio.gather(*map(self._looking.ask, works)))

    async def _look(self, works: Sequence[Work]) -> list[Evidence]:
        printed = await self._listed("evidence", works)
        found: list[Evidence] = []
        for line in printed:
            event = parse_line(line + "\n")
            record = event if event is not None and event.word == "end" else None
            found.append(Evidence(record, line != "unclaimed"))
        return found

    async def prevent(self, works: Sequence[Work]) -> list[bool]:
        """Make the claims, or notes in them, by one command."""
        return await self._claimed("prevent", works)

    async def spare(self, works: Sequence[Work]) -> list[bool]:
        """Make the claims, by one command."""
        return await self._claimed("spare", works)

    async def _claimed(self, verb: str, works: Sequence[Work]) -> list[bool]:
        printed = await self._listed(verb, works, patience=_END_SECONDS)
        return [line == "prevented" for line in printed]

    async def _listed(
        self, verb: str, works: Sequence[Work], patience: float | None = None
    ) -> list[str]:
        lines = b"".join(b"%d %b\n" % (work.attempt, escaped(work.directory)) for work in works)

        async def ask() -> list[str]:
            done = await self._link.verb(verb, stdin=lines)
            printed = done.stdout.decode(errors="replace").split("\n")[:-1]
            if done.code or len(printed) != len(works):
                raise TransportError(f"{self._login.name}: {done.said}")
            return printed

        return await self._link.insist(ask, patience)

    async def find(self, token: str, directory: Path, local: Path) -> Submission | None:
        """Read what was written down here: what is there may have been removed."""
        return await asyncio.to_thread(Submission.load, token, directory, local)

    async def left(self, submission: Submission) -> Left:
        """Read what a submit command has left there; what is here does as well."""
        mark = uuid.uuid4().hex
        words = ("left", str(submission.directory), mark)
        done = await self._link.insist(lambda: self._link.verb(*words))
        answer, _, begun = done.stdout.decode(errors="replace").partition(f"\n{mark}\n")
        kept = submission.local / "answer"
        if not answer and kept.exists():
            answer = kept.read_text(errors="replace")
        return Left(answer, "begun" in begun or bool(answer))

    async def see_off(self, submission: Submission, *, answered: bool) -> None:
        """Wait for a client's end there, and kill it in the end."""
        wait = 0.0 if answered else WAIT_OUT_SECONDS
        await self._settle(str(submission.directory), "stop", submission.call_seconds, wait)

    async def _settle(
        self, home: str, stop: str, seconds: float, wait: float = WAIT_OUT_SECONDS
    ) -> None:
        """Let nobody submit any more; a client elsewhere is gone when its seconds are over."""
        words = ("settle", home, stop, f"{math.ceil(wait)}", f"{math.ceil(seconds)}")
        timeout = wait + seconds + CALL_SECONDS
        done = await self._link.insist(lambda: self._link.verb(*words, timeout=timeout))
        if done.code:
            raise BackendError(f"{self._login.name}: {home} cannot be written: {done.said}")

    async def bring(self, work: Work, end: ExitStatus) -> ExitStatus:
        """Bring back what is new in the directory of a run that may have begun."""
        begun = work.started is not None or work.ended is not None
        if work.submission is None or not (begun or end.cause in ("lost", "node_fail")):
            return end
        failed = await self._fetching.bring(work)
        if failed is None:
            return end
        message = f"its files could not be fetched from {self._login.name}: {failed}"
        return replace(end, reason=end.reason or "lost", message=message)


def _keep(local: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (local / name).write_text(text)
