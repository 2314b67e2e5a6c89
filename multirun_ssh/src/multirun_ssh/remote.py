"""What a login shell is told so that a command runs, and what frames the command's output.

Whatever shell a login has, it is given words that every shell reads alike, and starts sh. What the
login's own start-up files print comes before a mark and is taken away again.
"""

from __future__ import annotations

import os
import re
import secrets

from multirun_core.errors import TransportError

LONGEST = 120_000
"""Bytes: Linux takes no argument of a program that is longer than 128 KiB."""

# csh has its own mind about ! and newlines between single quotes, fish about backslashes.
_UNSURE = re.compile(rb"[^ \"#$%&()*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z{|}~]")


class Mark:
    """Frames one command.

    Attributes:
        text: what no command prints by chance.
        pid: of the command over there, which leads a process group; None until it has started.
    """

    def __init__(self) -> None:
        self.text = f"multirun-{secrets.token_hex(8)}"
        self.pid: int | None = None
        self._before = bytearray()

    def command(self, line: str, *, tell_end: bool = False) -> str:
        """Return what to have the login shell execute.

        Args:
            line: the command as text for sh, which replaces the shell.
            tell_end: whether its exit status is to come at the end of its standard error.

        Raises:
            TransportError: it is too long for any host.
        """
        begin = f"echo {self.text} $$; "
        if tell_end:
            line = f'({line}); echo "{self.text} $?" >&2'
        told = for_any_shell(begin + line)
        if len(told) > LONGEST:
            raise TransportError(
                f"a command of {len(told)} bytes is too long to be given to a host; put what it "
                "is about into a file"
            )
        return told

    def strip(self, block: bytes) -> bytes:
        """Take away what came before the command's own standard output, and notice its pid."""
        if self.pid is not None:
            return block
        self._before += block
        head, found, rest = self._before.partition(self.text.encode() + b" ")
        number, newline, after = rest.partition(b"\n")
        if not found or not newline:
            return b""
        self.pid = int(number)
        self._before = head
        return bytes(after)

    @property
    def before(self) -> str:
        """What the login printed before the command; all it printed where that never came."""
        return bytes(self._before[-1000:]).decode(errors="replace").strip()

    def end(self, stderr: bytes) -> tuple[bytes, int | None]:
        """Split what `tell_end` had added from standard error; None where it has not come."""
        said, found, code = stderr.rpartition(self.text.encode() + b" ")
        if not found or not code.endswith(b"\n"):
            return stderr, None
        return said, int(code)


def for_any_shell(line: str) -> str:
    """Return a command that has sh execute a line, as any login shell understands it."""
    data = os.fsencode(line)
    if not _UNSURE.search(data):
        return f"exec sh -c '{line}'"
    escaped = _UNSURE.sub(lambda found: b"\\0%03o" % found[0][0], data).decode("ascii")
    return f"""exec sh -c 'eval "$(printf %b "$1")"' sh '{escaped}'"""


def ending(pid: int) -> str:
    """Return a line for sh that ends a command's process group: TERM, at most 2 s, KILL.

    It begins with no `--`, which dash takes for a number.
    """
    return (
        f"kill -TERM -{pid} 2>/dev/null; i=0; "
        f"while [ $i -lt 20 ] && kill -0 -{pid} 2>/dev/null; "
        "do sleep 0.1 2>/dev/null || sleep 1; i=$((i+1)); done; "
        f"kill -KILL -{pid} 2>/dev/null"
    )
