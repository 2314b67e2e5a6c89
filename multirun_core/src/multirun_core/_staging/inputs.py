"""What was given as `input_files`, checked before anything is created."""
# ruff: noqa: PTH100, PTH114, PTH115, PTH116
# Path.resolve() follows links, which must stay as they are given.

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from multirun_core._model.files import FileLinkage, FileResource
from multirun_core._staging.names import is_own
from multirun_core._staging.tree import scan
from multirun_core.errors import StagingError

_LONGEST = 255  # bytes of one name, as in most file systems


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a sweep.

    Attributes:
        name: its path in the run directory: relative, with "/".
        source: the file or directory as given, made absolute; links in it are not resolved.
        linkage: how runs see it, as in `FileResource`.
    """

    name: str
    source: Path
    linkage: FileLinkage


class _RefusedError(Exception):
    """Carries why an input is refused to where all of them are collected."""


def check_inputs(
    input_files: Iterable[FileResource | str | os.PathLike[str]] | None,
    *,
    root: Path | None = None,
    stored: Collection[str] = (),
) -> list[Input]:
    """Return the inputs in the order given; nothing is created or changed.

    Args:
        input_files: what the user gave; a plain path is a `FileResource` with defaults.
        root: the sweep's directory, which must not lie inside an input that is to be copied.
        stored: names of inputs that the sweep holds a copy of, see `stored_names`: their
            originals may be gone.

    Raises:
        StagingError: an input is missing, unreadable, no file or directory, or holds something
            that cannot be copied; or its name in the run directory is refused. Names all of them.
    """
    if input_files is None:
        return []
    if isinstance(input_files, (str, bytes, os.PathLike, FileResource)):
        raise StagingError(
            f"input_files is {input_files!r}; it must be a list, as in "
            f"input_files=[{input_files!r}]"
        )
    inputs: list[Input] = []
    problems: list[str] = []
    for position, given in enumerate(input_files):
        try:
            inputs.append(_check(given, root, stored))
        except _RefusedError as refused:
            problems.append(f"input_files[{position}] {_shown(given)}: {refused}")
    problems += _clashes(inputs)
    if problems:
        raise StagingError(
            problems[0]
            if len(problems) == 1
            else "\n  ".join([f"{len(problems)} problems with the inputs:", *problems])
        )
    return inputs


def _shown(given: object) -> str:
    path = given.path if isinstance(given, FileResource) else given
    return repr(str(path) if isinstance(path, Path) else path)


def _check(given: object, root: Path | None, stored: Collection[str]) -> Input:
    resource = _resource(given)
    name = _check_name(resource)
    _check_text("path", str(resource.path))
    source = os.path.abspath(resource.path)
    _check_source(source, resource.linkage, root, missing_is_fine=name in stored)
    return Input(name, Path(source), resource.linkage)


def _resource(given: object) -> FileResource:
    """Return what was given as a `FileResource`, built anew since its fields can be changed."""
    linkage: FileLinkage = "shared"
    rename: str | Path | None = None
    path: object = given
    if isinstance(given, FileResource):
        path, linkage, rename = given.path, given.linkage, given.rename
    if not isinstance(path, (str, os.PathLike)):
        raise _RefusedError(
            f"it is of type {type(path).__qualname__}; give a path as text or Path, or a "
            "FileResource"
        )
    if not isinstance(rename, (str, os.PathLike, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _RefusedError(f"rename is {rename!r}; it must be text or a Path")
    text = os.fspath(cast("str | os.PathLike[str]", path))
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _RefusedError("its path is of bytes; use os.fsdecode() to make it text")
    try:
        return FileResource(text, linkage, rename)
    except StagingError as error:
        raise _RefusedError(str(error)) from None


def _check_text(what: str, text: str) -> None:
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise _RefusedError(
            f"the {what} {text!r} holds a character that no file name can hold"
        ) from None
    if b"\0" in encoded:
        raise _RefusedError(
            f"the {what} {text!r} holds a NUL character, which no file name can hold"
        )


def _check_name(resource: FileResource) -> str:
    if resource.rename is None and resource.path.name in ("", ".."):
        raise _RefusedError(
            "the path ends in no name; add rename='…', the name in the run directory"
        )
    name = resource.name.as_posix()
    parts = resource.name.parts
    _check_text("name", name)
    if name == "." or resource.rename == "":
        raise _RefusedError("the name in the run directory is empty; change rename")
    if resource.name.is_absolute():
        raise _RefusedError(
            f"the name {name!r} is absolute; it must be relative to the run directory; "
            "change rename"
        )
    if ".." in parts:
        raise _RefusedError(f"the name {name!r} would leave the run directory; change rename")
    if is_own(parts[0]):
        raise _RefusedError(
            f"{parts[0]!r} in a run directory is for multirun to write; choose another name "
            "with rename='…'"
        )
    for part in parts:
        if len(os.fsencode(part)) > _LONGEST:
            raise _RefusedError(f"the name {part!r} is longer than {_LONGEST} bytes; change rename")
    return name


def _check_source(
    source: str, linkage: FileLinkage, root: Path | None, *, missing_is_fine: bool
) -> None:
    try:
        found = os.stat(source)
    except FileNotFoundError:
        if missing_is_fine and linkage != "link" and not os.path.islink(source):
            return
        if os.path.islink(source):
            raise _RefusedError(
                f"it is a link to {os.readlink(source)!r}, which does not exist"
            ) from None
        raise _RefusedError(f"there is no such file or directory; looked for {source!r}") from None
    except OSError as error:
        raise _RefusedError(f"{source!r} cannot be looked at: {error.strerror}") from None
    is_directory = stat.S_ISDIR(found.st_mode)
    if not is_directory and not stat.S_ISREG(found.st_mode):
        raise _RefusedError(
            f"{source!r} is neither a file nor a directory (a pipe, socket or device?)"
        )
    if not os.access(source, os.R_OK | (os.X_OK if is_directory else 0)):
        raise _RefusedError(f"{source!r} cannot be read by this user; change its permissions")
    if is_directory and linkage != "link":
        _check_directory(source, root)


def _check_directory(source: str, root: Path | None) -> None:
    if root is not None:
        real, home = os.path.realpath(source), os.path.realpath(root)
        if os.path.commonpath([real, home]) == real:
            raise _RefusedError(
                f"the sweep's directory {str(root)!r} lies inside it, so it cannot be copied "
                "there; choose another output_path, or linkage='link'"
            )
    try:
        scan(source)
    except StagingError as error:
        raise _RefusedError(f"it cannot be copied as a whole: {error}") from None


def _clashes(inputs: list[Input]) -> list[str]:
    problems: list[str] = []
    by_name: dict[str, Input] = {}
    for item in inputs:
        other = by_name.setdefault(item.name, item)
        if other is not item:
            problems.append(
                f"{str(other.source)!r} and {str(item.source)!r} would both be {item.name!r} in "
                "the run directory; give one of them another name with rename='…'"
            )
    for name, item in by_name.items():
        parts = name.split("/")
        for length in range(1, len(parts)):
            outer = by_name.get("/".join(parts[:length]))
            if outer is not None:
                problems.append(
                    f"{name!r} ({str(item.source)!r}) would lie inside the input {outer.name!r} "
                    f"({str(outer.source)!r}); give one of them another name with rename='…'"
                )
    return problems
