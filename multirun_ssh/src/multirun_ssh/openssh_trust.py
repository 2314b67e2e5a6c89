"""Host keys with the system's ssh: which it trusts unseen, and what is said of one it refused."""

from __future__ import annotations

import logging
import re
import shlex

from multirun_core._transport.local import LocalTransport
from multirun_core.errors import TransportTimeoutError

from multirun_ssh.errors import HostKeyError
from multirun_ssh.hosts import Host

_log = logging.getLogger("multirun.ssh")

_ASK_SECONDS = 10.0
_REFUSED = re.compile("Host key verification failed|HOST IDENTIFICATION HAS CHANGED")
_SHOWN = re.compile(rb"Server host key: (\S+ \S+)")
_LAX = re.compile(rb"^stricthostkeychecking (false|accept-new)$", re.MULTILINE)


async def trusts_unknown(ssh: list[str], target: list[str]) -> str | None:
    """Return the word by which the configuration trusts a host whose key is not known, or None.

    Args:
        ssh: ssh with its options.
        target: what stands for the host there.
    """
    found = _LAX.search(await _said([*ssh, "-G", *target]))
    return None if found is None else found[1].decode().replace("false", "no")


def warn_of_trust(host: Host, word: str) -> None:
    """Say that hosts are trusted whose keys are not known."""
    _log.warning(
        "StrictHostKeyChecking is %r in ssh's configuration for %s: hosts whose keys are not known "
        "are trusted, so whoever answers in the place of one can read and change what is sent",
        word,
        host,
    )


def is_refusal(said: str) -> bool:
    """Whether ssh has refused a host for its key."""
    return _REFUSED.search(said) is not None


async def refusal(host: Host, said: str, ssh: list[str], target: list[str]) -> HostKeyError:
    """Return the error that tells people about a host key that ssh has refused.

    Args:
        host: the host.
        said: what ssh said; the fingerprint is in it only where another key is known.
        ssh: ssh with its options.
        target: what stands for the host there.
    """
    shown = "" if "SHA256:" in said else await _shown(ssh, target)
    indented = "\n".join(f"    {line}" for line in said.splitlines())
    return HostKeyError(
        f"the host key of {host} is not known, or not the one that is known, so nothing was sent "
        f"there. ssh says:\n{indented}\n{shown}"
        "  Compare the fingerprint with its administrator's; then log in once by hand:\n"
        f"    {shlex.join([*ssh, *target])}"
    )


async def _shown(ssh: list[str], target: list[str]) -> str:
    """Return a line with the key that a host shows, "" where it shows none."""
    alone = ["-v", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    found = _SHOWN.findall(await _said([*ssh, *alone, *target, "true"]))
    # The last one: before it come those of jump hosts.
    return f"  it shows: {found[-1].decode(errors='replace')}\n" if found else ""


async def _said(words: list[str]) -> bytes:
    try:
        done = await LocalTransport().run(words, timeout=_ASK_SECONDS)
    except TransportTimeoutError:
        return b""
    return done.stdout + done.stderr
