"""Fork a sibling: a process whose parent is that of the one which forks.

clone(2) does so with CLONE_PARENT, which no function of libc asks for. So it is called here, with
what os.fork() and fork(3) do besides: Python's own steps before and after, the id of the thread,
which libc remembers, and the list of robust mutexes, which the kernel forgets. Handlers that C
libraries have set by pthread_atfork(3) are not called, so no library may have any.

Where that does not work there are two forks, and the process between ends at once: then the
launcher, as the nearest subreaper, is the parent of what it leaves. That takes twice as long.
"""

from __future__ import annotations

import os
import sys
import time

try:
    import ctypes
except ImportError:  # Python was built without
    ctypes = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STEPS = ("PyOS_BeforeFork", "PyOS_AfterFork_Parent", "PyOS_AfterFork_Child")
# Numbers, and the order of the arguments of clone, are those of x86-64.
_CLONE, _SET_ROBUST_LIST, _GET_ROBUST_LIST = 56, 273, 274
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
_SIGCHLD = 17
_PR_GET_TID_ADDRESS = 40
_HANDLES = b"_atfork"  # in `pthread_atfork`, and in what that is within libraries
_ready: list[Any] = []


def prepare() -> None:
    """Look up what one fork takes, where no C library may want to know of it."""
    here = os.uname().machine == "x86_64" and sys.maxsize > 1 << 32
    if ctypes is None or not here or not _is_glibc() or _handles_forks():
        return
    library = ctypes.PyDLL(None)  # its functions keep Python's lock
    try:
        steps = [getattr(library, name) for name in _STEPS]
        call, control = library.syscall, library.prctl
    except AttributeError:
        return
    for step in steps:
        step.restype = None
    call.argtypes, call.restype = [ctypes.c_long] * 6, ctypes.c_long
    control.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    found = (ctypes.c_long * 3)()
    thread, head, size = (
        ctypes.addressof(found) + ctypes.sizeof(found) // 3 * at for at in range(3)
    )
    if control(_PR_GET_TID_ADDRESS, thread, 0, 0, 0) or call(_GET_ROBUST_LIST, 0, head, size, 0, 0):
        return
    flags = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | _SIGCHLD
    clone, robust = (_CLONE, flags, 0, 0, found[0], 0), (_SET_ROBUST_LIST, *found[1:], 0, 0, 0)
    _ready[:] = *steps, call, clone, robust


def _is_glibc() -> bool:
    """Whether the address at which the kernel clears a thread's id holds just that, as in glibc."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):
        return False


def _handles_forks() -> bool:
    """Whether a library names the function that sets handlers for forks, as Python's own do not."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            places = [line.split(None, 5)[-1].rstrip(b"\n") for line in maps if b" r-xp " in line]
        return any(_names_it(place) for place in set(places) if place.startswith(b"/"))
    except OSError:
        return True


def _names_it(file: bytes) -> bool:
    folder, name = os.path.split(file)
    if folder.endswith(b"/lib-dynload") or name.startswith((b"libpython3", b"libc.so", b"libc-")):
        return False
    end = b""
    with open(file, "rb", 0) as library:
        while part := library.read(1 << 16):
            if _HANDLES in end + part:
                return True
            end = part[-len(_HANDLES) :]
    return False


def fork() -> int:
    """Return 0 in the sibling, and something else in this process.

    Raises:
        OSError: there is no sibling.
    """
    if _ready:
        before, after, after_in_child, call, clone, robust = _ready
        before()
        number = call(*clone)
        if number == 0:
            call(*robust)
            after_in_child()
            return 0
        after()
        if number > 0:
            return int(number)
    return _fork_twice()


def _fork_twice() -> int:
    maker = os.fork()
    if maker:
        _, status = os.waitpid(maker, 0)
        # Of one that was killed nobody knows whether it has left a sibling.
        if os.WIFEXITED(status) and (number := os.WEXITSTATUS(status)):
            raise OSError(number, os.strerror(number))
        return maker
    maker = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        os._exit(error.errno or 1)
    if child:
        os._exit(0)
    while os.getppid() == maker:
        time.sleep(0.0001)
    return 0
