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
        # Of a job or step that the driver is in: where Slurm does not set them anew, the jobs' own
        # script would take ARRAY_TASK_ID, and srun in a run the others, for those of its job.
        "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_CONTAINER",
        "SLURM_CPUS_PER_GPU", "SLURM_CPUS_PER_TASK", "SLURM_CPU_BIND", "SLURM_CPU_BIND_LIST",
        "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_VERBOSE", "SLURM_CPU_FREQ_REQ",
        "SLURM_DISTRIBUTION", "SLURM_DIST_PLANESIZE", "SLURM_EXPORT_ENV", "SLURM_GPUS",
        "SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_SOCKET",
        "SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "SLURM_GPU_FREQ", "SLURM_HET_SIZE", "SLURM_HINT",
        "SLURM_JOB_DEPENDENCY", "SLURM_JOB_GPUS", "SLURM_JOB_RESERVATION", "SLURM_MEM_BIND",
        "SLURM_MEM_BIND_LIST", "SLURM_MEM_BIND_PREFER", "SLURM_MEM_BIND_SORT",
        "SLURM_MEM_BIND_TYPE", "SLURM_MEM_BIND_VERBOSE", "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU",
        "SLURM_MEM_PER_NODE", "SLURM_NNODES", "SLURM_NPROCS", "SLURM_NTASKS",
        "SLURM_NTASKS_PER_CORE", "SLURM_NTASKS_PER_GPU", "SLURM_NTASKS_PER_NODE",
        "SLURM_NTASKS_PER_SOCKET", "SLURM_NTASKS_PER_TRES", "SLURM_OVERCOMMIT", "SLURM_PROFILE",
        "SLURM_RESTART_COUNT", "SLURM_SHARDS_ON_NODE", "SLURM_SRUN_COMM_HOST",
        "SLURM_SRUN_COMM_PORT", "SLURM_STEPID", "SLURM_STEP_GPUS", "SLURM_STEP_ID",
        "SLURM_STEP_LAUNCHER_PORT", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_NODES",
        "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_THREADS_PER_CORE",
        "SLURM_TRES_PER_TASK", "SLURM_UMASK",
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
