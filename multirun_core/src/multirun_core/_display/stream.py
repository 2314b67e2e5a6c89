"""A text stream that never raises, and what kind of place it leads to."""

from __future__ import annotations

import os
import sys
from typing import Literal, TextIO, TypeAlias

Place: TypeAlias = Literal["terminal", "notebook", "plain", "nowhere"]


class SafeStream:
    """Writes to a stream until that fails, then drops everything.

    Standard error may be closed, or a pipe whose reader has gone; a sweep must not end for that.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def usable(self) -> bool:
        """Whether what is written may still arrive."""
        return self._stream is not None and not getattr(self._stream, "closed", False)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        """Return the descriptor; raises OSError where there is none."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        stream = self._stream
        if stream is None:
            return len(text)
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        except (OSError, ValueError, LookupError, AttributeError, RuntimeError):
            self._stream = None
        return len(text)

    def flush(self) -> None:
        """Flush the stream, as far as it still is one."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError, AttributeError):
            self._stream = None


def in_notebook() -> bool:
    """Whether this process is the kernel of a Jupyter notebook."""
    # Nobody is in a notebook who has not imported IPython.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def place_of(stream: SafeStream) -> Place:
    """Tell where the stream leads to; a terminal that cannot move its cursor counts as plain."""
    if not stream.usable:
        return "nowhere"
    if stream.isatty():
        able = os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
        return "terminal" if able else "plain"
    return "plain"


def one_line(text: str) -> str:
    """Return the text with its control characters escaped, so that it stays one line and safe."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
