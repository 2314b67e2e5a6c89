"""Hosts that are directories of this machine, for faults that are hard to time on real ones.

Commands run here, with a home of each host's own. The link to a host can be cut: what is under way
breaks off as over a dead connection, while what it started over there goes on.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from multirun_core._transport.base import Completed, Sink, Source
from multirun_core._transport.local import LocalTransport
from multirun_core._waiting import finish
from multirun_core.errors import TransportError
from multirun_ssh.hosts import Host
from multirun_ssh.runner import SSHRunner

from multirun_ssh import station


class Pretended(LocalTransport):
    """A connection to a host that is a directory."""

    def __init__(self, name: str, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.name = name  # type: ignore[misc]
        self.home = home
        self.commands: Counter[str] = Counter()

    @property
    def cut(self) -> Path:
        """A file that exists while the link is cut."""
        return self.home.with_name(f"{self.home.name}.cut")

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - as in its base
    ) -> Completed:
        if self.cut.exists():
            raise TransportError(f"{self.name}: no route to host")
        self.commands.update(word for word in argv[2:5] if word.isalpha())
        variables = {"HOME": str(self.home), "XDG_CACHE_HOME": "", "TESTBED_HOST": self.name}
        running = asyncio.ensure_future(
            super().run(
                argv, stdin=stdin, stdout=stdout, cwd=cwd,
                env={**variables, **(env or {})}, timeout=timeout,
            )
        )  # fmt: skip
        watching = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
            if not running.done() or self._is_lost(argv):
                raise TransportError(f"{self.name}: connection lost")
            return running.result()
        finally:
            running.cancel()
            watching.cancel()
            await finish(asyncio.wait([running, watching]))

    def _is_lost(self, argv: Sequence[str]) -> bool:
        """Whether the answer of a command is lost; what `lose` has asked for happens once."""
        for verb in (word for word in argv[2:5] if word.isalpha()):
            lost = self.home.with_name(f"{self.home.name}.lose-{verb}")
            if lost.exists():
                lost.unlink()
                return True
        return False

    async def _watch(self) -> None:
        while not self.cut.exists():
            await asyncio.sleep(0.02)


class PretendedHosts(SSHRunner):
    """The runner, on hosts that are directories in `homes`."""

    def __init__(self, homes: Path, **options: Any) -> None:
        options.setdefault("hosts", ["h1:2", "h2:2"])
        super().__init__(**options)
        self.homes = homes
        self.links: dict[str, Pretended] = {}

    def transports(self, hosts: Iterable[Host]) -> Mapping[Host, Pretended]:
        made = {host: Pretended(host.name, self.homes / host.name) for host in hosts}
        self.links.update((host.name, link) for host, link in made.items())
        return made


def cut(root: Path, host: str) -> None:
    """Cut the link to a host."""
    (root / f"{host}.cut").touch()


def lose(root: Path, host: str, verb: str) -> Path:
    """Have the connection break when the next command with this verb has done its work."""
    path = root / f"{host}.lose-{verb}"
    path.touch()
    return path


def mend(root: Path, host: str) -> None:
    """Mend the link to a host."""
    (root / f"{host}.cut").unlink()


def cache(root: Path, host: str) -> Path:
    """Return where the sweeps lie on a host."""
    return root / host / ".cache" / "multirun"


def left(root: Path) -> list[str]:
    """Return what is left of sweeps on the hosts."""
    return sorted(
        f"{place}/{name}"
        for place, directories, files in os.walk(root)
        for name in directories + files
        if name not in (".cache", "multirun") and Path(place) != root
    )


def change_far_side(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Change the script that hosts are given; again, where it has been changed before."""
    given = station.luggage()
    text = given["far.sh"].decode()
    assert text.count(old) == 1
    changed = {**given, "far.sh": text.replace(old, new).encode()}
    monkeypatch.setattr(station, "luggage", lambda **_: changed)


class Unending:
    """Has a host say, for a while, that it cannot end runs, and leave them alone.

    Attributes:
        asked: how often it was asked to.
    """

    def __init__(self, root: Path, host: str, said: str) -> None:
        """Begin.

        Args:
            root: the homes of the hosts.
            host: which.
            said: "failed", or what the wrapper prints instead.
        """
        (self._wrapper,) = cache(root, host).glob("*/shared/*/wrapper.sh")
        self._kept = self._wrapper.read_text()
        self._log = root / f"{host}.asked"
        self._log.touch()
        answer = f"printf '%s\\n' {shlex.quote(said)}; exit 0"
        if said == "failed":
            answer = "echo some of its processes could not be ended >&2; exit 1"
        log = shlex.quote(str(self._log))
        self._put(f"case $1 in end) echo x >>{log}; {answer} ;; esac\n{self._kept}")

    @property
    def asked(self) -> int:
        return len(self._log.read_text().split())

    def mend(self) -> None:
        """Have it end runs again."""
        self._put(self._kept)

    def _put(self, text: str) -> None:
        """Put the wrapper in place as another file: shells are reading the old one."""
        aside = self._wrapper.with_name("aside")
        aside.write_text(text)
        aside.replace(self._wrapper)
