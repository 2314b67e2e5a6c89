"""Reading what a run has posted: `results.json` where it exists, else `results.pkl`.

Where `results.json` refers to arrays, they are in `results.npz`, with a copy of the JSON that
belongs to them. See `multirun_core._inrun` for why this order never shows a stale or a torn file,
and `multirun_core._model.typed` for the values that JSON has not.

`results.json` may also come from a program in another language, so a byte order mark is taken, and
so are `NaN`, `Infinity` and `-Infinity` as values, which RFC 8259 has not, but many programs write.
Of two equal names in an object the last one counts. The text must be UTF-8. Such a program may
write a `results.npz` as well; then no copy of the JSON need be in it.
"""

from __future__ import annotations

import json
import os
import pickle
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Never, cast

from multirun_core._model.typed import JSON_MEMBER
from multirun_core._sweep.typed import MissingNumpyError, kind_of, maker, may_have_types
from multirun_core.errors import ResultsError

JSON_NAME, PICKLE_NAME, ARRAYS_NAME = "results.json", "results.pkl", "results.npz"
PEEK_BYTES = 4096
_HEADER_BYTES = 2**24  # of an array; numpy's own limit is too low for tables of many columns
_decode = json.JSONDecoder().raw_decode
_PEEK_DEPTH = 100  # more could make the journal's reader run out of stack


def peek(cwd: Path | str) -> str | None:
    """Return small JSON results on one line, to be kept in the journal; None for all others.

    None says nothing about what was posted: nothing, a pickle, a file of more than `PEEK_BYTES`,
    one that refers to arrays, one that cannot be read, or one that only `load` takes. It never
    raises for what it finds. `from_peek` makes the results of the line.
    """
    try:
        data = _read(f"{cwd}/{JSON_NAME}", PEEK_BYTES + 1)
        if data is None or len(data) > PEEK_BYTES:
            return None
        hook = _without_arrays if may_have_types(data) else None
        value = json.loads(data.decode(), parse_constant=_refuse, object_hook=hook)
        if data.count(b"[") + data.count(b"{") > _PEEK_DEPTH and _is_deep(value, _PEEK_DEPTH):
            return None
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (OSError, ValueError, RecursionError):
        return None


def from_peek(line: str) -> Any:
    """Return the results that `peek` gave a line for.

    Raises:
        ResultsError: there is a value among them that cannot be made here.
    """
    data = line.encode()
    if not may_have_types(data):
        try:
            value, end = _decode(line)
            if end == len(line):
                return value
        except (ValueError, RecursionError):
            pass  # what is wrong is said below
    return _made(data, f"the journal, {line[:80]},", {})


def load(cwd: Path, *, allow_pickle: bool) -> Any:
    """Return what the run in directory `cwd` has posted; None where it posted nothing.

    Args:
        cwd: the run directory.
        allow_pickle: whether a pickle may be loaded, which runs whatever code it names.

    Raises:
        ResultsError: the file is no JSON, or no pickle that can be loaded here, or a pickle and
            `allow_pickle` is False, or it cannot be read, or numpy is needed and not installed.
    """
    path = cwd / JSON_NAME
    try:
        data = _read(str(path))
    except OSError as error:
        raise ResultsError(f"results in {path} cannot be read: {error}") from error
    if data is not None:
        try:
            return _made(data, str(path), None)
        except _ArraysNeededError:
            return _load_arrays(data, path)
    path = cwd / PICKLE_NAME
    if not allow_pickle:
        if os.path.lexists(path):
            raise ResultsError(
                f"results in {path} are a pickle, and loading one runs whatever code it names; "
                "if you trust whoever made this sweep, open it with allow_pickle=True "
                "(on the command line --allow-pickle)"
            )
        return None
    return _load_pickle(path)


class _ArraysNeededError(Exception):
    """Raised where JSON refers to an array and there are none yet."""


def _made(data: bytes, where: str, arrays: Mapping[str, Any] | None) -> Any:
    """Return the value of JSON that may hold typed values.

    Raises:
        _ArraysNeededError: it refers to an array, and `arrays` is None.
        ResultsError: it cannot be read.
    """

    def array(name: Any) -> Any:
        if arrays is None:
            raise _ArraysNeededError
        return arrays[name]

    hook = maker(array) if may_have_types(data) else None
    try:
        return json.loads(data.decode("utf-8-sig"), object_hook=hook)
    except json.JSONDecodeError as error:
        what = "empty" if not data.strip() else f"no JSON: {error}"
    except UnicodeDecodeError as error:
        what = f"not in UTF-8: {error}"
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"results in {where} are beyond what can be read: {error}") from error
    except MissingNumpyError as error:
        raise _numpy_needed(where, error) from error
    raise ResultsError(
        f"results in {where} are {what}; the program may have been stopped while it wrote them "
        "(write under another name and rename)"
    )


def _load_arrays(data: bytes, path: Path) -> Any:
    """Return the value of JSON that refers to arrays."""
    place = path.with_name(ARRAYS_NAME)
    try:
        import numpy as np
    except ImportError as error:
        raise _numpy_needed(str(place), error) from error
    try:
        with (
            os.fdopen(_open_regular(str(place)), "rb") as file,
            np.load(file, allow_pickle=False, max_header_size=_HEADER_BYTES) as stored,
        ):
            arrays = dict(stored)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ResultsError(
            f"results in {path} refer to arrays in {ARRAYS_NAME}, which is not beside it"
        ) from error
    except Exception as error:
        raise ResultsError(
            f"results in {place} cannot be read: {type(error).__name__}: {error}"
        ) from error
    own = arrays.pop(JSON_MEMBER, None)
    if own is None:
        return _made(data, str(path), arrays)
    return _made(bytes(own), f"{place} ({JSON_MEMBER})", arrays)


def _numpy_needed(where: str, error: Exception) -> ResultsError:
    return ResultsError(
        f"results in {where} need numpy ({error}); install it with pip install numpy"
    )


def _load_pickle(path: Path) -> Any:
    try:
        file = _open_regular(str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ResultsError(f"results in {path} cannot be read: {error}") from error
    try:
        with os.fdopen(file, "rb") as stream:
            return pickle.load(stream)  # noqa: S301 - whoever opens the sweep has said yes
    except Exception as error:
        raise ResultsError(
            f"results in {path} cannot be unpickled here: {type(error).__name__}: {error}; "
            "the classes of what is posted must be importable here too, outside the script itself"
        ) from error


def _read(path: str, limit: int = -1) -> bytes | None:
    """Return the content, up to `limit` bytes; None where there is no such file."""
    try:
        descriptor = _open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


def _open_regular(path: str) -> int:
    # A named pipe of this name must not make us wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path!r} is not a regular file")
    return descriptor


def _without_arrays(value: dict[str, Any]) -> dict[str, Any]:
    if kind_of(value) in ("array", "scalar"):
        raise ValueError(value)
    return value


def _is_deep(value: Any, levels: int) -> bool:
    """Whether a value of JSON has more than so many levels of lists and objects."""
    parts: Iterable[Any]
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        parts = cast(Any, value)
    else:
        return False
    return levels == 0 or any(_is_deep(part, levels - 1) for part in parts)


def _refuse(constant: str) -> Never:
    raise ValueError(constant)
