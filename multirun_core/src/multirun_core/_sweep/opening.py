"""Opening a sweep for work: claim its directory, read what was done, see what is left.

The same way whether the sweep is new, was killed at any point of its beginning, or is resumed:
each step finds out what of it is there already.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from multirun_core._model.run import Run
from multirun_core._staging.changes import changes
from multirun_core._staging.inputs import Input
from multirun_core._staging.room import check_room
from multirun_core._staging.store import InputRecord, store_inputs
from multirun_core._sweep import segment
from multirun_core._sweep.call import Call
from multirun_core._sweep.claiming import await_guardians, claim, give_up, renewed
from multirun_core._sweep.history import History
from multirun_core._sweep.layout import JOURNAL, MANIFEST
from multirun_core._sweep.manifest import Manifest, origin
from multirun_core._sweep.selection import Matcher, select
from multirun_core._sweep.sent import check_none_sent
from multirun_core._threads import checkpoint
from multirun_core.errors import (
    SweepChangedError,
    SweepError,
    SweepExistsError,
)


@dataclass(slots=True, kw_only=True)
class Opened:
    """A sweep that this process has claimed.

    Attributes:
        number: the number of its own segment of the journal.
        history: what earlier drivers have written.
        manifest: what the sweep is.
        inputs: its inputs, stored.
        match: finds the run of further parameters; None where they are new.
        asked: the runs that the call asks for, whether they are to be executed or not.
        todo: the runs to execute, in order.
        new: runs that are not in the journal yet; all of them are in `todo`.
        again: runs that had succeeded and are to be executed again.
        excluded: runs that have not ended and are not to be executed now.
        notes: lines for people.
    """

    number: int
    history: History
    manifest: Manifest
    inputs: list[InputRecord]
    match: Matcher
    asked: list[Run] = field(default_factory=list[Run])
    todo: list[Run] = field(default_factory=list[Run])
    new: list[Run] = field(default_factory=list[Run])
    again: list[Run] = field(default_factory=list[Run])
    excluded: list[Run] = field(default_factory=list[Run])
    notes: list[str] = field(default_factory=list[str])


def open_sweep(call: Call, say: Callable[[str], object]) -> Opened:
    """Claim the sweep's directory and find out what is left to do.

    Args:
        call: what the sweep is to do.
        say: is told what cannot wait until it is open.

    Raises:
        SweepExistsError: the directory holds something, and `resume` was not asked for.
        SweepLockedError: another driver holds it, or is to, by way of another runner.
        SweepChangedError: command or inputs differ, and that was not accepted.
        OSError: the directory cannot be written.
    """
    if call.unnamed:
        call.root = _new_root(call.root)
    _check_root(call)
    journal = call.root / JOURNAL
    journal.mkdir(parents=True, exist_ok=True)
    number = claim(journal, take_over=call.take_over)
    try:
        with renewed(segment.path_of(journal, number)):
            opened = _look(call, number, say)
            checkpoint()
    except BaseException:
        give_up(call.root, number)
        raise
    return opened


def preview(call: Call) -> Opened | None:
    """Tell what `open_sweep` would find, None for a new sweep; nothing is created or changed.

    Raises:
        SweepError: as `open_sweep`.
    """
    _check_root(call)
    if not segment.numbers(call.root / JOURNAL) or not (call.root / MANIFEST).exists():
        return None
    history, old = History.read(call.root), Manifest.read(call.root)
    _, notes = _compare(call, old)
    opened = Opened(
        number=0,
        history=history,
        manifest=old,
        inputs=[],
        match=Matcher(history.runs),
        notes=notes,
    )
    select(call, opened)
    return opened


def _new_root(wanted: Path) -> Path:
    """Make a directory that nobody else has, under that name or one with a number."""
    root, number = wanted, 1
    while True:
        try:
            root.mkdir()
        except FileExistsError:
            number += 1
            root = wanted.with_name(f"{wanted.name}-{number}")
        else:
            return root


def _check_root(call: Call) -> None:
    try:
        names = os.listdir(call.root)  # noqa: PTH208 - names are all that is wanted
    except FileNotFoundError:
        if call.root.is_symlink():
            raise SweepExistsError(
                f"{call.root} is a link to {os.readlink(call.root)!r}, which does not exist; "  # noqa: PTH115 - as it is written
                "make that directory, or choose another output_path"
            ) from None
        return
    except NotADirectoryError:
        raise SweepExistsError(f"{call.root} is a file; choose another output_path") from None
    begun = bool(segment.numbers(call.root / JOURNAL))
    if begun and not call.resume:
        raise SweepExistsError(
            f"{call.root} holds a sweep already. Choose another output_path, or carry on with "
            "that sweep by resume=True (on the command line: --resume, or multirun resume DIR)"
        )
    foreign = [name for name in names if name != JOURNAL or not _is_bare(call.root / JOURNAL)]
    if foreign and not begun:
        raise SweepExistsError(
            f"{call.root} is not empty (it holds {foreign[0]!r}) and no sweep was begun there; "
            "choose a new output_path"
        )


def _is_bare(journal: Path) -> bool:
    """Whether a journal is as a driver leaves it that was killed before its first line."""
    return journal.is_dir() and all(path.name.endswith(".tmp") for path in journal.iterdir())


def _look(call: Call, number: int, say: Callable[[str], object]) -> Opened:
    for leftover in call.root.glob(f".{MANIFEST}.*"):
        leftover.unlink(missing_ok=True)
    history = History.read(call.root, below=number) if number > 1 else History()
    await_guardians(history, end_them=call.take_over)
    began_before = (call.root / MANIFEST).exists()
    if not began_before and history.runs:
        raise SweepError(
            f"{call.root} has a journal but no {MANIFEST}: somebody has removed it, or begun to "
            "remove the sweep; multirun clean DIR removes what is left"
        )
    if not began_before and (call.cmd is None or call.runs is None):
        raise SweepError(
            f"{call.root}: its driver died before anything was written down; "
            "call the script or command that began it again"
        )
    old = Manifest.read(call.root) if began_before else None
    if call.ends_only and old is not None:
        manifest, inputs, notes = old, _known(old), list[str]()
    else:
        manifest, inputs, notes = _settle(call, old, say)
    opened = Opened(
        number=number,
        history=history,
        manifest=manifest,
        inputs=inputs,
        match=Matcher(history.runs),
        notes=notes,
    )
    select(call, opened)
    return opened


def _settle(
    call: Call, old: Manifest | None, say: Callable[[str], object]
) -> tuple[Manifest, list[InputRecord], list[str]]:
    """Compare the call with what the sweep was; store the inputs; write `multirun.json`."""
    inputs, notes = _compare(call, old)
    if old is not None and old.runner.get("name") != call.runner_record.get("name"):
        check_none_sent(call.root)  # once another runner is written down, nobody finds them
    count = len(call.runs or ())
    if call.keep != "all":
        count = min(count, call.runner.ahead)  # hardly more directories are there at once
    for shortage in check_room(call.root, inputs, count):
        say(shortage)  # it may be felt while the inputs are stored
    records = store_inputs(call.root, inputs, _known(old))
    manifest = Manifest(
        cmd=call.cmd or (old.cmd if old is not None else []),
        inputs=[record.to_json() for record in records],
        runner=call.runner_record,
        limits=call.limits_record,
        env_names=sorted(call.policy.env),
        origin=old.origin if old is not None else origin(),
    )
    if old is None or manifest.to_json() != old.to_json():
        manifest.write(call.root)
    return manifest, records, notes


def _known(old: Manifest | None) -> list[InputRecord]:
    return [] if old is None else [InputRecord.from_json(one) for one in old.inputs]


def _compare(call: Call, old: Manifest | None) -> tuple[list[Input], list[str]]:
    """Return the inputs of the call, and how it differs from what the sweep was.

    Raises:
        SweepChangedError: it does, and that was not accepted.
    """
    known = _known(old)
    if call.inputs is None:
        inputs = [Input(r.name, Path(r.path), r.linkage) for r in known]
    else:
        inputs = call.inputs
    differences: list[str] = []
    notes: list[str] = []
    if old is not None:
        if call.cmd is not None and call.cmd != old.cmd:
            differences.append(f"the command was {old.cmd} and now is {call.cmd}")
        changed, gone = changes(inputs, known)
        differences += changed
        notes += gone
    if differences and not call.accept_changes:
        raise SweepChangedError(
            f"{call.root}: this is not the sweep that was begun: {'; '.join(differences)}. Put "
            "that back, choose another output_path, or accept the change for the runs that are "
            "still to be executed with accept_changes=True (--accept-changes)"
        )
    notes += [f"changed: {one}" for one in differences]
    return inputs, notes
