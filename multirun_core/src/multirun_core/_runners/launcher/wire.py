"""Frames between the driver and the launcher: a length, then a marshalled list of messages."""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How much to receive at once: small enough for malloc(3) not to map pages each time.
PORTION = 1 << 15
_HEADER = 4


def pack(messages: list[tuple[Any, ...]]) -> bytes:
    """Return a frame that holds `messages`."""
    body = marshal.dumps(messages)
    return len(body).to_bytes(_HEADER, "little") + body


class Inbox:
    """Puts received bytes together into messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[Any, ...]]:
        """Take what was received and return the messages that it completes."""
        self._data += data
        messages: list[tuple[Any, ...]] = []
        while len(self._data) >= _HEADER:
            end = _HEADER + int.from_bytes(self._data[:_HEADER], "little")
            if len(self._data) < end:
                break
            messages += marshal.loads(self._data[_HEADER:end])  # noqa: S302 - written by ourselves
            del self._data[:end]
        return messages
