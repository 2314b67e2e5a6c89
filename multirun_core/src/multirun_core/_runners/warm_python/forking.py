"""A warm interpreter: it has imported what runs need, and each run is a fork of it.

This runs in the interpreter of the user's command, Python 3.9 or newer, so it imports next to
nothing, and removes what it did import from `sys.modules`. The launcher starts it, tells it what to
import, and asks it for one process after another. Each is forked twice: the process between ends
at once, so that the run becomes the launcher's own child, as if it had started it.

The forked process then becomes what `python script.py` would be at the first line of the script.
Where that is not possible (the script cannot be read, is no source, or its directory shadows what
was imported) it executes the command instead, which is always right.
"""

from __future__ import annotations

import _socket
import marshal
import os
import resource
import sys
import time

from . import ending, loading, title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_signal: Any = sys.modules["_signal"]
_HEADER = 4
_FORMAT = 2  # of marshal: the launcher may be of another version of Python
_ORIGINAL = dict(os.environb)
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_OURS = {os.path.join(_FOLDER, name) for name in os.listdir(_FOLDER)} | {sys.argv[0], __file__}
# Stands in sys.path for the script's directory, which is another one in each run.
_PLACE = "/dev/null/the directory of the script"
_BY_LAUNCHER = 2  # words of `sys.argv`
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
        asker = _Connection(int(sys.argv[1]))
    sys.path.pop()
    if not _SAFE_PATH:
        sys.path[0] = _PLACE
    loading.forget(known)
    program, names, script, module = asker.first()
    ending.prepare()
    title.prepare()
    asker.say(loading.load(names, script, module))
    loaded = {name.partition(".")[0] for name in sys.modules} - known
    ending.share(set(sys.modules))
    _forget_output()
    on_child = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # what imports have set is for runs
    run, streams = asker.serve()
    if on_child is not None:  # one of C that was there before Python cannot be set again
        _signal.signal(_signal.SIGCHLD, on_child)
    run.program = program
    _become(run, streams)
    _carry_out(run, loaded, pristine)


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


class _Connection:
    """What the launcher asks for runs by."""

    def __init__(self, number: int) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, number)
        os.set_inheritable(number, False)

    def first(self) -> Any:
        """Return the program of this interpreter, and what to import; end where nobody is left."""
        first, _ = _receive(self._socket)
        if first is None:
            os._exit(0)
        return first

    def say(self, refusal: str | None) -> None:
        """Say that runs may be asked for, or why not."""
        _send(self._socket, refusal)
        if refusal is not None:
            os._exit(0)

    def serve(self) -> tuple[Run, list[int]]:
        """Fork a process for each request; return in the new process, with its request."""
        run, streams = _serve(self._socket)
        self._socket.close()
        return run, streams


def _receive(connection: _socket.socket) -> tuple[Any, list[int]]:
    """Return a message and the descriptors that came with it; None where nobody is left."""
    data = b""
    descriptors: list[int] = []
    while len(data) < _HEADER or len(data) < _HEADER + int.from_bytes(data[:_HEADER], "little"):
        part, ancillary, _, _ = connection.recvmsg(1 << 16, _socket.CMSG_SPACE(8))
        if not part:
            return None, []
        data += part
        for _, _, numbers in ancillary:
            each = (numbers[at : at + 4] for at in range(0, len(numbers), 4))
            descriptors += [int.from_bytes(number, sys.byteorder) for number in each]
    return marshal.loads(data[_HEADER:]), descriptors  # noqa: S302 - the launcher's own


def _send(connection: _socket.socket, message: Any) -> None:
    body = marshal.dumps(message, _FORMAT)
    connection.sendall(len(body).to_bytes(_HEADER, "little") + body)


def _forget_output() -> None:
    """Drop what was printed at import: the streams of each run begin empty."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
            stream.seek(0)


def _serve(connection: _socket.socket) -> tuple[Run, list[int]]:
    while True:
        request, streams = _receive(connection)
        if request is None:
            os._exit(0)
        try:
            child = os.fork()
        except OSError as error:
            _send(connection, -(error.errno or 1))
        else:
            if child == 0:
                run = Run(*request)
                _hand_over(connection, run)
                return run, streams
            os.waitpid(child, 0)
        for stream in streams:
            os.close(stream)


def _hand_over(connection: _socket.socket, run: Run) -> None:
    """Fork the run and end; return in the run only, once it is the launcher's child."""
    maker = os.getpid()
    try:
        if run.mark is not None:
            resource.setrlimit(resource.RLIMIT_MSGQUEUE, run.mark)
        if run.cpus:
            os.sched_setaffinity(0, run.cpus)
        os.chdir(run.cwd)
        child = os.fork()
        if child:
            os.setpgid(child, child)
    except (OSError, ValueError) as error:
        _send(connection, -(getattr(error, "errno", None) or 1))
        os._exit(1)
    if child:
        _send(connection, child)
        os._exit(0)
    os.setpgid(0, 0)
    while os.getppid() == maker:
        time.sleep(0.0001)
    if run.data is not None:
        resource.setrlimit(resource.RLIMIT_DATA, run.data)


def _become(run: Run, streams: list[int]) -> None:
    """Give this process the arguments, the variables and the streams of the run."""
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    for name, value in run.extra.items():
        os.environb[name] = value
    title.show(run.words, {**_ORIGINAL, **run.extra})
    sys.argv[:] = [os.fsdecode(word) for word in run.words[run.at :]]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = [os.fsdecode(word) for word in run.words]
    loading.renew(os.getcwd())


def _carry_out(run: Run, loaded: set[str], pristine: dict[str, Any]) -> None:
    """Execute the script, the module or the text, as the interpreter itself would."""
    kind, file = run.words[run.at], sys.argv[0]
    if not _SAFE_PATH:
        folder = "" if kind == b"-c" else os.getcwd()
        if kind not in (b"-m", b"-c"):
            folder = os.path.dirname(os.path.realpath(file))
        place = sys.path.index(_PLACE) if _PLACE in sys.path else None
        sys.path[slice(0, 0) if place is None else slice(place, place + 1)] = [folder]
        if loading.shadowed(folder or ".", loaded):
            run.execute()
    code = None if kind == b"-m" else _compile(file, run)
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


def _compile(file: str, run: Run) -> Any:
    """Return the code of a script; execute the command where it is none, or does not compile."""
    try:
        if file == "-c":
            if sys.version_info >= (3, 13):  # tracebacks show lines of the text then
                run.execute()
            return compile(sys.argv[1] + "\n", "<string>", "exec", 0, True)
        name = os.path.join(os.getcwd(), file)
        with open(name, "rb") as script:
            source = script.read()
        if file.endswith(".pyc") or b"PK\5\6" in source:  # compiled, or a zip archive
            run.execute()
        return compile(source, name, "exec", 0, True)
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
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
