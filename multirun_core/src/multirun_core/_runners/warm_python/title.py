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
_NO_FILE = 0xFFFFFFFF
_kept: list[Any] = []


def prepare() -> None:
    """Look up what is needed, before the forks."""
    if ctypes is not None:
        libc = ctypes.CDLL(None)
        libc.sbrk.restype = ctypes.c_void_p
        _kept.append(libc)


def show(words: list[bytes], variables: dict[bytes, bytes]) -> None:
    """Be listed with this command and this environment, if the system lets us."""
    if ctypes is None or not _kept:
        return
    libc = _kept[0]
    texts = (words, [name + b"=" + value for name, value in variables.items()])
    places: list[int] = []
    for text in texts:
        buffer = ctypes.create_string_buffer(
            b"\0".join([*text, b""]), sum(map(len, text)) + len(text)
        )
        _kept.append(buffer)
        places += [ctypes.addressof(buffer), ctypes.addressof(buffer) + len(buffer)]
    with open("/proc/self/stat", "rb") as stat:
        fields = list(map(int, stat.read().rpartition(b")")[2].split()[1:]))
    # Numbered as in proc(5), where the first of these is field 4.
    code, stack, data, heap = fields[22:24], fields[24], fields[41:43], fields[43]
    addresses = [*code, *data, heap, libc.sbrk(0), stack, *places]
    layout = (ctypes.c_uint64 * (_ADDRESSES + 2))(*addresses, 0, _NO_FILE << 32)
    libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(layout), ctypes.sizeof(layout), 0)
