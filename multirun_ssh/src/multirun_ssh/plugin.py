"""What multirun asks when it looks for runners; imports nothing heavy."""

from __future__ import annotations

from multirun_core.plugins import RunnerSpec, hookimpl


@hookimpl
def multirun_register_runners() -> list[RunnerSpec]:
    """Return the runner of this distribution."""
    return [
        RunnerSpec(
            "ssh",
            "multirun_ssh.runner:SSHRunner",
            "Run on a pool of hosts over SSH",
            "multirun_ssh.check:check",
        )
    ]
