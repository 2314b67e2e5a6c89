"""The text of a script and its code: compiled once, for all runs that have the same text."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

_ahead: dict[bytes, CodeType] = {}


def prepare(file: bytes) -> None:
    """Compile a script before the forks; not where that gives an error or a warning, for runs."""
    known = set(sys.modules)
    import warnings

    only_here = set(sys.modules) - known
    try:
        _, text, _ = read(os.fsdecode(file))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _ahead[text] = _compiled(text, os.fsdecode(file))
    except Exception:
        return
    finally:
        for name in only_here:
            del sys.modules[name]


def read(file: str) -> tuple[str, bytes, str]:
    """Return the whole path of a script, its text, and the directory where it really is.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no source.
    """
    name = os.path.join(os.getcwd(), file)
    text = b""
    script = os.open(name, os.O_RDONLY)
    try:
        while part := os.read(script, 1 << 20):
            text += part
        real = os.readlink(f"/proc/self/fd/{script}")
    finally:
        os.close(script)
    if file.endswith(".pyc") or b"PK\5\6" in text:
        raise ValueError("compiled, or a zip archive")
    if not real.startswith("/"):  # out of sight from here, or no file
        real = os.path.realpath(name)
    return name, text, os.path.dirname(real)


def code(text: bytes, name: str) -> CodeType:
    """Return the code of a script with this text and this path; raise what `compile` does."""
    made = _ahead.get(text)
    if made is None:
        return _compiled(text, name)
    return made if made.co_filename == name else _named(made, name)


def _compiled(text: bytes, name: str) -> CodeType:
    return compile(text, name, "exec", 0, True)


def _named(made: CodeType, name: str) -> CodeType:
    """Return what would be compiled from the same text in a file of another name."""
    inner = [_named(one, name) if type(one) is type(made) else one for one in made.co_consts]
    return made.replace(co_filename=name, co_consts=tuple(inner))
