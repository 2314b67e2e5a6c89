"""`multirun hosts check`: what each host is like, and what would fail there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from multirun_core._staging.mirror_streams import ended
from multirun_core._transport.base import Transport
from multirun_core.errors import TransportError
from multirun_core.plugins import HostReport

from multirun_ssh.hosts import Host
from multirun_ssh.runner import SSHRunner
from multirun_ssh.transport import open_pool

_PROBE_SECONDS = 60.0
_NAP_SECONDS = 10
_LEAST_INODES = 10_000
_LEAST_BYTES = 100 * 2**20
_SKEW_SECONDS = 5.0
_OLDEST_PYTHON = (3, 8)
_NUMBERS = (
    "memory_bytes",
    "memory_free_bytes",
    "disk_free_bytes",
    "inodes",
    "inodes_free",
    "cpus",
)
_HIDDEN = ("clock", "end", "missing", "not_writable", "kills", "lingers")


async def check(**options: Any) -> Sequence[HostReport]:
    """Look at the hosts that a sweep with these options would use, all at once.

    Args:
        options: those of the runner; what they say about runs is of no matter.

    Raises:
        RunnerOptionError: an option makes no sense.
    """
    runner = SSHRunner(**options)
    pool = open_pool(runner.hosts, runner.connecting)
    wanted = str(options.get("remote_path") or ""), str(options.get("python") or "python3")
    try:
        limit = runner.connecting.connect_timeout + _PROBE_SECONDS
        looking = [_look(host, one, wanted, limit) for host, one in pool.items()]
        return await asyncio.gather(*looking)
    finally:
        await asyncio.gather(*(one.close() for one in pool.values()))


async def _look(
    host: Host, transport: Transport, wanted: tuple[str, str], limit: float
) -> HostReport:
    try:
        # To be logged in first: the clock is read between two looks at ours.
        await transport.run(["true"], timeout=limit)
        before = time.time()
        script = files("multirun_ssh").joinpath("check.sh").read_bytes()
        done = await transport.run(
            ["sh", "-s", "--", *wanted], stdin=script, timeout=_PROBE_SECONDS
        )
        several = await _opens_several(transport)
    except TransportError as error:
        return HostReport(transport.name, {}, [str(error)])
    said: dict[str, list[str]] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, _, value = line.partition("\t")
        said.setdefault(name, []).append(value)
    facts = _facts(host, transport, said, before)
    problems = _problems(said, facts, wanted[1])
    if "end" not in said:
        problems.append(f"looking at it was not carried out to the end: {done.said}")
    if not several:
        problems.append("sshd opens one session at once only: MaxSessions must be 2 or more")
    return HostReport(transport.name, facts, problems, _notes(said, facts))


async def _opens_several(transport: Transport) -> bool:
    """Whether a second command can run beside one that stays, as while runs are followed."""
    staying = asyncio.create_task(transport.run(["sleep", str(_NAP_SECONDS)], timeout=None))
    try:
        await asyncio.sleep(0.2)
        await transport.run(["true"], timeout=_NAP_SECONDS / 2)
    except TransportError:
        return False
    else:
        return True
    finally:
        staying.cancel()
        await ended(staying)


def _facts(
    host: Host, transport: Transport, said: dict[str, list[str]], before: float
) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, values in said.items():
        if name not in _HIDDEN:
            facts[name] = _number(values[0]) if name in _NUMBERS else values[0]
    with contextlib.suppress(ValueError, KeyError):
        facts["load"] = float(facts["load"])
    facts["slots"] = host.slots if isinstance(host.slots, int) else facts.get("cpus")
    facts["clock_skew_seconds"] = _skew(said, before)
    facts["connected_in_seconds"] = getattr(transport, "connected_in", None)
    facts["server"] = getattr(transport, "server", None)
    facts["kills_what_a_logout_leaves"] = _kills(said)
    return facts


def _skew(said: dict[str, list[str]], before: float) -> float | None:
    """Return how far its clock, which told whole seconds, is surely off; 0 where perhaps not."""
    theirs = _number(said.get("clock", [""])[0])
    if theirs is None:
        return None
    if theirs > time.time():
        return theirs - time.time()
    return min(0.0, theirs + 1 - before)


def _kills(said: dict[str, list[str]]) -> bool:
    told = said.get("kills", ["no"])[0].split()[-1:] in (["true"], ["yes"], ["1"], ["on"])
    return told and "lingers" not in said and said.get("user") != ["root"]


def _number(text: str) -> int | None:
    with contextlib.suppress(ValueError):
        return int(text[:-1]) * 1024 if text.endswith("k") else int(text)
    return None


def _problems(said: dict[str, list[str]], facts: dict[str, Any], python: str) -> list[str]:
    problems: list[str] = []
    missing = said.get("missing", [])
    if missing:
        problems.append(
            f"these tools are missing: {', '.join(missing)}; they are of coreutils, findutils, "
            "grep, tar and util-linux, or of busybox"
        )
    if not facts.get("system", "Linux").startswith("Linux"):
        problems.append(f"it is no Linux, but {facts['system']}")
    if "not_writable" in said:
        problems.append(
            f"{said['not_writable'][0]} cannot be written to; say remote_path=DIR for another place"
        )
    free, inodes = facts.get("disk_free_bytes"), facts.get("inodes_free")
    if free is not None and free < _LEAST_BYTES:
        problems.append(f"its disk is full: {free // 2**20} MiB are left at {facts['place']}")
    # Where there are none at all, the file system makes them as it goes.
    if inodes is not None and facts.get("inodes") and inodes < 100:
        problems.append(f"its disk has {inodes} inodes left at {facts['place']}")
    if facts["kills_what_a_logout_leaves"]:
        problems.append(
            "logind ends whatever a logout leaves (KillUserProcesses), so runs would end with the "
            f"connection; enable lingering there: loginctl enable-linger {facts.get('user', '')}"
        )
    if "python" in facts and (_version(facts) or _OLDEST_PYTHON) < _OLDEST_PYTHON:
        problems.append(
            f"{python} is {facts['python_version']} there; getRunParams and postRunResults need "
            "3.8 or newer"
        )
    return problems


def _version(facts: dict[str, Any]) -> tuple[int, ...] | None:
    with contextlib.suppress(ValueError, KeyError):
        return tuple(int(part) for part in facts["python_version"].split(".")[:2])
    return None


def _notes(said: dict[str, list[str]], facts: dict[str, Any]) -> list[str]:
    notes: list[str] = []
    skew, inodes = facts["clock_skew_seconds"], facts.get("inodes_free")
    if skew is not None and abs(skew) > _SKEW_SECONDS:
        notes.append(
            f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours, and so "
            "are the times of its runs"
        )
    if "python" not in facts:
        notes.append(
            "there is no python3 on the PATH, which programs in Python need; or say python="
        )
    if inodes is not None and 100 <= inodes < _LEAST_INODES:
        notes.append(f"only {inodes} inodes are left at {facts['place']}")
    cpus, load = facts.get("cpus"), facts.get("load")
    if cpus and isinstance(load, float) and load > cpus:
        notes.append(f"others keep it busy: a load of {load:g} on {cpus} CPUs")
    return notes
