"""Whether the disk has room for a sweep, as far as can be told beforehand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from multirun_core._model.resources import size_text
from multirun_core._staging.inputs import Input
from multirun_core._staging.store import InputRecord
from multirun_core._staging.tree import Tree, scan

_INODES = 5  # of a run: its directory, params.json, stdout, stderr, results
_BLOCKS = 3  # of a run: those of them that are hardly ever empty; each takes a block


def check_room(
    root: Path, inputs: Sequence[Input] | Sequence[InputRecord], count: int
) -> list[str]:
    """Return a warning each where free bytes or inodes may not do for `count` runs.

    What the runs' own programs write is not known and not counted. See statvfs(3).

    Args:
        root: the sweep's directory; it need not exist yet.
        inputs: the inputs, or the records of them once they are stored.
        count: how many runs are to be staged.
    """
    place = root.absolute()
    while not place.exists():
        place = place.parent
    free = os.statvfs(place)
    block = free.f_frsize or 4096
    blocks, inodes = _BLOCKS * count, _INODES * count
    for item in inputs:
        inodes += count * item.name.count("/")
        if item.linkage == "link":
            inodes += count
            continue
        tree = _tree(root, item)
        size = sum(-(-entry.size // block) for entry in tree) + sum(
            entry.kind == "directory" for entry in tree
        )
        times = (count if item.linkage == "copy" else 0) + isinstance(item, Input)
        blocks += times * size
        inodes += times * len(tree) + (0 if item.linkage == "copy" else count)
    warnings: list[str] = []
    if blocks * block > free.f_bavail * free.f_frsize:
        warnings.append(
            f"{count} runs need some {size_text(blocks * block)} on the disk of {str(root)!r}, and "
            f"{size_text(free.f_bavail * free.f_frsize)} are free; make room, or choose another "
            "output_path"
        )
    if free.f_files and inodes > free.f_favail:  # 0: there is no limit, or it is not told
        warnings.append(
            f"{count} runs need up to {inodes} inodes (files and directories) on the disk of "
            f"{str(root)!r}, and {free.f_favail} are free; remove files, or choose another "
            "output_path"
        )
    return warnings


def _tree(root: Path, item: Input | InputRecord) -> Tree:
    if isinstance(item, Input):
        return scan(str(item.source)) if os.path.lexists(item.source) else ()
    return scan(str(root / str(item.stored)), follow=False)
