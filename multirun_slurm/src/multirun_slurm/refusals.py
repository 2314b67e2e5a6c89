"""Why sbatch did not take a job: whether to try again, to wait for other jobs, or to give up."""

from __future__ import annotations

import re

from multirun_core._runners.scheduler.command import Refusal

# Texts of slurm_strerror(3), parts of which are in what sbatch says.
_AWAY = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Protocol authentication error",
    "Slurm backup controller in standby mode",
    "Slurm controller not responding",
    "Invalid authentication credential",
    "Munge",
    "munge",
    "Message receive failure",
    "Communication connection failure",
)
_POLICY = "Job violates accounting/QOS policy"
# Before it, sbatch names the limit: AssocMaxSubmitJobLimit, QOSMaxCpuPerJobLimit.
_LIMIT = re.compile(r"\b(?:Assoc|QOS)(?:Grp|Max|Min)\w*")
_CROWDED = (
    "Resource temporarily unavailable",  # MaxJobCount, for an array
    "temporarily unable to accept job",  # MaxJobCount, for a job
    _POLICY,  # MaxSubmitJobs, among others
    "MaxSubmit",
    "Unable to create new job",
    "Too many jobs",
)
_OVERSIZED = "Invalid job array specification"
# After these nobody knows whether the controller has taken the job.
_UNKNOWN = (
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Message receive failure",
    "Connection timed out",
)
_ADVICE = {
    "Memory specification can not be satisfied": "no node has so much memory; "
    "`sinfo -o '%P %m'` lists what there is in MiB",
    "Invalid partition name specified": "`sinfo -s` lists the partitions",
    "Invalid account or account/partition combination specified": "`sacctmgr show assoc "
    "user=$USER` lists the accounts; give `account`, and a `partition` that it may use",
    "Invalid qos specification": "`sacctmgr show qos` lists them; give another `qos`",
    "Requested node configuration is not available": "no node of the partition has so many CPUs, "
    "so much memory, or such GPUs; `sinfo -o '%P %c %m %G'` lists what there is",
    "Invalid generic resource (gres) specification": "`sinfo -o '%P %G'` lists the devices",
    "Invalid feature specification": "`sinfo -o '%P %f'` lists the features for `constraint`",
    "Requested time limit is invalid": "`sinfo -o '%P %l'` lists the limits; give a shorter `time`",
    "Invalid node name specified": "`sinfo -N` lists the nodes",
    "Invalid license specification": "`scontrol show licenses` lists them",
    _OVERSIZED: "the array is larger than MaxArraySize or max_array_tasks",
    "Access/permission denied": "the partition, account or reservation is not for you",
}


def refusal(code: int, printed: str, complained: str) -> Refusal:
    """Say why sbatch failed, or exited with 0 and printed no id.

    Args:
        code: its exit status.
        printed: its standard output.
        complained: its standard error.
    """
    words = "; ".join(
        line.strip().removeprefix("sbatch: ").removeprefix("error: ")
        for line in complained.splitlines()
        if line.strip()
    )
    limit = _LIMIT.search(words) if _POLICY in words else None
    if code > 0 and limit is not None and "Submit" not in limit[0]:
        owner, table = ("qos", "qos") if limit[0].startswith("QOS") else ("account", "assoc")
        return Refusal(
            message=f"{words[:1000]} (it asks for more, or less, than its {owner} allows; "
            f"`sacctmgr show {table}` lists the limits)"
        )
    crowded = any(text in words for text in _CROWDED)
    if code == 0:
        return Refusal(
            message=f"sbatch succeeded, but printed no job id: {printed[:200]!r} {words[:200]}",
            transient=True,
            unknown=True,
        )
    if code < 0:
        return Refusal(
            message=f"sbatch was ended by signal {-code}: {words[:500]}",
            transient=True,
            crowded=crowded,
            unknown=True,
        )
    away = any(text in words for text in _AWAY)
    advice = next((more for text, more in _ADVICE.items() if text in words), "")
    message = words[:1000] or f"sbatch exited with {code} and said nothing"
    return Refusal(
        message=f"{message} ({advice})" if advice else message,
        transient=crowded or away,
        crowded=crowded,
        unknown=any(text in words for text in _UNKNOWN),
        oversized=_OVERSIZED in words,
    )
