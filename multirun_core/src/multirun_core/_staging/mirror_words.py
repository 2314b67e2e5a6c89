"""What a mirror tells its far side: its script, and text for it; nothing here does anything."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._model.run import STDERR, STDOUT
from multirun_core._staging.mirror_pack import Content, Parcel, far_mode, look
from multirun_core._staging.names import PRIVATE, RESULTS, SHARED
from multirun_core._staging.tree import Entry, Tree
from multirun_core._transport.wrapper import ORDER

if TYPE_CHECKING:
    from multirun_core._transport.base import Completed

_LAST_SECOND = 253_402_300_799  # of the year 9999: touch(1) takes four digits


@cache
def script() -> str:
    """Return the script for the far side."""
    lines = Path(__file__).with_name("mirror.sh").read_text().splitlines()
    kept = (line for line in lines if not line.lstrip().startswith("#"))  # it is sent each time
    return "\n".join(kept)


def complaint(done: Completed) -> str:
    """Return what a command said went wrong, in one line."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    told = [line.strip() for line in lines if "previous errors" not in line]
    return "; ".join(told[-3:]) or done.said


def copies_in(path: Path) -> dict[str, tuple[int, str]]:
    """Return the files of a run directory that are as they were copied: set, and path in it."""
    try:
        return look(path).copies
    except OSError:
        return {}


def batch_text(packed: Sequence[tuple[Parcel, Content, Mapping[int, str]]]) -> str:
    """Return the shell text of what is done there when all is unpacked."""
    lines: list[str] = []
    for position, (parcel, content, keys) in enumerate(packed):
        for rel, (number, stored) in content.copies.items():
            source = shlex.quote(f"{SHARED}/{keys[number]}/{stored}")
            lines.append(f"cp -p -- {source} {shlex.quote(f'{parcel.name}/{rel}')} || exit 74\n")
        for rel, (key, seen) in content.held.items():
            place = f"{parcel.name}/{rel}"
            words = _take(f"{SHARED}/{key}", place, seen.st_mode, seen.st_mtime_ns)
            lines.append(f"{words} || exit 74\n")
        for which, target in enumerate(content.outside):
            lines.append(
                f"[ -e {shlex.quote(target)} ] || {{ echo missing {position} {which} && "
                f"rm -f {shlex.quote(f'{parcel.name}/{ORDER}')}; }}\n"
            )
    return "".join(lines) or ":\n"


def copies_text(
    tree: Tree, digests: Mapping[str, str], there: Mapping[str, str], part: str
) -> tuple[Tree, str]:
    """Find out what of a set need not be sent.

    Args:
        tree: the set, or a part of it.
        digests: those of its larger files, by their paths in it.
        there: where such files are there, by their digests.
        part: the directory in which it is made.

    Returns:
        What is sent, and the shell text by which the rest is made from that and from what is
        there. This says which of `tree` it could not make, see `lacking`.
    """
    sent: list[Entry] = []
    lines: list[str] = []
    first: dict[str, str] = {}
    for position, entry in enumerate(tree):
        told, place = digests.get(entry.rel, ""), f"{part}/{entry.rel}"
        if told in there:
            words = _take(there[told], place, entry.mode, entry.mtime_ns)
            lines.append(f"{words} {told} || lack {position}\n")
        elif told in first:  # it comes in the same stream, and nobody can have changed it
            words = _take(first[told], place, entry.mode, entry.mtime_ns)
            lines.append(f"{words} || lack {position}\n")
        else:
            sent.append(entry)
            if told:
                first[told] = place
    return tuple(sent), "".join(lines)


def lacking(said: bytes) -> list[int]:
    """Return the positions of what could not be made, as `copies_text` has it said."""
    return [int(position) for position in re.findall(rb"(?m)^lacking (\d+)$", said)]


def _take(source: str, target: str, mode: int, mtime_ns: int) -> str:
    """Return a call of a function of the script, which makes a copy with this mode and time."""
    seconds = min(max(mtime_ns // 10**9, 0), _LAST_SECOND)
    when = time.strftime("%Y%m%d%H%M.%S", time.gmtime(seconds))
    return f"take {shlex.quote(source)} {shlex.quote(target)} {far_mode(mode):o} {when}"


def missing_links(
    said: bytes, parcels: Sequence[Parcel], contents: Sequence[Content]
) -> dict[str, list[str]]:
    """Return what links of parcels lead to and is not there, as `batch_text` has it said."""
    found: dict[str, list[str]] = {}
    for position, which in re.findall(rb"(?m)^missing (\d+) (\d+)$", said):
        target = contents[int(position)].outside[int(which)]
        found.setdefault(parcels[int(position)].name, []).append(target)
    return found


def find_words(names: Iterable[str], patterns: Sequence[str] | None) -> list[str]:
    """Return what find(1) is told: what to bring of run directories."""
    words: list[str] = []
    for name in names:
        words += ["!", "-path", f"{name}/{PRIVATE}", "!", "-path", f"{name}/{PRIVATE}/*"]
    if patterns is None:
        return words
    chosen: list[str] = []
    for name in names:
        for own in (STDOUT, STDERR, *RESULTS):
            chosen += ["-o", "-path", f"{name}/{own}"]
        for pattern in patterns:
            asked = pattern.removeprefix("./").rstrip("/")
            chosen += ["-o", "-path", f"{name}/{asked}", "-o", "-path", f"{name}/{asked}/*"]
            if "/" not in asked:
                chosen += ["-o", "-name", asked, "-o", "-path", f"{name}/*/{asked}/*"]
    return [*words, "!", "-type", "d", "(", *chosen[1:], ")"]


def escaped(pattern: str) -> str:
    """Return a pattern for find(1) that stands for just this text."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", pattern)
