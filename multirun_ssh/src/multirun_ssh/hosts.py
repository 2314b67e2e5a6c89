"""Which hosts there are: what users write, and what it means.

A host is written as in a machine file of MPI, and nearly as for ssh:

    [USER@]HOST[:NUMBER] [NAME=VALUE …]

HOST is a name that `ssh_config` knows, a name of the network or an address. NUMBER below 1024 is
how many runs may go on there at once; from 1024 on, as many as no host has, it is the port of sshd.
Either can be said by name, in words that follow: `slots=2000`, `port=443`, `user=me`. The number in
`ssh://me@gpu:443` is always a port. Addresses of IPv6 are written bare, or as in `[::1]:8`.
`node[1-3,07-12]:8` stands for several hosts that are alike, `@NAME` for a group of the hosts file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from multirun_core.errors import RunnerOptionError

FIRST_PORT = 1024
"""From here on the number behind a host's name is a port."""
MOST = 10_000  # hosts that one pattern may stand for

Slots = int | Literal["auto"]

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?(?:%[A-Za-z0-9_.-]+)?\Z")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?\Z")
_USER = re.compile(r"[^\s@:/\x00-\x1f-][^\s:/\x00-\x1f]*\Z")
_RANGE = re.compile(r"(?<=.)\[([0-9,-]+)\]")
_SECTION = re.compile(r"\[\s*([^\]\s:]+)\s*\]\Z")  # no address: that has a colon
_HOW = "write HOST, HOST:SLOTS, USER@HOST:PORT, or words such as 'HOST slots=8 port=443 user=me'"


@dataclass(frozen=True, slots=True)
class Host:
    """One host, as it was asked for.

    Attributes:
        name: what ssh is given: a name of `ssh_config` or of the network, or an address.
        user: the login there; None for what `ssh_config` says, or the name of the user here.
        port: where sshd listens; None for what `ssh_config` says, or 22.
        slots: how many runs may go on there at once; "auto" for as many as it has CPUs; None for
            what the runner's option `slots` says.
    """

    name: str
    user: str | None = None
    port: int | None = None
    slots: Slots | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        if self.port is None:
            return f"{user}{self.name}"
        name = f"[{self.name}]" if ":" in self.name else self.name
        scheme = "ssh://" if self.port < FIRST_PORT else ""  # else it would read as slots
        return f"{scheme}{user}{name}:{self.port}"


Given = str | Mapping[str, Any]
"""One host, a pattern or a group, as text or as `{"host": …, "slots": …}`."""


def find_hosts(
    given: str | Iterable[Given] = (), hosts_file: Path | str | None = None
) -> list[Host]:
    """Return the hosts that are meant, each once, in the order in which they were given.

    Args:
        given: hosts, as this module's docstring says; one text may hold several with commas
            between. None at all stands for all hosts of the file.
        hosts_file: a file with a host a line, `#` for comments, and `[NAME]` before the hosts of
            a group.

    Raises:
        RunnerOptionError: something is no host, is there twice, or there is no host at all.
    """
    groups = read_hosts_file(Path(hosts_file)) if hosts_file is not None else None
    items: list[Given] = _split(given) if isinstance(given, str) else list(given)
    found: list[Host] = []
    for item in items:
        if isinstance(item, str) and item.strip().startswith("@"):
            found += [one for one in _group(item.strip()[1:], groups) if one not in found]
        else:
            found += parse_host(item)
    if not items and groups is not None:
        found = list(dict.fromkeys(host for hosts in groups.values() for host in hosts))
    if not found:
        raise RunnerOptionError(
            "no hosts were given: say which, as in hosts=node1,node2:8, or hosts_file=FILE"
        )
    _refuse_twins(found)
    return found


def read_hosts_file(path: Path) -> dict[str, list[Host]]:
    """Return the hosts of a file by group; those before the first group are in the group "".

    Raises:
        RunnerOptionError: it cannot be read, or a line is no host; names the line.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunnerOptionError(f"hosts_file {str(path)!r} cannot be read: {error}") from error
    groups: dict[str, list[Host]] = {"": []}
    group = ""
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        section = _SECTION.match(text)
        if section:
            group = section[1]
            groups.setdefault(group, [])
        elif text:
            try:
                groups[group] += parse_host(text)
            except RunnerOptionError as error:
                raise RunnerOptionError(f"{path}, line {number}: {error}") from None
    return groups


def parse_host(given: Given) -> list[Host]:
    """Return the hosts that a text or a mapping stands for: one, or several by a pattern.

    Raises:
        RunnerOptionError: it is none.
    """
    if not isinstance(given, str):
        return _from_mapping(given)
    words = given.split()
    if not words:
        raise RunnerOptionError(f"{given!r} is no host; {_HOW}")
    host = _from_url(words[0], given) or _from_word(words[0], given)
    for word in words[1:]:
        name, separator, value = word.partition("=")
        if not separator:
            raise _no_host(given, f"{word!r} is no NAME=VALUE")
        host = _with(host, name, value, given)
    return [replace(host, name=_checked(name, given)) for name in _expand(host.name, given)]


def _from_mapping(given: Mapping[str, Any]) -> list[Host]:
    rest = dict(given)
    text = rest.pop("host", None)
    if not isinstance(text, str):
        raise RunnerOptionError(f"{dict(given)!r} is no host: it must have a text as 'host'")
    hosts = parse_host(text)
    for name, value in rest.items():
        hosts = [_with(host, name, value, text) for host in hosts]
    return hosts


def _from_url(word: str, given: str) -> Host | None:
    scheme, separator, rest = word.partition("://")
    if not separator:
        return None
    if scheme != "ssh":
        raise _no_host(given, f"{scheme}:// is not ssh://")
    user, rest = _split_user(rest.rstrip("/"), given)
    name, number = _split_number(rest)
    host = Host(name, user)
    return host if number is None else _with(host, "port", number, given)


def _from_word(word: str, given: str) -> Host:
    user, rest = _split_user(word, given)
    name, number = _split_number(rest)
    host = Host(name, user)
    if number is None:
        return host
    what = "port" if number.isdecimal() and int(number) >= FIRST_PORT else "slots"
    return _with(host, what, number, given)


def _split_user(word: str, given: str) -> tuple[str | None, str]:
    user, separator, rest = word.rpartition("@")
    if separator and not _USER.match(user):
        raise _no_host(given, f"{user!r} is no name of a user")
    return (user if separator else None), rest


def _split_number(rest: str) -> tuple[str, str | None]:
    """Split the number off; an address of IPv6 has colons of its own, and brackets before one."""
    if rest.startswith("["):
        address, separator, number = rest[1:].partition("]")
        if separator and (not number or number.startswith(":")):
            return address, number[1:] if number else None
        return rest, None
    if rest.count(":") > 1:
        return rest, None
    name, separator, number = rest.partition(":")
    return name, number if separator else None


def _with(host: Host, name: str, value: Any, given: str) -> Host:
    if name == "user" and isinstance(value, str) and _USER.match(value):
        return replace(host, user=value)
    if name == "slots" and value == "auto":
        return replace(host, slots="auto")
    text = str(value)
    whole = text.isascii() and text.isdecimal() and not isinstance(value, bool)
    if name == "slots" and whole and 0 < int(text) <= 1_000_000:
        return replace(host, slots=int(text))
    if name == "port" and whole and 0 < int(text) < 65536:
        return replace(host, port=int(text))
    if name not in ("user", "slots", "port"):
        raise _no_host(given, f"a host has no {name!r}, but user, port and slots")
    kind = {"user": "a name", "slots": "a number from 1 on, nor 'auto'", "port": "a port"}[name]
    raise _no_host(given, f"{name} {value!r} is not {kind}")


def _expand(name: str, given: str) -> Iterator[str]:
    """Yield the names that a pattern such as node[1-3,07-12] stands for."""
    match = _RANGE.search(name)
    if match is None:
        yield name
        return
    count = 0
    for part in match[1].split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not first.isdecimal() or not last.isdecimal() or int(last) < int(first):
            raise _no_host(given, f"{part!r} is no range; write the lower number first")
        for number in range(int(first), int(last) + 1):
            count += 1
            if count > MOST:
                raise _no_host(given, f"it stands for more than {MOST} hosts")
            middle = f"{number:0{len(first)}}"
            yield from _expand(name[: match.start()] + middle + name[match.end() :], given)


def _checked(name: str, given: str) -> str:
    if not _NAME.match(name) and not _ADDRESS.match(name):
        raise _no_host(given, f"{name!r} is no name of a host")
    return name


def _group(name: str, groups: Mapping[str, Sequence[Host]] | None) -> Sequence[Host]:
    if groups is None:
        raise RunnerOptionError(f"'@{name}' is a group, but no hosts_file was given to look it up")
    if name not in groups or not name:
        there = ", ".join(f"@{one}" for one in groups if one) or "none"
        raise RunnerOptionError(f"the hosts file has no group '@{name}'; its groups: {there}")
    return groups[name]


def _split(text: str) -> list[Given]:
    """Split at commas, but for those in the brackets of a pattern."""
    parts = re.split(r",(?![^\[\]]*\])", text)
    return [part.strip() for part in parts if part.strip()]


def _refuse_twins(hosts: Iterable[Host]) -> None:
    seen: set[tuple[str, str | None, int | None]] = set()
    for host in hosts:
        key = (host.name, host.user, host.port)
        if key in seen:
            raise RunnerOptionError(
                f"the host {host} is given twice; say how many runs it may have at once as in "
                f"'{host} slots=2'"
            )
        seen.add(key)


def _no_host(given: str, why: str) -> RunnerOptionError:
    return RunnerOptionError(f"{given!r} is no host: {why}; {_HOW}")
