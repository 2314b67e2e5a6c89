"""Variables that would change what Slurm's commands do, and are kept from them.

Someone who has SQUEUE_PARTITION in their profile would not see jobs elsewhere, and these would
count as gone; the variables of a job that the driver runs in would be those of its jobs, too. They
are listed under ENVIRONMENT VARIABLES in the manual page of each command.
"""

from __future__ import annotations

from collections.abc import Sequence

_KEPT_AWAY = {
    "sbatch": (
        "SBATCH_ARRAY_INX", "SBATCH_CLUSTERS", "SBATCH_ERROR", "SBATCH_INPUT", "SBATCH_WAIT",
        # Of a job that the driver is in; srun in a run would take them for its own.
        "SLURM_CPU_BIND", "SLURM_CPU_BIND_LIST", "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_VERBOSE",
        "SLURM_CPUS_PER_TASK", "SLURM_DISTRIBUTION", "SLURM_EXPORT_ENV", "SLURM_HINT",
        "SLURM_MEM_BIND", "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE",
        "SLURM_NNODES", "SLURM_NPROCS", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE",
        "SLURM_RESTART_COUNT", "SLURM_THREADS_PER_CORE", "SLURM_TRES_PER_TASK",
    ),
    "squeue": (
        "SQUEUE_ACCOUNT", "SQUEUE_ARRAY_UNIQUE", "SQUEUE_FEDERATION", "SQUEUE_FORMAT",
        "SQUEUE_FORMAT2", "SQUEUE_LICENSES", "SQUEUE_NAMES", "SQUEUE_PARTITION",
        "SQUEUE_PRIORITY", "SQUEUE_QOS", "SQUEUE_SIBLING", "SQUEUE_SORT", "SQUEUE_USERS",
    ),
    "scancel": (
        "SCANCEL_ACCOUNT", "SCANCEL_BATCH", "SCANCEL_CTLD", "SCANCEL_FULL", "SCANCEL_HURRY",
        "SCANCEL_INTERACTIVE", "SCANCEL_NAME", "SCANCEL_PARTITION", "SCANCEL_QOS",
        "SCANCEL_STATE", "SCANCEL_USER", "SCANCEL_WCKEY",
    ),
    "sinfo": ("SINFO_FEDERATION", "SINFO_FORMAT", "SINFO_PARTITION", "SINFO_SORT"),
}  # fmt: skip


def plain(command: str, *arguments: str) -> Sequence[str]:
    """Return a command without what the environment would add to it."""
    away = [word for name in _KEPT_AWAY.get(command, ()) for word in ("-u", name)]
    return ["env", *away, command, *arguments] if away else [command, *arguments]
