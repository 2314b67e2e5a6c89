"""A warm interpreter in a job of several runs, or on a host: asked by `wrapper.sh`, through pipes.

`warm.sh` makes the pipes and starts it. In their directory: `orders`, from which it reads a line
for each run that is to be forked, and `said-SLOT`, where the wrapper that works in that slot hears
what becomes of it. A slot that has the token of a run for its name is for that run alone. Between
the interpreter and each run stands a keeper, which waits for the run alone and tells how it ended.
All signals that are meant for runs are for neither of them.
"""

from __future__ import annotations

import marshal
import os
import sys

from .forking import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNFIT = ("PYTHONINSPECT", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME", "PYTHONDUMPREFS")
_ORDER = b"mr_warm="
_CLAIM = 9  # the descriptor by which processes of a run are known
_signal: Any = sys.modules["_signal"]
_FOR_RUNS = {_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGUSR1, _signal.SIGUSR2}


class Pipes:
    """What runs are asked for by in a job."""

    def __init__(self, folder: str, wanted: str) -> None:
        """Open the pipes, and be deaf to what is meant for runs, whatever imports do with it.

        Args:
            folder: where the pipes are.
            wanted: what to import, see `loading.load`, as marshal has it, in hexadecimal.
        """
        self._folder = os.fsencode(folder)
        self._wanted = marshal.loads(bytes.fromhex(wanted))  # noqa: S302 - the driver's own
        self._orders = os.open(self._folder + b"/orders", os.O_RDONLY)
        self._data = b""
        self._keepers: dict[int, tuple[bytes, bytes]] = {}
        # Blocked, and not ignored: runs have the handlers that imports have set, be they of C.
        self._deaf = _FOR_RUNS - _signal.pthread_sigmask(_signal.SIG_BLOCK, _FOR_RUNS)

    def first(self) -> tuple[bytes, Any, Any, Any]:
        """Return the program of this interpreter, and what to import."""
        words, *wanted = self._wanted
        return _found(words), *wanted

    def say(self, refusal: str | None) -> None:
        """Say that runs may be asked for, or why not."""
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _FOR_RUNS)  # an import may have undone that
        refusal = refusal or _unfit()
        line = "warm" if refusal is None else "refused " + " ".join(refusal.split())
        _write(self._folder + b"/begun", line.encode("utf-8", "surrogateescape"))
        if refusal is not None:
            os._exit(0)

    def serve(self) -> tuple[Run, list[int]]:
        """Fork for each line; return in the new run, with its request and its output streams."""
        _signal.signal(_signal.SIGCHLD, self._reap)
        while True:
            slot, token, claim = self._line().split(b" ", 2)
            _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGCHLD})
            try:
                keeper = os.fork()
            except OSError:
                self._tell(slot, token, "no")
            else:
                if keeper == 0:
                    return self._keep(slot, token, claim)
                self._keepers[keeper] = slot, token
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGCHLD})

    def _line(self) -> bytes:
        """Return the next line; end where nobody is left who could ask."""
        while b"\n" not in self._data:
            part = os.read(self._orders, 1 << 16)
            if not part:
                os._exit(0)
            self._data += part
            _remove(self._folder + b"/late")  # where somebody had waited in vain
        line, _, self._data = self._data.partition(b"\n")
        return line

    def _reap(self, *_: object) -> None:
        """Tell of runs whose keeper was killed."""
        while True:
            try:
                keeper, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not keeper:
                return
            slot, token = self._keepers.pop(keeper)
            if status:
                self._tell(slot, token, "lost")

    def _keep(self, slot: bytes, token: bytes, claim: bytes) -> tuple[Run, list[int]]:
        """Fork the run, and tell how it ends; return in the run only."""
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGCHLD})
        os.close(self._orders)
        try:
            run = _request(token, claim)
            # From now on this process is known to be the run's, and is ended with it: where it is
            # slow, it must not fork what has been given up since.
            folder = os.open(claim, os.O_RDONLY)
            os.dup2(folder, _CLAIM)
            if folder != _CLAIM:
                os.close(folder)
            os.set_inheritable(_CLAIM, True)
            os.unlink(claim + b"/asked")  # whoever has done that decides about this run
            child = os.fork()
        except (OSError, ValueError, EOFError, TypeError):
            self._tell(slot, token, "no")
            os._exit(0)
        if child == 0:
            return run, self._prepare(run)
        os.close(_CLAIM)
        self._tell(slot, token, f"pid {child}")
        _, status, usage = os.wait4(child, 0)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        spent = round((usage.ru_utime + usage.ru_stime) * 100)
        self._tell(slot, token, f"end {code} {spent}")
        if slot == token:
            _remove(self._folder + b"/said-" + slot)
        os._exit(0)

    def _prepare(self, run: Run) -> list[int]:
        """Be what the wrapper's own child is when it executes the program."""
        os.setsid()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, self._deaf)
        try:
            os.chdir(run.cwd)
            names = (b"stdout.txt", b"stderr.txt")
            streams = [os.open(run.cwd + b"/" + one, os.O_WRONLY | os.O_TRUNC) for one in names]
        except OSError:
            os._exit(126)
        return streams

    def _tell(self, slot: bytes, token: bytes, what: str) -> None:
        _write(self._folder + b"/said-" + slot, token + b" " + what.encode())


def _request(token: bytes, claim: bytes) -> Run:
    """Read what is asked for from the order of a run.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not for a warm interpreter, or whatever else marshal raises.
    """
    private = os.path.dirname(claim)
    with open(private + b"/order", "rb") as file:
        line = file.readline()
    if not line.startswith(_ORDER):
        raise ValueError("it is not for a warm interpreter")
    text = line[len(_ORDER) :].decode()
    words, at, extra = marshal.loads(bytes.fromhex(text))  # noqa: S302 - the driver's own
    cwd = os.path.dirname(private)
    extra[b"MULTIRUN_RUN_DIR"] = cwd
    extra[b"MULTIRUN_TOKEN"] = token
    if b"PWD" in os.environb:  # a shell sets it where it goes
        extra[b"PWD"] = cwd
    return Run(words, at, cwd, extra, None, (), None)


def _found(words: list[bytes]) -> bytes:
    """Return the file of the interpreter, as the shell has found it."""
    if b"/" in words[0]:
        return words[0]
    for folder in os.environb.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        file = os.path.join(folder, words[0])
        if os.path.isfile(file) and os.access(file, os.X_OK):
            return file
    return os.fsencode(sys.executable)


def _unfit() -> str | None:
    for name in _UNFIT:
        if os.environ.get(name):
            return f"{name} is set, and runs would not heed it"
    folders = os.environ.get("PYTHONPATH")
    if folders and not all(one.startswith("/") for one in folders.split(os.pathsep)):
        return "PYTHONPATH is relative, and means another place in each run"
    return None


def _remove(file: bytes) -> None:
    try:
        os.unlink(file)
    except OSError:
        pass


def _write(pipe: bytes, line: bytes) -> None:
    """Write a line that is not torn; where nobody listens, to nobody."""
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, line[:4000] + b"\n")
        finally:
            os.close(fd)
    except OSError:
        pass
