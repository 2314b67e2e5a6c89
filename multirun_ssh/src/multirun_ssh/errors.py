"""Why a host cannot be used: whether trying again may help, and what to do otherwise."""

from __future__ import annotations

from multirun_core.errors import TransportError


class LoginRefusedError(TransportError):
    """Raised when a host is there and does not let us in; trying again does not help."""

    permanent = True


class HostKeyError(LoginRefusedError):
    """Raised when a host cannot prove who it is; shows its fingerprint and what to do."""


class NeverSentError(TransportError):
    """Raised when a connection was lost before the command was sent: it has not started."""


class LoginNeedsPersonError(TransportError):
    """Raised when a login asks for what only a person can give, and there is no terminal.

    Nothing has failed: wait, and try again.

    Attributes:
        command: what a person can type, in any terminal of this machine, to log in.
    """

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message)
        self.command = command
