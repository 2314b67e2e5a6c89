"""A runner for multirun that carries runs out on a pool of hosts over SSH.

    from multirun_core import multirun
    from multirun_ssh import SSHRunner
    multirun(runs=…, cmd=…, runner=SSHRunner(hosts=["node1", "node2:8"]))

Importing this package imports next to nothing: `SSHRunner` is looked up when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multirun_ssh.runner import SSHRunner as SSHRunner

__all__ = ["SSHRunner"]


def __getattr__(name: str) -> object:
    if name != "SSHRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multirun_ssh.runner import SSHRunner

    return SSHRunner
