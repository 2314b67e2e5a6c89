"""Opening a sweep for work: claim its directory, read what was done, see what is left.

The same way whether the sweep is new, was killed at any point of its beginning, or is resumed:
each step finds out what of it is there already.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from multirun_core._model import params
from multirun_core._model.run import Run
from multirun_core._staging.inputs import Input
from multirun_core._staging.room import check_room
from multirun_core._staging.store import InputRecord, changes, store_inputs
from multirun_core._sweep import segment
from multirun_core._sweep.call import Call
from multirun_core._sweep.history import History
from multirun_core._sweep.layout import FORMAT, JOURNAL, MANIFEST
from multirun_core._sweep.manifest import Manifest, origin
from multirun_core._transport.process import ProcessId
from multirun_core.errors import (
    SweepChangedError,
    SweepError,
    SweepExistsError,
    SweepLockedError,
    UsageError,
)

_GUARDIAN_SECONDS = 20.0


class Matcher:
    """Finds the run that parameters belong to; equal ones are told apart by their order."""

    def __init__(self, runs: list[Run]) -> None:
        """Match with the runs that the journal has."""
        self._known: dict[tuple[bytes, int], Run] = {}
        self._seen: Counter[bytes] = Counter()
        for run in runs:
            self._known[self._next(run.params_json)] = run
        self._seen.clear()

    def __call__(self, params_json: str) -> Run | None:
        """Return the run of these parameters, each time the next one; None where it is new."""
        return self._known.get(self._next(params_json)) if self._known else None

    def _next(self, params_json: str) -> tuple[bytes, int]:
        digest = params.identity(params_json)
        self._seen[digest] += 1
        return digest, self._seen[digest]


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


def open_sweep(call: Call) -> Opened:
    """Claim the sweep's directory and find out what is left to do.

    Raises:
        SweepExistsError: the directory holds something, and `resume` was not asked for.
        SweepLockedError: another driver holds it.
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
        with _renewed(segment.path_of(journal, number)):
            return _look(call, number)
    except BaseException:
        give_up(call.root, number)
        raise


def give_up(root: Path, number: int, why: str = "refused") -> None:
    """Let go of a sweep that was claimed, without having driven it."""
    path = segment.path_of(root / JOURNAL, number)
    with contextlib.suppress(OSError), path.open("ab") as file:
        file.write(segment.encode({"event": "close", "time": time.time(), "why": why}))
    segment.let_go(path)


@contextlib.contextmanager
def _renewed(path: Path) -> Generator[None, None, None]:
    """Renew the lease meanwhile: hashing and copying large inputs takes long."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(segment.RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=renew, name="multirun-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
    _select(call, opened)
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


def claim(journal: Path, *, take_over: bool) -> int:
    """Create the next segment, unless its last writer may still write; return its number.

    Raises:
        SweepLockedError: another driver holds the sweep.
    """
    # Before the look at the last writer: another driver that begins after it takes this number.
    number = max(segment.numbers(journal), default=0) + 1
    writer = segment.last_writer(journal)
    alive = False if writer is None else writer.alive
    if writer is not None and alive is not False and not take_over:
        known = (
            "is working on this sweep"
            if alive
            else f"may be working on this sweep: it was heard of {writer.silent:.0f} s ago"
        )
        raise SweepLockedError(
            f"{journal.parent}: {writer.process} {known}. Wait until it has ended, or end it "
            "with multirun cancel; if you are sure that it must not go on, take the sweep over "
            "with take_over=True (--take-over)"
        )
    segment.create(
        journal,
        number,
        {
            "event": "driver",
            "time": time.time(),
            "format": FORMAT,
            "process": ProcessId.own().to_json(),
        },
    )
    return number


def _look(call: Call, number: int) -> Opened:
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
    manifest, inputs, notes = _settle(call, old)
    opened = Opened(
        number=number,
        history=history,
        manifest=manifest,
        inputs=inputs,
        match=Matcher(history.runs),
        notes=notes,
    )
    _select(call, opened)
    return opened


def await_guardians(history: History, *, end_them: bool) -> None:
    """Wait until the processes of earlier drivers' runs are gone: two may not share a directory.

    Raises:
        SweepLockedError: they do not go.
    """
    deadline = time.monotonic() + _GUARDIAN_SECONDS
    own = ProcessId.own()  # where it holds runs itself, it has ended them with their driver
    for guardian in history.guardians:
        if guardian == own:
            continue
        if end_them and guardian.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(guardian.pid, signal.SIGTERM)
                os.kill(guardian.pid, signal.SIGCONT)  # one that is suspended would not hear it
        while guardian.alive():
            if time.monotonic() > deadline:
                raise SweepLockedError(
                    f"the last driver is gone, but {guardian} has been ending its runs for "
                    f"{_GUARDIAN_SECONDS:.0f} s; try again, or end that process yourself"
                )
            time.sleep(0.02)


def _settle(call: Call, old: Manifest | None) -> tuple[Manifest, list[InputRecord], list[str]]:
    """Compare the call with what the sweep was; store the inputs; write `multirun.json`."""
    inputs, notes = _compare(call, old)
    notes += check_room(call.root, inputs, len(call.runs or ()))
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


def _select(call: Call, opened: Opened) -> None:
    """Match the call's runs with the journal's by their parameters, and choose what to execute."""
    runs = opened.history.runs
    if call.runs is None:
        if not opened.history.complete:
            raise SweepError(
                f"{call.root}: its driver died before all runs were written down; "
                "call the script or command that began it again, with resume"
            )
        asked = list(runs)
    else:
        asked = [_run_of(text, opened) for text in call.runs]
    opened.asked = asked
    last = len(runs) + len(opened.new) - 1
    if isinstance(call.rerun, frozenset) and (
        wrong := sorted(index for index in call.rerun if not 0 <= index <= last)
    ):
        raise UsageError(f"rerun asks for run {wrong[0]}; there are the runs 0 to {last}")
    for run in asked:
        if _wanted(call, run):
            if run.status == "success":
                opened.again.append(run)
            opened.todo.append(run)
    strange = [
        run
        for run in opened.todo
        if run.handle is not None and not call.runner.can_reattach and not run.done
    ]
    if strange:
        opened.notes.append(
            f"{len(strange)} run(s) were handed to another runner, such as run {strange[0].index} "
            f"({strange[0].handle}), and may be alive there; they are executed anew here"
        )
    chosen = {id(run) for run in opened.todo}
    opened.excluded = [
        run
        for run in (*runs, *opened.new)
        if id(run) not in chosen and run.status in ("pending", "running")
    ]
    absent = len(runs) - sum(1 for run in asked if run.index is not None and run.index < len(runs))
    if absent:
        opened.notes.append(
            f"{absent} run(s) of this sweep are not among those given now; they stay as they are"
        )
    runs += opened.new


def _run_of(text: str, opened: Opened) -> Run:
    run = opened.match(text)
    if run is None:
        run = Run(index=len(opened.history.runs) + len(opened.new), params=text)
        opened.new.append(run)
    return run


def _wanted(call: Call, run: Run) -> bool:
    if call.rerun is None:
        return run.status != "success"
    if call.rerun == "failed":
        return run.status == "failure"
    return call.rerun == "all" or run.index in call.rerun
