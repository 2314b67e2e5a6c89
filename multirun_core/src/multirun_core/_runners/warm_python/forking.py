"""A warm interpreter: it has imported what runs need, and each run is a fork of it.

This runs in the interpreter of the user's command, Python 3.9 or newer, so it imports next to
nothing, and removes what it did import from `sys.modules`. The launcher starts it, tells it what to
import, and asks it for one process after another; see `connected`.

The forked process then becomes what `python script.py` would be at the first line of the script.
Where that is not possible (the script cannot be read, is no source, or its directory shadows what
was imported) it executes the command instead, which is always right.
"""

from __future__ import annotations

import gc
import os
import sys

from . import ending, loading, source, title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, NoReturn

_signal: Any = sys.modules["_signal"]
_ORIGINAL = dict(os.environb)
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_OURS = {os.path.join(_FOLDER, name) for name in os.listdir(_FOLDER)} | {sys.argv[0], __file__}
# Stands in sys.path for the script's directory, which is another one in each run.
_PLACE = "/dev/null/the directory of the script"
_BY_LAUNCHER = 2  # words of `sys.argv`
# What each run would else let go of, and copy a page of memory for nearly each object.
_kept: list[object] = []
_SAFE_PATH = bool(getattr(sys.flags, "safe_path", sys.flags.isolated))


def _ignored() -> set[Any]:
    kinds = _signal.valid_signals()
    return {number for number in kinds if _signal.getsignal(number) == _signal.SIG_IGN}


_IGNORED = _ignored()


def main(pristine: dict[str, Any], known: set[str]) -> None:
    """Serve whoever asks for runs; return in a run, when that has ended.

    That is the launcher, by the connection with the number `sys.argv[1]`, or a job: see `packed`.

    Args:
        pristine: what was in the module `__main__` at first.
        known: which modules had been imported then.
    """
    asker: Any
    if len(sys.argv) > _BY_LAUNCHER:
        from . import packed

        asker = packed.Pipes(*sys.argv[1:])
    else:
        from . import connected

        asker = connected.Connection(int(sys.argv[1]))
    sys.path.pop()
    if not _SAFE_PATH:
        sys.path[0] = _PLACE
    loading.forget(known)
    program, names, script, module = asker.first()
    ending.prepare()
    title.prepare(_ORIGINAL)
    if isinstance(script, bytes):
        source.prepare(script)
    refusal = loading.load(names, script, module)
    loaded = {name.partition(".")[0] for name in sys.modules} - known
    shadows = loading.files_of(loaded)
    ending.share(set(sys.modules))
    _kept.extend((known, loaded, shadows, pristine, sys.modules["__main__"]))
    caller: Any = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    _kept.append(caller.f_code)
    asker.say(refusal)
    _forget_output()
    gc.freeze()  # what has been made since
    on_child = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # what imports have set is for runs
    run, streams = asker.serve()
    # One of C that was there before Python cannot be set again.
    if on_child not in (None, _signal.SIG_DFL):
        _signal.signal(_signal.SIGCHLD, on_child)
    run.program = program
    _become(run, streams)
    _carry_out(run, shadows, pristine)


class Run:
    """What the launcher asks for.

    Attributes:
        words: the command.
        at: where in it the script is, or "-m".
        cwd: its directory.
        extra: variables on top of this process's own.
        mark: limits of RLIMIT_MSGQUEUE by which the launcher knows its processes; None for none.
        cpus: numbers of the CPUs that it may use; none for all.
        data: limits of RLIMIT_DATA, or None.
        program: the file that `words[0]` was found to be.
    """

    program = b""

    def __init__(
        self,
        words: list[bytes],
        at: int,
        cwd: bytes,
        extra: dict[bytes, bytes],
        mark: tuple[int, int] | None,
        cpus: tuple[int, ...],
        data: tuple[int, int] | None,
    ) -> None:
        self.words = words
        self.at = at
        self.cwd = cwd
        self.extra = extra
        self.mark = mark
        self.cpus = cpus
        self.data = data

    def execute(self) -> NoReturn:
        """Become the command itself."""
        # Programs inherit what is ignored: by Python, or by a module that was imported.
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ, *_ignored() - _IGNORED):
            _signal.signal(number, _signal.SIG_DFL)
        os.execve(self.program, self.words, {**_ORIGINAL, **self.extra})  # noqa: S606 - as meant


def _forget_output() -> None:
    """Drop what was printed at import: the streams of each run begin empty."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
            stream.seek(0)


def _become(run: Run, streams: list[int]) -> None:
    """Give this process the arguments, the variables and the streams of the run."""
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    environment: Any = os.environb  # itself it takes many more steps
    for name, value in run.extra.items():
        os.putenv(name, value)
        environment._data[name] = value
    title.show(run.words, run.extra)
    words = list(map(os.fsdecode, run.words))
    sys.argv[:] = words[run.at :]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = words
    loading.renew(os.getcwd())


def _carry_out(run: Run, shadows: frozenset[str], pristine: dict[str, Any]) -> None:
    """Execute the script, the module or the text, as the interpreter itself would."""
    kind, script, folder = run.words[run.at], sys.argv[0], os.getcwd()
    text = b""
    if kind == b"-c":
        folder = ""
    elif kind != b"-m":
        try:
            script, text, folder = source.read(script)
        except (OSError, ValueError):
            run.execute()
    if not _SAFE_PATH:
        place = sys.path.index(_PLACE) if _PLACE in sys.path else None
        sys.path[slice(0, 0) if place is None else slice(place, place + 1)] = [folder]
        if loading.shadowed(folder or ".", shadows):
            run.execute()
    code = None if kind == b"-m" else _code(kind, text, script, run)
    # A new module: garbage is never looked for in what there was before the fork.
    module = type(sys)("__main__")
    namespace = module.__dict__
    namespace.update(pristine)
    if "__annotations__" in pristine:
        namespace["__annotations__"] = {}
    sys.modules["__main__"] = module
    try:
        if code is None:
            name = sys.argv.pop(1)
            import runpy

            runpy._run_module_as_main(name)  # type: ignore[attr-defined]
        else:
            if kind == b"-c":
                _forget_file(namespace)
                del sys.argv[1]
                namespace["__loader__"] = sys.modules["_frozen_importlib"].BuiltinImporter
            else:
                namespace["__file__"] = code.co_filename
                namespace["__loader__"] = type(pristine["__loader__"])("__main__", code.co_filename)
            exec(code, namespace)  # noqa: S102 - this is what it is for
            _forget_file(namespace)
        ending.plainly(None)
    except SystemExit as error:
        ending.plainly(error.code)
        raise
    except BaseException:
        _hide_frames(namespace)
        raise


def _forget_file(namespace: dict[str, Any]) -> None:
    """Do as the interpreter does at the end of a script."""
    for name in ("__file__", "__cached__"):
        namespace.pop(name, None)


def _code(kind: bytes, text: bytes, script: str, run: Run) -> CodeType:
    """Return the code to execute; execute the command where that does not compile."""
    if kind == b"-c" and sys.version_info >= (3, 13):  # tracebacks show lines of the text then
        run.execute()
    try:
        if kind == b"-c":
            return compile(sys.argv[1] + "\n", "<string>", "exec", 0, True)
        return source.code(text, script)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        run.execute()


def _hide_frames(namespace: dict[str, Any]) -> None:
    """Let the traceback of the run begin in the run."""

    def hook(kind: Any, error: Any, trace: Any) -> None:
        sys.excepthook = show
        while trace is not None and trace.tb_frame.f_code.co_filename in _OURS:
            trace = trace.tb_next
        error.__traceback__ = sys.last_traceback = trace
        show(kind, error, trace)
        if "__spec__" in namespace and namespace["__spec__"] is None:
            _forget_file(namespace)

    show, sys.excepthook = sys.excepthook, hook
