"""Say in one plain line why a program could not be started. Imported when one could not."""

from __future__ import annotations

import errno
import os
import stat

from .starting import find, search_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHORTAGE = {
    errno.EMFILE: "too many open files; run fewer at once, or raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine; run fewer at once",
    errno.ENOMEM: "not enough memory; run fewer at once",
    errno.EAGAIN: "too many processes; run fewer at once, or raise `ulimit -u`",
}


def explain(
    error: Exception, argv: Sequence[bytes], cwd: bytes, env: Mapping[bytes, bytes]
) -> tuple[int, str]:
    """Return the error number and the line for what `starting.start` ran into."""
    number = getattr(error, "errno", None) or errno.EINVAL
    if isinstance(error, MemoryError):
        number = errno.ENOMEM
    name = os.fsdecode(argv[0]) if argv else ""
    try:
        why = _why(error, number, argv, cwd, env)
    except (OSError, ValueError):
        why = os.strerror(number)
    return number, f"cannot start {name!r}: {why}"


def _why(
    error: Exception,
    number: int,
    argv: Sequence[bytes],
    cwd: bytes,
    env: Mapping[bytes, bytes],
) -> str:
    if number in _SHORTAGE:
        return _SHORTAGE[number]
    if number == errno.E2BIG:
        size = sum(map(len, argv)) + sum(len(key) + len(value) + 1 for key, value in env.items())
        return (
            f"its arguments and environment are too long ({size} bytes in all; on Linux each may "
            "have 128 KiB); pass them in a file"
        )
    if not isinstance(error, OSError):
        return f"{error}; look at its arguments and environment"
    if not os.path.isdir(cwd) or not os.access(cwd, os.X_OK):
        try:
            os.stat(os.path.join(cwd, b"."))
        except OSError as problem:
            number = problem.errno or number
        return f"its directory {os.fsdecode(cwd)!r} cannot be entered: {os.strerror(number)}"
    if b"/" in argv[0]:
        file = os.path.join(cwd, argv[0])
    else:
        try:
            file = find(argv[0], env, cwd)
        except FileNotFoundError:
            folders = os.fsdecode(b":".join(search_path(env)))
            hint = _here(argv[0], cwd) or _words(argv)
            return f"no such program in PATH ({folders}); install it, or give its path{hint}"
        except PermissionError as problem:
            file = problem.filename
    return _about_file(file, number)


def _here(name: bytes, cwd: bytes) -> str:
    if not name or not os.path.isfile(os.path.join(cwd, name)):
        return ""
    return "; there is one in the run directory: write {!r}".format("./" + os.fsdecode(name))


def _words(argv: Sequence[bytes]) -> str:
    if len(argv) > 1 or len(words := argv[0].split()) < 2:
        return ""
    return ". Is that more than one word? No shell takes it apart; write {}".format(
        ", ".join(repr(os.fsdecode(word)) for word in words[:4]) + ", …" * (len(words) > 4)
    )


def _about_file(file: bytes, number: int) -> str:
    shown = os.fsdecode(file)
    try:
        mode = os.stat(file).st_mode
    except OSError as problem:
        text = os.strerror(problem.errno or number)
        return f"{shown!r}: {text}; relative paths are looked up in the run directory"
    if stat.S_ISDIR(mode):
        return f"{shown!r} is a directory"
    if not os.access(file, os.X_OK):
        return (
            f"{shown!r} is not executable; run `chmod +x` on it, or name its interpreter first, "
            f"such as ['python3', {shown!r}]"
        )
    with open(file, "rb") as program:
        line = program.readline(256)
    if line.startswith(b"#!"):
        words = line[2:].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if number in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP):
            return (
                "its first line names the interpreter {!r}: {}; correct that line (it must end "
                "in a plain newline), or name the interpreter first".format(
                    interpreter + ("\r" if words and line.rstrip(b"\n").endswith(b"\r") else ""),
                    os.strerror(number),
                )
            )
    if number == errno.ENOEXEC:
        return (
            f"{shown!r} is no program of this machine; a script needs a first line "
            "such as `#!/bin/sh`"
        )
    if number == errno.ENOENT:
        return f"{shown!r} needs a loader that this machine does not have"
    if number == errno.EACCES:
        return f"{shown!r}: {os.strerror(number)}; its file system may be mounted noexec"
    return f"{shown!r}: {os.strerror(number)}"
