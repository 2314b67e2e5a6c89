"""`Transport`: run a command over there, with streams; the one thing that reaching a machine is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Source: TypeAlias = bytes | AsyncIterable[bytes]
Sink: TypeAlias = Callable[[bytes], Awaitable[None]]

BLOCK_BYTES = 256 * 1024
"""How large the pieces of a stream best are."""

KEPT_STDERR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended that was carried out to its end.

    Attributes:
        code: its exit status; negative for the number of the signal that ended it.
        stdout: what it printed; empty where that went to a sink.
        stderr: the last 64 KiB of what it printed there.
    """

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def said(self) -> str:
        """The last line of its standard error, for messages; its exit status where none."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit status {self.code}"


class Transport(ABC):
    """A way to run commands on one machine, this or another.

    It may be used by many tasks at once, in one event loop.

    Attributes:
        name: the machine, for people: "this machine", "me@node1".
    """

    name: str

    @abstractmethod
    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Source = b"",
        stdout: Sink | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None,  # noqa: ASYNC109 - the far side has to be told, too
    ) -> Completed:
        """Run a command and wait for its end. Cancelled, end it as far as can be done.

        Args:
            argv: the program, found by the PATH there, and its arguments.
            stdin: its standard input.
            stdout: is given its standard output piece by piece; None to have it returned.
            cwd: its working directory; None for that of the login.
            env: variables on top of those it has anyway.
            timeout: seconds for all of it; None only for a command that is meant to stay.

        Raises:
            TransportTimeoutError: time was up; it has been ended as far as can be done.
            TransportError: the machine cannot be reached, or the connection was lost on the way:
                nobody knows how the command ended, or whether it was started.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the machine; bounded. What runs there detached goes on."""
