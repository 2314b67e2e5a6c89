"""How the inputs of a call differ from those that its sweep was begun with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from multirun_core._staging.content import digest_once
from multirun_core._staging.inputs import Input
from multirun_core._staging.store import InputRecord, record_link, scan_input


class Changes(NamedTuple):
    """How inputs differ from those that a sweep was begun with.

    Attributes:
        differences: what a resumed sweep must not pass over in silence, in plain words.
        warnings: originals that are gone while the sweep holds a copy, in plain words.
    """

    differences: list[str]
    warnings: list[str]


def changes(inputs: Sequence[Input], records: Sequence[InputRecord]) -> Changes:
    """Compare inputs with the records of an earlier driver.

    Raises:
        StagingError: an input cannot be read as a whole.
        OSError: it cannot be read.
    """
    changed = Changes([], [])
    before = {record.name: record for record in records}
    for item in inputs:
        record = before.pop(item.name, None)
        if record is None:
            changed.differences.append(f"input {item.name!r} was added")
        elif record.linkage != item.linkage:
            changed.differences.append(
                f"input {item.name!r} had linkage {record.linkage!r} when the sweep began, "
                f"now {item.linkage!r}"
            )
        elif item.linkage == "link":
            changed.differences.extend(_changes_of_link(item, record))
        elif not os.path.lexists(item.source):
            changed.warnings.append(
                f"input {item.name!r}: {str(item.source)!r} does not exist any more; "
                "the sweep goes on with its own copy"
            )
        else:
            changed.differences.extend(_changes_of_content(item, record))
    changed.differences.extend(f"input {name!r} was removed" for name in before)
    return changed


def _changes_of_link(item: Input, record: InputRecord) -> list[str]:
    now = record_link(item)
    if now.path != record.path:
        return [f"input {item.name!r} was a link to {record.path!r}, now to {now.path!r}"]
    if (now.kind, now.size, now.mtime_ns) == (record.kind, record.size, record.mtime_ns):
        return []
    size = f"{record.size} bytes, now {now.size}" if now.size != record.size else "time of change"
    return [f"input {item.name!r} ({now.path!r}) has changed since the sweep began ({size})"]


def _changes_of_content(item: Input, record: InputRecord) -> list[str]:
    tree = scan_input(item)
    if tree[0].kind != record.kind:
        return [
            f"input {item.name!r} was a {record.kind} when the sweep began, now a {tree[0].kind}"
        ]
    now = digest_once(tree)
    if now == record.sha256:
        return []
    return [
        f"input {item.name!r} has changed since the sweep began "
        f"(sha256 {str(record.sha256)[:12]}…, now {now[:12]}…)"
    ]
