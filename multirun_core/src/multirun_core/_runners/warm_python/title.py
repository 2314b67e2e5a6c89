"""Let a fork be listed under its own command: `/proc/PID/cmdline` and `environ`, and so `ps`.

Both are memory of the process; prctl(2) says where it is (PR_SET_MM_MAP, which takes no privilege,
and a kernel with CONFIG_CHECKPOINT_RESTORE). Without that a fork keeps the command of the warm
interpreter in such lists, and nothing else is different.
"""

from __future__ import annotations

try:
    import ctypes
except ImportError:  # Python was built without
    ctypes = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_MM = 35
_PR_SET_MM_MAP = 14
# In struct prctl_mm_map: eleven addresses, the auxiliary vector, its size, and a descriptor.
_ADDRESSES = 11
_BREAK, _WORDS, _VARIABLES = 5, 7, 9  # among the addresses
_NO_FILE = 0xFFFFFFFF
_original: dict[bytes, bytes] = {}
_ready: list[Any] = []
_shown: list[bytes] = []


def prepare(variables: dict[bytes, bytes]) -> None:
    """Look up and make all that is needed, before the forks.

    Most of the objects that a fork makes have it copy a page of memory each.

    Args:
        variables: those of this process.
    """
    if ctypes is None:
        return
    library = ctypes.PyDLL(None)
    if not hasattr(library, "PyBytes_AsString"):
        return
    _original.update(variables)
    with open("/proc/self/stat", "rb") as stat:
        fields = list(map(int, stat.read().rpartition(b")")[2].split()[1:]))
    # Numbered as in proc(5), where the first of these is field 4.
    code, stack, data, heap = fields[22:24], fields[24], fields[41:43], fields[43]
    places = [0] * (_ADDRESSES - _WORDS)
    layout = (ctypes.c_uint64 * (_ADDRESSES + 2))(
        *code, *data, heap, 0, stack, *places, 0, _NO_FILE << 32
    )
    number = ctypes.c_ulong
    library.sbrk.argtypes, library.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_size_t
    library.prctl.argtypes = [ctypes.c_int, number, ctypes.c_void_p, number, number]
    address = library.PyBytes_AsString
    address.argtypes, address.restype = [ctypes.py_object], ctypes.c_size_t
    told = (_PR_SET_MM, _PR_SET_MM_MAP, ctypes.addressof(layout), ctypes.sizeof(layout), 0)
    _ready[:] = layout, address, library.sbrk, library.prctl, told, _text(_original)


def show(words: list[bytes], extra: dict[bytes, bytes]) -> None:
    """Be listed with this command and these variables besides, if the system lets us."""
    if not _ready:
        return
    layout, address, sbrk, prctl, told, original = _ready
    if _original.keys().isdisjoint(extra):
        variables = original + _text(extra)
    else:
        variables = _text({**_original, **extra})
    for at, block in (_WORDS, b"\0".join([*words, b""])), (_VARIABLES, variables):
        _shown.append(block)
        layout[at] = address(block)
        layout[at + 1] = layout[at] + len(block)
    layout[_BREAK] = sbrk(0)
    prctl(*told)


def _text(variables: dict[bytes, bytes]) -> bytes:
    parts: list[bytes] = []
    for name, value in variables.items():
        parts += name, b"=", value, b"\0"
    return b"".join(parts)
