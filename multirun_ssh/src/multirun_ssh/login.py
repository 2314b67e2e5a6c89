"""One login by the system's ssh: a master process that commands go through."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import random
import re
import shlex
import stat
from pathlib import Path

from multirun_core._threads import heard
from multirun_core._transport.base import Completed
from multirun_core._transport.local import LocalTransport
from multirun_core.errors import TransportError, TransportTimeoutError

from multirun_ssh.errors import LoginNeedsPersonError, LoginRefusedError
from multirun_ssh.hosts import Host
from multirun_ssh.openssh_trust import is_refusal, refusal, trusts_unknown, warn_of_trust
from multirun_ssh.options import Connecting

_log = logging.getLogger("multirun.ssh")

STAYS = 600
"""Seconds that the login of a person stays when nothing uses it."""
_ASK_SECONDS = 10.0
_ASKING = ("keyboard-interactive", "password", "gssapi-with-mic", "hostbased")
_DROPPED = re.compile("Connection (closed|reset) by|kex_exchange_identification:")
_PROXY_ENDED = re.compile(r"UNKNOWN port 65535|^kex_exchange_identification:")
_DENIED = re.compile(r"Permission denied \(([^)]*)\)")


class Shared:
    """What the logins of a pool share.

    Attributes:
        terminal: held by whoever has ssh ask for something.
        gate: bounds how many log in at once: sshd drops some from the tenth on.
        warned: whether it was said that host keys are not verified.
    """

    def __init__(self) -> None:
        """Make it free."""
        self.terminal = asyncio.Lock()
        self.gate = asyncio.Semaphore(8)
        self.warned = False


class Login:
    """A login on a host.

    Attributes:
        seconds: how long the last one took; None before there was one.
        asking: what to raise where a person who is being asked is waited for no longer.
    """

    def __init__(self, host: Host, connecting: Connecting, shared: Shared) -> None:
        """Log in to nothing yet.

        Args:
            host: the host.
            connecting: how to connect to it.
            shared: what the logins of a pool share.
        """
        self.host = host
        self.seconds: float | None = None
        self.asking: LoginNeedsPersonError | None = None
        self._connecting = connecting
        self._shared = shared
        self._local = LocalTransport()
        self._task: asyncio.Task[list[str]] | None = None
        self._own: Path | None = None  # the socket of a master that is ours to end

    async def ready(self) -> None:
        """Log in where that is to be done; once for all that wait for it.

        Raises:
            LoginRefusedError: the host does not let us in, and trying again does not help.
            LoginNeedsPersonError: it asks for something, and there is no terminal.
            TransportError: the host cannot be reached.
        """
        task = self._task
        if task is not None and task.done() and (task.cancelled() or task.exception() is not None):
            task = None
        if task is None:
            task = self._task = asyncio.create_task(self._make())
            task.add_done_callback(heard)
        await asyncio.shield(task)

    def forget(self) -> None:
        """Take the login for lost."""
        if self._task is not None and self._task.done():
            self._task = None

    def through(self, command: str) -> list[str]:
        """Return what runs a command through the login, and does not log in by itself."""
        control: list[str] = self._task.result() if self._task and self._task.done() else []
        alone = ["-o", "ControlMaster=no", "-o", "ControlPersist=no", "-o", "ProxyCommand=false"]
        return [*self._ssh(), *control, *alone, *self._target(), command]

    def no_shell(self, printed: str, done: Completed) -> LoginRefusedError:
        """Return the error for a login whose shell does not start sh."""
        said = printed or done.stderr.decode(errors="replace").strip() or "nothing"
        return LoginRefusedError(
            f"the login shell of {self.host} did not start sh; it ended with exit status "
            f"{done.code} and said: {said}"
        )

    async def close(self) -> None:
        """End the login, unless a person made it; bounded."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_ASK_SECONDS)
        if self._own is not None:
            with contextlib.suppress(TransportError):
                await self._ask(["-S", str(self._own)], "exit")
            self._own.unlink(missing_ok=True)
            self._own = None

    # How.

    async def _make(self) -> list[str]:
        """Log in, or find a login that is there; return the words by which ssh finds it."""
        place = await asyncio.to_thread(_directory)
        shared = ["-S", str(place / self._key())]
        if self._connecting.known_hosts is not None and not self._shared.warned:
            word = await trusts_unknown(self._ssh(), self._target())
            if word is not None and not self._shared.warned:
                self._shared.warned = True
                warn_of_trust(self.host, word)
        loop = asyncio.get_running_loop()
        for control in (shared, []):  # one that a person made for us, and one by ControlPath
            if await self._ask(control, "check"):
                return control
        self._own = place / f"{self._key()}-{os.getpid()}-{id(self):x}"
        self._own.unlink(missing_ok=True)
        began = loop.time()
        # It goes by itself when this process is killed and nothing uses it.
        own = ["-S", str(self._own), "-o", "ControlPersist=60"]
        words = [*self._ssh(), "-o", "BatchMode=yes", *self._master(own)]
        said = await self._attempts(words)
        if said is None:
            self.seconds = loop.time() - began
            return own[:2]
        self._own = None
        denied = _DENIED.search(said)
        if denied is None or not set(denied[1].split(",")) & set(_ASKING):
            raise await self._explained(said, refused=denied is not None)
        await self._have_asked(shared, said)
        self.seconds = loop.time() - began
        return shared

    async def _attempts(self, words: list[str]) -> str | None:
        """Log in without a person; again while sshd drops those that log in (MaxStartups).

        Returns:
            What ssh said of the login that failed; None where one did not.
        """
        seconds, pause, said = self._connecting.connect_timeout, 0.1, ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    async with self._shared.gate:
                        done = await self._local.run(words, timeout=None)
                        if done.code == 0:
                            return None
                        said = _told(done)
                        if _PROXY_ENDED.search(said):  # ssh hides what that says from masters
                            said = _told(await self._local.run(self._alone(), timeout=None))
                    if said and not _DROPPED.search(said):
                        return said
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                    pause = min(2 * pause, 3.0)
        except TimeoutError:
            raise TransportError(
                f"{self.host} did not let us in within {seconds:g} s (connect_timeout)"
                f"{said and ': ' + said.splitlines()[-1]}"
            ) from None

    def _alone(self) -> list[str]:
        """Return what logs in without a person, for itself."""
        words = ["-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
        return [*self._ssh(), *words, *self._target(), "true"]

    async def _have_asked(self, shared: list[str], said: str) -> None:
        """Have ssh ask a person on the terminal; one host at a time."""
        control = [*shared, "-o", f"ControlPersist={STAYS}"]
        words = [*self._ssh(), *self._master(control)]
        command = shlex.join(words)
        why = said.splitlines()[-1] if said else "it asks for something"
        if not has_terminal():
            raise LoginNeedsPersonError(
                f"{self.host} asks for what only a person can give ({why}), and there is no "
                f"terminal here. Log in by hand, in any terminal of this machine:\n    {command}",
                command,
            )
        missing = LoginNeedsPersonError(
            f"nobody has logged in to {self.host} yet; answer when this is asked on the terminal, "
            f"or log in by hand:\n    {command}",
            command,
        )
        self.asking = missing
        try:
            async with self._shared.terminal:
                if await self._ask(shared, "check"):
                    return
                _log.warning("%s asks for a login; answer on the terminal", self.host)
                if await self._code_on_terminal(words):
                    raise missing
        finally:
            self.asking = None

    async def _code_on_terminal(self, words: list[str]) -> int:
        """Return the exit status of ssh in this session, where it can ask.

        Logged in it leaves for a session of its own.
        """
        process = await asyncio.create_subprocess_exec(*words)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(_ASK_SECONDS):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def _ask(self, control: list[str], what: str) -> bool:
        """Have a master say whether it is there, or do something; False where there is none."""
        words = [*self._ssh(), *control, "-O", what, *self._target()]
        try:
            return (await self._local.run(words, timeout=_ASK_SECONDS)).code == 0
        except TransportTimeoutError:
            return False

    def _ssh(self) -> list[str]:
        """Return ssh with what holds for each of its calls."""
        options = [
            *("RequestTTY=no", "RemoteCommand=none", "ClearAllForwardings=yes", "ForwardX11=no"),
            *("PermitLocalCommand=no", "Compression=no"),
        ]
        known = self._connecting.known_hosts
        if known is None:
            options += ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
            options += ["GlobalKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        elif known != "default":
            # Double quotes: it is a list of files that ssh reads.
            options += [f'UserKnownHostsFile="{Path(known).expanduser()}"']
            options += ["GlobalKnownHostsFile=/dev/null"]
        words = ["ssh"]
        if self._connecting.ssh_config is not None:
            words += ["-F", str(Path(self._connecting.ssh_config).expanduser())]
        return words + [word for option in options for word in ("-o", option)]

    def _master(self, control: list[str]) -> list[str]:
        """Return what makes a master that goes into the background once it has logged in."""
        alive = max(1, int(self._connecting.silence_timeout / 3.5))  # the third in vain is the end
        words = ["-o", f"ServerAliveInterval={alive}", "-o", "ServerAliveCountMax=2"]
        words += ["-o", f"ConnectTimeout={max(1, int(self._connecting.connect_timeout))}"]
        return ["-f", "-N", "-M", *control, *words, *self._target()]

    def _target(self) -> list[str]:
        port = ["-p", str(self.host.port)] if self.host.port else []
        return [*port, *(["-l", self.host.user] if self.host.user else []), self.host.name]

    def _key(self) -> str:
        """Return what logins have in common that can stand for each other."""
        words = [*self._ssh(), *self._target()]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]

    async def _explained(self, said: str, *, refused: bool) -> TransportError:
        """Return what people are told about a login that failed without asking for anything."""
        last = said.splitlines()[-1] if said else "ssh gave no reason"
        by_hand = shlex.join([*self._ssh(), *self._target()])
        if is_refusal(said):
            return await refusal(self.host, said, self._ssh(), self._target())
        if refused:
            return LoginRefusedError(
                f"{self.host} refuses the login: {last}\n  Load a key that it accepts with "
                f"ssh-add, or name it in ssh_config as IdentityFile. By hand: {by_hand}"
            )
        return TransportError(f"{self.host} cannot be reached: {last}")


def _told(done: Completed) -> str:
    """Return what ssh has said of a login.

    Where a jump host does not let us in, ssh ends with lines by which sshd seems to have dropped
    us; what counts is what was said of the jump host before.
    """
    said = done.stderr.decode(errors="replace").strip()
    if "UNKNOWN port 65535" not in said:
        return said
    lines = said.splitlines()
    return "\n".join(line for line in lines if not _PROXY_ENDED.search(line)) or said


def _directory() -> Path:
    """Return a directory of this user alone, whose path is short enough for a socket.

    Raises:
        TransportError: another user has made it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and len(runtime) < 40 and Path(runtime).is_dir():
        place = Path(runtime) / "multirun-ssh"
    else:
        place = Path("/tmp") / f"multirun-ssh-{os.getuid()}"  # noqa: S108 - it is looked at below
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise TransportError(
            f"{place} is not a directory of yours alone; remove it, or have its owner do so"
        )
    return place


def has_terminal() -> bool:
    """Whether ssh could ask a person now."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()  # else it would be stopped
    except OSError:
        return False
    finally:
        os.close(terminal)
