"""What the tests of staging share: names to be afraid of, and looking at trees."""

from __future__ import annotations

import ctypes
import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st
from multirun_core._staging.inputs import Input, check_inputs
from multirun_core._staging.names import PART
from multirun_core._staging.rundir import OnRetry, Stager
from multirun_core._staging.store import InputRecord, store_inputs

from multirun_core import FileResource

HOSTILE = [
    "with space",
    "'quote'",
    '"double"',
    "new\nline",
    "$HOME",
    ";rm -rf x",
    "*",
    "?[a-z]",
    "-rf",
    "~",
    "#",
    "back\\slash",
    "\u00fcml\u00e4ut-\u6f22\u5b57-\U0001f600",
    "not-utf8-\udcff",
    "...",
    "tab\there",
    "{name}",
    "%s",
    " ",
]

# One component of a path that may be given as a name; our own names are left out.
components = (
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=("Cs",)),
        min_size=1,
        max_size=20,
    )
    .filter(lambda text: text not in (".", "..") and len(os.fsencode(text)) <= 200)
    .filter(lambda text: not text.startswith((".multirun", "params", "results", "std")))
)


class Sweep:
    """The part of a sweep's directory that staging deals with."""

    def __init__(
        self, root: Path, *files: FileResource | str | Path, on_retry: OnRetry = "restore"
    ) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.inputs: list[Input] = check_inputs(files)
        self.records: list[InputRecord] = store_inputs(root, self.inputs)
        self.stager = Stager(root, self.records, on_retry)

    def stage(self, attempt: int = 1, params: str = '{"mass": 1}', index: int = 42) -> Path:
        self.stager.stage(index, params, attempt)
        return self.stager.directory(index)

    def begun(self, index: int = 42) -> int:
        return self.stager.begun(index)


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that is in a tree; our own temporary names are told apart by their beginning."""
    found: dict[str, tuple[object, ...]] = {}
    for place, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(place, name)
            mode = path.lstat().st_mode
            rel = str(path.relative_to(root))
            if stat.S_ISLNK(mode):
                found[rel] = ("link", str(path.readlink()))
            elif stat.S_ISDIR(mode):
                found[rel] = ("directory",)
            elif stat.S_ISREG(mode):
                found[rel] = ("file", path.read_bytes(), bool(mode & stat.S_IXUSR))
            else:
                found[rel] = ("special", stat.S_IFMT(mode))
    return found


def names_in(directory: Path) -> set[str]:
    """Return the names in a directory."""
    return {path.name for path in directory.iterdir()}


def parts_in(root: Path) -> list[str]:
    """Return what is left of unfinished copies."""
    return [rel for rel in snapshot(root) if any(p.startswith(PART) for p in rel.split("/"))]


def tree_of(root: Path, **files: str) -> Path:
    """Make a directory of files; `__` in a name stands for `/`."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def as_plain_user(work: Callable[[], None]) -> None:
    """Do something in a child process for which permissions hold, even where the tests are root."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _drop_capabilities()
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _drop_capabilities() -> None:
    """Give up all of root's privileges, see capset(2), but stay the owner of its files."""
    if os.geteuid() == 0:
        version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if ctypes.CDLL(None, use_errno=True).capset(version_3, (ctypes.c_uint32 * 6)()):
            raise OSError(ctypes.get_errno(), "capset")
