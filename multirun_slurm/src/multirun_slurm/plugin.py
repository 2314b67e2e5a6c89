"""The plugin: says that there is a Slurm runner, and imports nothing of it."""

from __future__ import annotations

from multirun_core.plugins import RunnerSpec, hookimpl


@hookimpl
def multirun_register_runners() -> list[RunnerSpec]:
    """Return the Slurm runner."""
    return [
        RunnerSpec(
            "slurm",
            "multirun_slurm.runner:SlurmRunner",
            "Run as job arrays on a Slurm cluster",
        )
    ]
