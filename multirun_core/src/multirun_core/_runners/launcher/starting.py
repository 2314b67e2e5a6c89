"""Start one program with its output in files, as fast as Python can."""

from __future__ import annotations

import errno
import os
import resource
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    _Spawn = Callable[[list[bytes], bytes, bytes, Mapping[bytes, bytes], tuple[int, int, int]], int]

# What Python ignores, and a program shall not.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

# Where a program was found in which PATH; a search costs as much as a fifth of a start.
_MOST_FOUND = 1000
_found: dict[tuple[bytes, bytes | None], bytes] = {}


# With less, hardly any program could be loaded, nor could this process start one.
LEAST_DATA = 32 << 20


class StartError(Exception):
    """Raised when a program could not be started.

    Attributes:
        errno: the error number of the system, see errno(3).
        text: one line for people.
        stream: the file, where it is the one for an output stream that could not be opened.
    """

    def __init__(self, number: int, text: str, stream: str | None = None) -> None:
        super().__init__(text)
        self.errno = number
        self.text = text
        self.stream = stream


class Confined:
    """While it is entered, what this thread starts gets certain CPUs, and a limit of its memory.

    The limit is the soft one of RLIMIT_DATA, see getrlimit(2): what each process may allocate for
    itself. Address space that is merely reserved does not count, as it would with RLIMIT_AS, where
    many programs cannot even start.
    """

    def __init__(self, cpus: Sequence[int], data: int) -> None:
        """Take the numbers of the CPUs, or none for all, and the limit in bytes, 0 for none."""
        self._cpus = cpus
        self._data = data
        self._all: set[int] = set()
        self._soft = self._hard = resource.RLIM_INFINITY

    def limits(self) -> tuple[tuple[int, ...], tuple[int, int] | None]:
        """Return the CPUs, and the soft and hard RLIMIT_DATA, for who confines itself."""
        if not self._data:
            return tuple(self._cpus), None
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = max(self._data, LEAST_DATA)
        for most in (soft, hard):
            if most != resource.RLIM_INFINITY:
                wanted = min(wanted, most)
        return tuple(self._cpus), (wanted, hard)

    def __enter__(self) -> None:
        """Confine this thread and this process.

        Raises:
            StartError: the CPUs are not to be had any more.
        """
        if self._cpus:
            self._all = os.sched_getaffinity(0)
            try:
                os.sched_setaffinity(0, self._cpus)
            except OSError as error:
                numbers = ", ".join(map(str, self._cpus))
                text = f"cannot use the CPUs {numbers}: {error.strerror}"
                raise StartError(error.errno or errno.EINVAL, text) from None
        _, data = self.limits()
        if data is not None:
            self._soft, self._hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, data)

    def __exit__(self, *_: object) -> None:
        """Let this thread and this process have again what they had."""
        if self._cpus:
            os.sched_setaffinity(0, self._all)
        if self._data:
            resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._hard))


def start(
    argv: list[bytes],
    cwd: bytes,
    env: Mapping[bytes, bytes],
    stdout: bytes,
    stderr: bytes,
    null: int,
    confined: Confined | None = None,
    *,
    moves: bool = False,
) -> int:
    """Start a program in a process group of its own and return its pid.

    The caller reaps it. What stops it from starting is also written to its `stderr`.

    Args:
        argv: program and arguments; a name without a slash is looked up in the PATH of `env`, a
            relative path in `cwd`.
        cwd: its directory, absolute.
        env: its whole environment.
        stdout: file for its standard output, emptied first.
        stderr: file for its standard error, emptied first.
        null: descriptor that becomes its standard input.
        confined: what it may use; everything by default.
        moves: whether this process may change its own directory for a moment, and has no
            descriptor that a program could inherit: that takes half the time.

    Raises:
        StartError: it could not be started.
    """
    spawn = _spawn_from_there if moves else _spawn
    out = open_output(stdout)
    try:
        err = open_output(stderr)
        try:
            if confined is None:
                return _start(spawn, argv, cwd, env, (null, out, err))
            with confined:
                return _start(spawn, argv, cwd, env, (null, out, err))
        except (OSError, ValueError, MemoryError) as error:
            from .explain import explain

            number, text = explain(error, argv, cwd, env)
            _say(err, text)
            raise StartError(number, text) from None
        finally:
            os.close(err)
    finally:
        os.close(out)


def open_output(path: bytes) -> int:
    """Open the file for an output stream, emptied.

    Raises:
        StartError: that is not possible.
    """
    try:
        return os.open(path, _WRITE, 0o666)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        name = os.fsdecode(path)
        text = f"cannot open {name!r} for the program's output: {os.strerror(number)}"
        raise StartError(number, text, name) from None


def _say(fd: int, text: str) -> None:
    try:
        os.write(fd, f"multirun: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # the same text goes to the driver


def _start(
    spawn: _Spawn,
    argv: list[bytes],
    cwd: bytes,
    env: Mapping[bytes, bytes],
    streams: tuple[int, int, int],
) -> int:
    if not argv:
        raise ValueError("the command is empty")
    program = find(argv[0], env, cwd)
    try:
        return spawn(argv, program, cwd, env, streams)
    except FileNotFoundError:
        # It may have been moved since it was found.
        if _found.pop((argv[0], env.get(b"PATH")), None) is None:
            raise
        return spawn(argv, find(argv[0], env, cwd), cwd, env, streams)


def _spawn(
    argv: list[bytes],
    program: bytes,
    cwd: bytes,
    env: Mapping[bytes, bytes],
    streams: tuple[int, int, int],
) -> int:
    import subprocess

    # No argument here may keep subprocess from vfork: fork takes three times as long.
    try:
        process = subprocess.Popen(
            argv,
            executable=program,
            cwd=cwd,
            env=env,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            process_group=0,
        )
    except subprocess.SubprocessError as error:
        raise OSError(errno.EINVAL, str(error)) from error
    process.returncode = 0  # reaped by our caller: Popen must never wait for it
    return process.pid


def _spawn_from_there(
    argv: list[bytes],
    program: bytes,
    cwd: bytes,
    env: Mapping[bytes, bytes],
    streams: tuple[int, int, int],
) -> int:
    os.chdir(cwd)
    try:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate(streams)],
            setpgroup=0,
            setsigdef=_IGNORED,
        )
    finally:
        os.chdir("/")


def find(name: bytes, env: Mapping[bytes, bytes], cwd: bytes) -> bytes:
    """Return the program's file as execvp(3) would find it.

    Raises:
        FileNotFoundError: there is none in PATH.
        PermissionError: there is one, and it is not executable.
        ValueError: no file can have that name.
    """
    if b"\0" in name:
        raise ValueError("embedded null byte")
    if b"/" in name:
        return name
    path = env.get(b"PATH")
    found = _found.get((name, path))
    if found is not None:
        return found
    refused = None
    for folder in search_path(env):
        file = os.path.join(cwd, folder, name)
        if name and os.path.isfile(file):
            if os.access(file, os.X_OK):
                if os.path.isabs(folder):
                    if len(_found) >= _MOST_FOUND:
                        _found.clear()
                    _found[name, path] = file
                return file
            refused = refused or file
    if refused:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), refused)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def search_path(env: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the folders of PATH; an empty one is the current directory."""
    return env.get(b"PATH", os.fsencode(os.defpath)).split(b":")
