"""Which host keys are trusted, and what is said about one that is not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from multirun_ssh.errors import HostKeyError
from multirun_ssh.hosts import Host

GLOBAL = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
USUAL = (Path("~/.ssh/known_hosts"), Path("~/.ssh/known_hosts2"))


class KnownHosts:
    """Reads files of known hosts, each again only when it has changed."""

    def __init__(self) -> None:
        self._read: tuple[object, asyncssh.SSHKnownHosts] | None = None

    def of(self, files: Sequence[Path]) -> asyncssh.SSHKnownHosts:
        """Return what the files say together; ssh ignores files that are missing, so does this."""
        stamps: list[object] = []
        there: list[Path] = []
        for file in files:
            try:
                stat = file.stat()
            except OSError:
                continue
            there.append(file)
            stamps.append((file, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        if self._read is None or self._read[0] != stamps:
            known = asyncssh.SSHKnownHosts()
            for file in there:
                _load(known, file)
            self._read = (stamps, known)
        return self._read[1]


def _load(known: asyncssh.SSHKnownHosts, file: Path) -> None:
    """Read a file line by line: one that cannot be read is no reason to forget the others."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            known.load(line)
        except ValueError:
            continue


class Client(asyncssh.SSHClient):
    """Remembers the key that was not trusted.

    Attributes:
        refused: the key that the host showed; None where it was trusted, or none came.
    """

    def __init__(self) -> None:
        self.refused: asyncssh.SSHKey | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Trust nothing but what the files say."""
        self.refused = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Trust nothing but what the files say."""
        self.refused = key
        return False


def refusal(
    host: Host,
    where: tuple[str, int],
    key: asyncssh.SSHKey | None,
    *,
    known: bool,
    files: Sequence[Path],
    login: str,
    why: str,
) -> HostKeyError:
    """Return the error that tells people about a host key.

    Args:
        host: the host that was meant.
        where: the name or address, and the port, that the files are looked up by.
        key: what the host showed; None where it has no kind of key that is known of it.
        known: whether the files know other keys of this host.
        files: the files.
        login: the command by which a person would log in.
        why: what was found.
    """
    address, port = where
    entry = address if port == 22 else f"[{address}]:{port}"
    print_of_key = key.get_fingerprint() if key is not None else "unknown"
    kind = key.get_algorithm() if key is not None else "another kind"
    looked = ", ".join(map(str, files)) or "no file"
    if not known:
        return HostKeyError(
            f"the host key of {host} is not known, so nothing was sent there\n"
            f"  it shows:   {kind} {print_of_key}\n"
            f"  looked for: {entry} in {looked}\n"
            "  If its administrator confirms this fingerprint, log in once by hand and say yes:\n"
            f"    {login}"
        )
    remove = shlex.join(["ssh-keygen", "-R", entry, *(["-f", str(files[0])] if files else [])])
    return HostKeyError(
        f"the host key of {host} is NOT the one that is known ({why}), so nothing was sent there\n"
        f"  it shows:   {kind} {print_of_key}\n"
        f"  looked for: {entry} in {looked}\n"
        "  Either it was installed anew, or somebody else answers in its place. Ask its "
        "administrator;\n"
        "  only if this fingerprint is confirmed, forget the old key and log in by hand:\n"
        f"    {remove}\n    {login}"
    )
