"""Put a run directory in order for an attempt, and tell what attempts it gives evidence of."""
# ruff: noqa: PTH100, PTH102, PTH108
# Every run is staged, and pathlib would take longer than the system calls.

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from multirun_core._model.run import STDERR, STDOUT
from multirun_core._staging.evidence import attempts_seen
from multirun_core._staging.files import (
    changed_since,
    content,
    is_directory,
    link_target,
    move_below,
    names_in,
    open_up,
    own_directory,
    remove,
    remove_parts,
    write,
    write_whole,
)
from multirun_core._staging.names import (
    ATTEMPT,
    ATTEMPTS,
    CLEARING,
    PARAMS,
    PART,
    PRIVATE,
    RUNS,
    left_by_us,
)
from multirun_core._staging.orders import drop_order
from multirun_core._staging.placed import PlacedInputs
from multirun_core._staging.store import InputRecord
from multirun_core._transport.wrapper import ORDER
from multirun_core.errors import StagingError

OnRetry: TypeAlias = Literal["restore", "keep"]

_ROUNDS = 3  # a file that is renamed while a directory is read may be missed once


class Stager:
    """Stages the runs of one sweep.

    Every step of it may be the last before the driver is killed: calling `stage` again completes
    what was begun. Copies and rewritten files are made aside and renamed, so what has its final
    name is whole; only the `params.json` of a first attempt can be half there.

    Attributes:
        heavy: whether staging copies data, so that it should not be done on the event loop.
    """

    def __init__(
        self,
        root: Path,
        records: Sequence[InputRecord],
        on_retry: OnRetry = "restore",
        checkpoints: Sequence[str] = (),
    ) -> None:
        """Prepare for staging.

        Args:
            root: the sweep's directory.
            records: what `store_inputs` returned.
            on_retry: what becomes of other files that an earlier attempt left: "restore" moves
                them away too, "keep" leaves them.
            checkpoints: names at the top of a run directory that are left in either case.
        """
        self._root = os.path.abspath(root)
        self._runs = f"{self._root}/{RUNS}"
        self._keep = on_retry == "keep"
        self._checkpoints = frozenset(checkpoints)
        self._inputs = PlacedInputs(self._root, records)
        self.heavy = bool(self._inputs.copies)

    def directory(self, index: int) -> Path:
        """Return the directory of a run."""
        return Path(self._directory(index))

    def _directory(self, index: int) -> str:
        return f"{self._runs}/{index:06d}"

    def stage(self, index: int, params_json: str, attempt: int) -> None:
        """Put the directory of a run in order for an attempt.

        Results, output and exit records of earlier attempts move to `.multirun/attempts/K/`, K
        being `attempt` - 1, and so do all other files they left, unless they are to be kept.
        Inputs and `params.json` are put back as they were at first; changed ones move as well.

        Args:
            index: the number of the run.
            params_json: its parameters.
            attempt: which attempt is to be executed next, from 1.

        Raises:
            StagingError: an input that is linked to is gone, or the run directory is no directory.
            OSError: there is no room, or something cannot be written or read.
        """
        self._inputs.check_there()
        directory, params = self._directory(index), params_json.encode()
        fresh = self._make(directory) and attempt == 1
        if not fresh:
            self._put_back(directory, params, attempt)
        self._inputs.put(directory)
        if fresh:
            fd = os.open(f"{directory}/{PARAMS}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                write(fd, params)
            finally:
                os.close(fd)
        elif content(f"{directory}/{PARAMS}") != params:
            write_whole(directory, PARAMS, params)

    def _make(self, directory: str) -> bool:
        """Make a run directory; False where there is one already."""
        try:
            os.mkdir(directory)
        except FileExistsError:
            return False
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(self._runs)
            os.mkdir(directory)
        return True

    def _put_back(self, directory: str, params: bytes, attempt: int) -> None:
        """Take everything out of a directory that does not belong in it before `attempt`."""
        if not is_directory(directory):
            raise StagingError(
                f"{directory!r} is not a directory, so the run cannot be staged there; "
                "move it away and resume the sweep"
            )
        self._give_back(directory)
        remove_parts(directory)
        private = f"{directory}/{PRIVATE}"
        if is_directory(private):
            remove_parts(private)
        expected = params if attempt > 1 else None
        changed = [
            rel
            for rel, path in self._walk(directory)
            if rel in self._inputs.copies and not self._inputs.is_whole(rel, path)
        ]
        if (
            attempt > 1
            or changed
            or os.path.lexists(f"{private}/{ATTEMPT}")
            or self._leftovers(directory, expected)
        ):
            self._clear(directory, changed, expected, attempt)

    def _give_back(self, directory: str) -> None:
        """Give back the permissions on our directories that a program may have taken away."""
        real = {""}  # those that no link leads to: what is outside is none of our business
        open_up(directory)
        for rel in (*self._inputs.parents, PRIVATE, f"{PRIVATE}/{ATTEMPTS}"):
            if rel.rpartition("/")[0] in real and is_directory(f"{directory}/{rel}"):
                real.add(rel)
                open_up(f"{directory}/{rel}")

    def _clear(
        self, directory: str, changed: list[str], params: bytes | None, attempt: int
    ) -> None:
        """Move away what earlier attempts left, `changed` copies of inputs included.

        The number of the attempt is written first: from then on, what a process left over from an
        earlier attempt posts goes elsewhere. The marker tells that what is still there is older.
        """
        private = own_directory(f"{directory}/{PRIVATE}")
        with suppress(FileExistsError):
            os.mkdir(f"{private}/{CLEARING}{attempt}")
        write_whole(private, ATTEMPT, b"%d\n" % attempt)
        for _ in range(_ROUNDS):
            leftovers = changed + self._leftovers(directory, params)
            if not leftovers:
                break
            home = own_directory(own_directory(f"{private}/{ATTEMPTS}") + f"/{attempt - 1}")
            for rel in leftovers:
                move_below(directory, rel, home)
            changed = []
        for name in names_in(private):
            if name.startswith(CLEARING):
                remove(f"{private}/{name}")

    def _leftovers(self, directory: str, params: bytes | None) -> list[str]:
        """Return what has to go, other than copies of inputs.

        Args:
            directory: the run directory.
            params: what `params.json` holds; None before a first attempt, when it may be half
                there.
        """
        return [rel for rel, path in self._walk(directory) if not self._may_stay(rel, path, params)]

    def _may_stay(self, rel: str, path: str, params: bytes | None) -> bool:
        if rel == PARAMS:
            found = content(path)
            return found is not None and (params is None or found == params)
        if rel in self._inputs.copies:
            return True
        if rel in self._inputs.links:
            return link_target(path) == self._inputs.links[rel]
        if rel == ORDER:
            return params is None
        if rel in self._inputs.parents or rel.startswith(PRIVATE) or left_by_us(rel):
            return False
        return self._keep or rel.partition("/")[0] in self._checkpoints

    def begun(self, index: int) -> int:
        """Return how many attempts of a run its directory gives evidence of.

        0 where the directory does not exist, or was staged, whole or in part, and nothing more.

        Raises:
            OSError: the directory cannot be read.
        """
        directory = self._directory(index)
        if not is_directory(directory):
            return 0
        self._give_back(directory)
        attempts = attempts_seen(f"{directory}/{PRIVATE}")
        if attempts.clearing is not None:
            # What is there is from before the attempt that was being prepared.
            return max(attempts.clearing - 1, attempts.moved)
        executed = any(
            self._is_trace(rel, path, attempts.since) for rel, path in self._walk(directory)
        )
        return max(attempts.present if executed else attempts.present - 1, attempts.moved)

    def _is_trace(self, rel: str, path: str, since: int | None) -> bool:
        """Whether something shows that the present attempt was executed."""
        if rel in (PARAMS, ORDER):
            return False
        target = link_target(path)
        if target is not None and self._inputs.made(rel, target):
            return False
        if rel in self._inputs.copies:
            return not self._inputs.looks_whole(rel, path)
        if since is None or left_by_us(rel) or rel in self._inputs.links or rel.startswith(PRIVATE):
            return True
        return changed_since(path, since)  # otherwise it was kept

    def _walk(self, directory: str) -> Iterator[tuple[str, str]]:
        """Yield what is in a run directory, as relative and whole paths.

        Looked into are the directories that we make ourselves. Left out is what we write there.
        """
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            for name in names_in(f"{directory}/{prefix}"):
                rel = prefix + name
                path = f"{directory}/{rel}"
                if prefix == f"{PRIVATE}/":
                    if name in (ATTEMPT, ATTEMPTS) or name.startswith((PART, CLEARING)):
                        continue
                elif not prefix and name.startswith(PART):
                    continue
                elif (rel in self._inputs.parents or rel == PRIVATE) and is_directory(path):
                    waiting.append(f"{rel}/")
                    continue
                yield rel, path


def tidy(cwd: str | Path) -> None:
    """Remove what an attempt that has ended needs no longer: empty output files, its order."""
    for name in (STDOUT, STDERR):
        path = f"{cwd}/{name}"
        with suppress(FileNotFoundError):
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and not found.st_size:
                os.unlink(path)
    drop_order(cwd)
