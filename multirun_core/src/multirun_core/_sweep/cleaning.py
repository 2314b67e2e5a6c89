"""Thinning a sweep that nobody works on, and removing one.

Both claim the sweep as a driver does, so that none can begin to work on it meanwhile.

A sweep is removed from the front: `multirun.json` first, so that what is left is taken for no
sweep by anything but the next call of `remove`, which knows it by its journal, removed last.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from pathlib import Path

from multirun_core._staging.files import is_directory, remove
from multirun_core._staging.names import PART, SHARED
from multirun_core._staging.thin import Keep, drops, was_thinned
from multirun_core._sweep import segment
from multirun_core._sweep.claiming import await_guardians, claim, give_up
from multirun_core._sweep.history import History
from multirun_core._sweep.keeper import Reader
from multirun_core._sweep.layout import JOBS, JOURNAL, MANIFEST, RUNS, is_own
from multirun_core._sweep.sent import check_none_sent
from multirun_core._sweep.thinning import thin_run
from multirun_core.errors import JournalError, SweepError, SweepLockedError, SweepNotFoundError

# What we write in each directory of a sweep.
_OURS = {
    JOURNAL: re.compile(r"\d{4,}\.jsonl|\..*\.tmp|cancel-.*\.json"),
    RUNS: re.compile(r"\d{6,}"),
    JOBS: re.compile(r"[0-9a-f]{12}"),
    SHARED: re.compile(r"\d+|" + re.escape(PART) + ".*"),
}


def check_cleanable(root: Path) -> None:
    """Make sure that a directory holds a sweep, or the rest of one, and that nobody works on it.

    Raises:
        SweepNotFoundError: it holds none.
        SweepLockedError: a driver is alive, or may be, or has been sent to be one.
    """
    journal = root / JOURNAL
    if not is_directory(str(journal)) or not (
        segment.numbers(journal) or (root / MANIFEST).exists() or not any(journal.iterdir())
    ):
        raise SweepNotFoundError(
            f"{root} holds no sweep: there is no {JOURNAL}/0001.jsonl in it; "
            "give the output directory of a sweep"
        )
    writer = segment.last_writer(journal)
    if writer is not None and writer.alive is not False:
        raise SweepLockedError(
            f"{root}: {writer.process} {'is' if writer.alive else 'may be'} working on this "
            "sweep; wait until it has ended, or end it with multirun cancel"
        )
    check_none_sent(root)


def check_only_ours(root: Path) -> None:
    """Make sure that a sweep's directory holds nothing that we did not write.

    What is in run directories and in copies of inputs is not looked at.

    Raises:
        SweepError: it does; names some of it.
    """
    foreign = [root / name for name in _names(root) if not is_own(name)]
    for folder, ours in _OURS.items():
        path = root / folder
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            foreign.append(path)
        elif path.exists():
            foreign += [path / name for name in _names(path) if not ours.fullmatch(name)]
    if foreign:
        told = ", ".join(repr(str(path.relative_to(root))) for path in sorted(foreign)[:3])
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise SweepError(
            f"{root} holds what is no part of a sweep: {told}{more}. Move that away, then try again"
        )


def thin_sweep(root: Path, keep: Keep) -> tuple[int, int]:
    """Thin the directories of finished runs as `keep` says.

    Returns:
        How many were thinned, and how many of all runs still have a directory as it was.

    Raises:
        SweepError: there is no sweep, somebody works on it, or its journal is damaged.
        OSError: a directory cannot be thinned; the others have been.
    """
    check_cleanable(root)
    thinned = whole = 0
    failed: OSError | None = None
    with _claimed(root) as number:
        check_none_sent(root)
        history = History.read(root, below=number)
        await_guardians(history, end_them=False)
        for run in Reader(root, [], history.runs, allow_pickle=False).runs:
            before = was_thinned(run.cwd)
            if run.result_error is None and drops(keep, run.status):
                try:
                    thin_run(run, run.status)
                except OSError as error:
                    failed = failed or error
                else:
                    thinned += not before
            else:
                whole += not before
    if failed is not None:
        raise failed
    return thinned, whole


def remove_sweep(root: Path) -> None:
    """Remove a sweep, or what is left of one, with its directory.

    Killed at any moment, it can simply be called again.

    Raises:
        SweepError: there is no sweep, somebody works on it, or something else is there too.
        OSError: something cannot be removed.
    """
    check_cleanable(root)
    check_only_ours(root)
    number = claim(root / JOURNAL, take_over=False)
    try:
        check_none_sent(root)
        with contextlib.suppress(JournalError, SweepNotFoundError):
            # Of a damaged journal nothing more can be learnt, and it is to go.
            await_guardians(History.read(root, below=number), end_them=False)
        (root / MANIFEST).unlink(missing_ok=True)
        _remove_all(root, but=JOURNAL)
        journal, own = root / JOURNAL, segment.path_of(root / JOURNAL, number)
        _remove_all(journal, but=own.name)
    except BaseException:
        give_up(root, number, "cleaned")
        raise
    segment.let_go(own)
    own.unlink()
    journal.rmdir()
    root.rmdir()


def _remove_all(path: Path, *, but: str) -> None:
    for name in _names(path):
        if name != but:
            remove(str(path / name))


@contextlib.contextmanager
def _claimed(root: Path) -> Generator[int, None, None]:
    number = claim(root / JOURNAL, take_over=False)
    try:
        yield number
    finally:
        give_up(root, number, "cleaned")


def _names(path: Path) -> list[str]:
    return os.listdir(path)  # noqa: PTH208 - names are all that is wanted
