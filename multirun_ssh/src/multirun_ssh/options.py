"""How hosts are connected to: one object for all that the options of the runner say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from multirun_core.errors import RunnerOptionError


@dataclass(frozen=True, slots=True)
class Connecting:
    """How hosts are connected to. The names are those of the runner's options.

    Attributes:
        transport: "asyncssh", or "openssh" for the system's ssh.
        ssh_config: the configuration to read in place of ~/.ssh/config.
        known_hosts: the file of host keys that are trusted; "default" for what ssh would read;
            None for trusting any host, which warns.
        connect_timeout: seconds that a connection may take, login and further attempts included.
        silence_timeout: seconds without a word from a host after which its connection is lost.
        sessions: how many commands at once a connection is used for, while sshd allows it.
    """

    transport: Literal["asyncssh", "openssh"] = "asyncssh"
    ssh_config: Path | None = None
    known_hosts: Path | Literal["default"] | None = "default"
    connect_timeout: float = 30.0
    silence_timeout: float = 15.0
    sessions: int = 4

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            RunnerOptionError: names the option and its value.
        """
        for name in ("connect_timeout", "silence_timeout"):
            if not getattr(self, name) > 0:
                raise RunnerOptionError(f"{name} is {getattr(self, name)}; it must be over 0 s")
        if self.sessions < 1:
            raise RunnerOptionError(f"sessions is {self.sessions}; at least one is needed")
        for name in ("ssh_config", "known_hosts"):
            path = getattr(self, name)
            if path not in (None, "default") and not Path(path).expanduser().is_file():
                raise RunnerOptionError(f"{name} {str(path)!r} is no file that can be read")

    @property
    def config_files(self) -> Sequence[Path]:
        """The files of configuration that there are, in the order in which ssh reads them."""
        if self.ssh_config is not None:
            return [Path(self.ssh_config).expanduser()]
        usual = (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config"))
        return [path for path in usual if path.is_file()]
