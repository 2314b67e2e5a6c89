"""Start one program with its output in files, as fast as Python can."""

from __future__ import annotations

import errno
import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

# Where a program was found in which PATH; a search costs as much as a fifth of a start.
_MOST_FOUND = 1000
_found: dict[tuple[bytes, bytes | None], bytes] = {}


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


def start(
    argv: Sequence[bytes],
    cwd: bytes,
    env: Mapping[bytes, bytes],
    stdout: bytes,
    stderr: bytes,
    null: int,
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

    Raises:
        StartError: it could not be started.
    """
    out = _open(stdout)
    try:
        err = _open(stderr)
        try:
            return _start(argv, cwd, env, (null, out, err))
        except (OSError, ValueError, MemoryError, subprocess.SubprocessError) as error:
            from .explain import explain

            number, text = explain(error, argv, cwd, env)
            _say(err, text)
            raise StartError(number, text) from None
        finally:
            os.close(err)
    finally:
        os.close(out)


def _open(path: bytes) -> int:
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
    argv: Sequence[bytes], cwd: bytes, env: Mapping[bytes, bytes], streams: tuple[int, int, int]
) -> int:
    if not argv:
        raise ValueError("the command is empty")
    program = find(argv[0], env, cwd)
    try:
        return _spawn(argv, program, cwd, env, streams)
    except FileNotFoundError:
        # It may have been moved since it was found.
        if _found.pop((argv[0], env.get(b"PATH")), None) is None:
            raise
        return _spawn(argv, find(argv[0], env, cwd), cwd, env, streams)


def _spawn(
    argv: Sequence[bytes],
    program: bytes,
    cwd: bytes,
    env: Mapping[bytes, bytes],
    streams: tuple[int, int, int],
) -> int:
    # No argument here may keep subprocess from vfork: fork takes three times as long.
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
    process.returncode = 0  # reaped by our caller: Popen must never wait for it
    return process.pid


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
