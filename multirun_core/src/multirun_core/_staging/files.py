"""Small steps on files and directories that a program may have done anything to."""
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH115, PTH114, PTH208
# pathlib would take longer than these system calls, of which each run needs some.

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress

from multirun_core._staging.names import PART


def write(fd: int, data: bytes) -> None:
    """Go on writing until it is done: one call may take a part, as on a disk that gets full."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


def new_part(directory: str) -> str:
    """Return a path in `directory` for what is not whole yet; nothing else uses it."""
    return f"{directory}/{PART}{os.urandom(4).hex()}"


def remove_parts(directory: str) -> None:
    """Remove what a process that was killed left unfinished in a directory."""
    for name in names_in(directory):
        if name.startswith(PART):
            remove(f"{directory}/{name}")


def write_whole(directory: str, name: str, data: bytes) -> None:
    """Write a file aside and rename it, so that the old one or the new one is there, whole."""
    aside = new_part(directory)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write(fd, data)
    finally:
        os.close(fd)
    try:
        os.rename(aside, f"{directory}/{name}")
    except IsADirectoryError:
        os.rename(f"{directory}/{name}", free_path(f"{directory}/{name}"))
        os.rename(aside, f"{directory}/{name}")


def content(path: str) -> bytes | None:
    """Return what a file holds; None where it is no file that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = b""
        while block := os.read(fd, 1 << 16):
            data += block
        return data
    finally:
        os.close(fd)


def link_target(path: str) -> str | None:
    """Return where a link leads to; None where it is no link."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def is_directory(path: str) -> bool:
    """Whether there is a directory; a link to one is none."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def names_in(directory: str) -> list[str]:
    """Return the names in a directory; permissions that a program has taken are given back."""
    try:
        return os.listdir(directory)
    except PermissionError:
        open_up(directory)
        return os.listdir(directory)


def open_up(directory: str) -> None:
    """Give its owner full permissions on a directory."""
    mode = stat.S_IMODE(os.lstat(directory).st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(directory, mode | stat.S_IRWXU)


def own_directory(path: str) -> str:
    """Make sure of a directory at `path`, and return that; what else has its name is renamed."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if is_directory(path):
            open_up(path)
        else:
            os.rename(path, free_path(path))
            os.mkdir(path)
    return path


def free_path(path: str) -> str:
    """Return `path`, or one like it, that nothing has."""
    free, number = path, 0
    while os.path.lexists(free):
        number += 1
        free = f"{path}~{number}"
    return free


def move_below(directory: str, rel: str, home: str) -> None:
    """Move `directory/rel` to the same path below `home`; nothing there is overwritten."""
    *outer, name = rel.split("/")
    for part in outer:
        home = own_directory(f"{home}/{part}")
    with suppress(FileNotFoundError):  # its process has renamed or removed it
        move(f"{directory}/{rel}", free_path(f"{home}/{name}"))


def move(source: str, target: str) -> None:
    """Rename a file or directory, a read-only directory too.

    Its entry `..` changes with it, for which rename(2) asks for write permission on it.
    """
    try:
        os.rename(source, target)
    except PermissionError:
        mode = os.lstat(source).st_mode
        if not stat.S_ISDIR(mode):
            raise
        open_up(source)
        place = source
        try:
            os.rename(source, target)
            place = target
        finally:
            os.chmod(place, stat.S_IMODE(mode))


def remove(path: str) -> None:
    """Remove a file or a whole tree, read-only directories in it too; nothing is no error."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(path)
        return
    open_up(path)
    for place, directories, _ in os.walk(path):
        for name in directories:
            if not os.path.islink(f"{place}/{name}"):
                open_up(f"{place}/{name}")
    shutil.rmtree(path)


def changed_since(path: str, since: int) -> bool:
    """Whether a file, or anything in a directory, was made or changed after `since` (ns)."""
    found = os.lstat(path)
    if found.st_ctime_ns > since:
        return True
    if not stat.S_ISDIR(found.st_mode):
        return False
    return any(changed_since(f"{path}/{name}", since) for name in names_in(path))
