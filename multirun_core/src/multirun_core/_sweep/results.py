"""Reading what a run has posted: `results.json` where it exists, else `results.pkl`.

See `multirun_core._inrun` for why this order never shows a stale or a torn file. `results.json`
may also come from a program in another language, so a byte order mark is taken, and so are `NaN`,
`Infinity` and `-Infinity` as values, which RFC 8259 has not, but many programs write. Of two equal
names in an object the last one counts. The text must be UTF-8.
"""

from __future__ import annotations

import json
import os
import pickle
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Never, cast

from multirun_core.errors import ResultsError

JSON_NAME, PICKLE_NAME = "results.json", "results.pkl"
PEEK_BYTES = 4096
_PEEK_DEPTH = 100  # more could make the journal's reader run out of stack


def peek(cwd: Path) -> str | None:
    """Return small JSON results on one line, to be kept in the journal; None for all others.

    None says nothing about what was posted: nothing, a pickle, a file of more than `PEEK_BYTES`,
    one that cannot be read, or one that only `load` takes. It never raises for what it finds.
    """
    try:
        data = _read(f"{cwd}/{JSON_NAME}", PEEK_BYTES + 1)
        if data is None or len(data) > PEEK_BYTES:
            return None
        value = json.loads(data.decode(), parse_constant=_refuse)
        if data.count(b"[") + data.count(b"{") > _PEEK_DEPTH and _is_deep(value, _PEEK_DEPTH):
            return None
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (OSError, ValueError, RecursionError):
        return None


def load(cwd: Path, *, allow_pickle: bool) -> Any:
    """Return what the run in directory `cwd` has posted; None where it posted nothing.

    Args:
        cwd: the run directory.
        allow_pickle: whether a pickle may be loaded, which runs whatever code it names.

    Raises:
        ResultsError: the file is no JSON, or no pickle that can be loaded here, or a pickle and
            `allow_pickle` is False, or it cannot be read.
    """
    path = cwd / JSON_NAME
    try:
        data = _read(str(path))
    except OSError as error:
        raise ResultsError(f"results in {path} cannot be read: {error}") from error
    if data is not None:
        return _load_json(path, data)
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


def _load_json(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        what = "empty" if not data.strip() else f"no JSON: {error}"
    except UnicodeDecodeError as error:
        what = f"not in UTF-8: {error}"
    except (ValueError, RecursionError) as error:
        what = f"beyond what can be read: {error}"
    raise ResultsError(
        f"results in {path} are {what}; the program may have been stopped while it wrote them "
        "(write under another name and rename)"
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
