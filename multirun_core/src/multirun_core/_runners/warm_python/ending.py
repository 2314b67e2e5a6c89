"""The end of a run that was forked: what the interpreter does, but for what all runs share.

When an interpreter ends, it takes all modules apart, object by object. In a fork that copies nearly
every page of memory, which takes several times as long as a short run. So a run that ends in
the plainest way, by the end of its script or `sys.exit` of a number, takes only its own modules
apart, and leaves those that were imported before the fork to the system. It ends by exit(3), so
that what C has buffered is written. All of it is done where the interpreter calls what `atexit` was
told, after everything else.

A process with an extension module that does not belong to Python may have more to do at its end
(Py_AtExit), and one whose output cannot be written has more to say. Those end in full.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from _weakref import ref

try:
    import ctypes
except ImportError:  # Python was built without
    _exit = None
else:
    _exit = ctypes.PyDLL(None).exit  # holding the lock, so that no other thread runs on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_LIBRARY = os.path.join(os.path.dirname(os.__file__), "lib-dynload", "")
_shared: set[str] = set()
_plain = False  # whether all extension modules of `_shared` are Python's own
_code: int | None = None


def prepare() -> None:
    """Be the first that `atexit` is told, and so the last that it calls."""
    if _exit is not None:
        atexit.register(_end)


def share(names: set[str]) -> None:
    """Take note of the modules that all runs have, and that are in `sys.modules`."""
    global _plain
    _shared.update(names)
    _plain = not _foreign(names)


def plainly(code: object) -> None:
    """Take note that the run ends with this exit status, or None for 0, and nothing else."""
    global _code
    if code is None or type(code) is int:
        _code = (code or 0) & 0xFF


def _end() -> None:
    if _exit is None or _code is None or not _plain or os.environ.get("PYTHONINSPECT"):
        return
    if _foreign([name for name in sys.modules if name not in _shared]):
        return
    if _flush(sys.stdout) and _flush(sys.stderr):
        _take_apart()
        if _flush(sys.stdout) and _flush(sys.stderr):
            _exit(_code)


def _foreign(names: Iterable[str]) -> bool:
    """Whether one of these is an extension module that is not Python's own, or cannot be told."""
    for name in names:
        try:
            file = getattr(sys.modules.get(name), "__file__", None)
        except Exception:
            return True
        if isinstance(file, str) and file.endswith(".so") and not file.startswith(_LIBRARY):
            return True
    return False


def _take_apart() -> None:
    """Let go of the run's own modules, as the interpreter does, and write what is not closed."""
    left: list[ref[Any]] = []
    for name in [name for name in sys.modules if name not in _shared or name == "__main__"]:
        module: Any = sys.modules[name]
        sys.modules[name] = None  # type: ignore[assignment]
        if type(module) is type(sys):
            left.append(ref(module))
        del module
    gc.collect()
    for one in reversed(left):
        if (module := one()) is not None:
            _clear(module.__dict__)
        del module
    gc.collect()
    for stream in gc.get_objects():
        if type(stream).__module__ == "_io" and hasattr(stream, "flush"):
            _flush(stream)


def _clear(namespace: dict[str, Any]) -> None:
    for private in (True, False):
        for name in list(namespace):
            if name != "__builtins__" and (name[:1] == "_" and name[1:2] != "_") is private:
                namespace[name] = None


def _flush(stream: Any) -> bool:
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except Exception:
        return False
    return True
