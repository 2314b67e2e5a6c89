"""What a warm interpreter imports, what it refuses, and what each fork renews."""

from __future__ import annotations

import _imp
import gc
import os
import sys

from . import randomness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

_HARMLESS = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_LATER = "leave it out of preload, or let it do that later"
_SHARED = f"share it with all others; {_LATER}"
_ALIKE = f"all runs would draw the same numbers; {_LATER}"


class RefusedError(Exception):
    """Raised where a fork of what was imported would differ from a fresh process."""


def load(names: list[str] | None, script: bytes | str | None, module: str | None) -> str | None:
    """Import what runs need; return why that is refused, or None.

    Args:
        names: the modules; None for what the script or the module imports at its top level.
        script: the path of the script, where there is one, or the text of `imports_of` it.
        module: the name of the module, where there is one.
    """
    if sys.hexversion < 0x03090000:
        return f"{sys.executable} is Python {sys.version.split()[0]}; 3.9 or newer can be warm"
    watch = randomness.Watch()
    sys.meta_path.insert(0, watch)
    try:
        if module is not None:
            __import__("runpy")  # as `python -m` does
        for name, statement in _wanted(names, script, module):
            _load_one(name, statement, watch, wanted=names is not None)
    except RefusedError as error:
        return str(error)
    finally:
        sys.meta_path.remove(watch)
    known = set(sys.modules)
    gc.collect()
    gc.freeze()  # so that no run copies the pages of what all have
    forget(known)
    return None


def renew(cwd: str) -> None:
    """Give what was imported the state that it would have in a process of its own."""
    randomness.renew()
    for name, attribute in (
        ("multiprocessing.process", "ORIGINAL_DIR"),
        ("multirun_core._inrun", "_STARTED_IN"),
    ):
        module = sys.modules.get(name)
        if module is not None:
            setattr(module, attribute, cwd)
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)


def files_of(names: set[str]) -> frozenset[str]:
    """Return all that a file or a folder may be called that is imported by one of these names."""
    suffixes = ("", ".py", ".pyc", *_imp.extension_suffixes())
    return frozenset(name + suffix for name in names for suffix in suffixes)


def shadowed(folder: str, files: frozenset[str]) -> bool:
    """Whether a script that stands in `folder` would have imported other modules from there.

    Args:
        folder: the directory.
        files: see `files_of`.
    """
    try:
        return not files.isdisjoint(os.listdir(folder))
    except OSError:
        return False


def _load_one(
    name: str, statement: Callable[[], None], watch: randomness.Watch, *, wanted: bool
) -> None:
    before = _descriptors()
    failed = False
    try:
        statement()
    except BaseException as error:
        if wanted or not isinstance(error, Exception):
            why = f"{type(error).__name__}: {error}"
            raise RefusedError(
                f"{name!r} cannot be imported by {sys.executable}: {why}; what is preloaded must "
                "be installed, or on PYTHONPATH"
            ) from None
        failed = True  # the run will meet it, and may know what to do
    if failed:
        gc.collect()  # other modules may stay, with what they have begun
    _check_threads(name)
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        pass
    else:
        raise RefusedError(f"{name!r} starts a process when it is imported: a run would {_SHARED}")
    for number, target in _descriptors().items():
        if before.get(number) != target and target not in _HARMLESS:
            raise RefusedError(
                f"{name!r} opens {target} when it is imported: a run would {_SHARED}"
                + ("; that is how a GPU is initialised" if target.startswith("/dev/") else "")
            )
    signal: Any = sys.modules["_signal"]
    if any(signal.getitimer(kind) != (0.0, 0.0) for kind in (0, 1, 2)):
        raise RefusedError(f"{name!r} sets a timer when it is imported, which no fork keeps")
    for what in watch.changed():
        raise RefusedError(f"{name!r} seeds or draws from {what} when it is imported: {_ALIKE}")
    if (held := randomness.made()) is not None:
        raise RefusedError(
            f"{name!r} makes a generator of random numbers when it is imported ({held}): {_ALIKE}"
        )


def _check_threads(name: str) -> None:
    if _threads() == 1:
        return
    child = os.fork()  # some libraries end their threads before a fork and start them anew
    if child == 0:
        os._exit(0)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass  # a module ignores the ends of its children, or waits for all of them
    if _threads() > 1:
        raise RefusedError(
            f"{name!r} starts a thread when it is imported, which no fork keeps; {_LATER}"
        )


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue  # that of the listing itself
    return found


def _wanted(
    names: list[str] | None, script: bytes | str | None, module: str | None
) -> list[tuple[str, Callable[[], None]]]:
    """Return what to import, each with a name for messages."""
    if names is not None:
        return [(name, _importing(name)) for name in names]
    known = set(sys.modules)
    own: set[str] = set()
    if isinstance(script, str):
        source: bytes | str = script
    else:
        file = os.fsdecode(script) if script is not None else module and _source_of(module)
        if not file:
            return []
        source, own = _read(file), _stems(os.path.dirname(os.path.realpath(file)))
    import ast

    forget(known)
    found: list[tuple[str, Callable[[], None]]] = []
    for node, tops in _statements(ast, source, own):
        code = compile(ast.Module([node], []), "<preload>", "exec", 0, True)
        found.append((", ".join(tops), _executing(code)))
    return found


def imports_of(file: str) -> str:
    """Return the text of those imports of a script that may be done ahead, to be done elsewhere."""
    import ast

    own = _stems(os.path.dirname(file)) | _stems(os.path.dirname(os.path.realpath(file)))
    return "\n".join(ast.unparse(node) for node, _ in _statements(ast, _read(file), own))


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as source:
            return source.read()
    except OSError:
        return b""


def _statements(ast: Any, source: bytes | str, own: set[str]) -> list[tuple[Any, list[str]]]:
    """Return the imports at the top level, with what they name, but for what is `own`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found: list[tuple[Any, list[str]]] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            tops = [(node.module or "").partition(".")[0]] if node.level == 0 else [""]
        elif isinstance(node, ast.Import):
            tops = [alias.name.partition(".")[0] for alias in node.names]
        else:
            continue
        if not any(top in own or top in ("", "__future__") for top in tops):
            found.append((node, tops))
    return found


def _source_of(module: str) -> str | None:
    """Return the file of a module that is installed; its package is imported for that."""
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(module + ".__main__")
    except Exception:
        return None
    return None if spec is None or not spec.has_location else spec.origin


def _stems(folder: str) -> set[str]:
    try:
        return {entry.partition(".")[0] for entry in os.listdir(folder)}
    except OSError:
        return set()


def _importing(name: str) -> Callable[[], None]:
    def statement() -> None:
        __import__(name)

    return statement


def _executing(code: CodeType) -> Callable[[], None]:
    def statement() -> None:
        exec(code, {"__name__": "__main__"})  # noqa: S102 - an import statement

    return statement


def forget(known: set[str]) -> None:
    """Let runs not find what only this module needed."""
    for name in set(sys.modules) - known:
        del sys.modules[name]
