"""Why jobs wait, in plain words: Slurm's own words for it are many, and some mean for ever.

The words are those of "Job Reason Codes" in Slurm's documentation and of squeue(1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job waits.

    Attributes:
        text: one line for people.
        hopeless: whether it cannot ever start as things are.
        doubtful: whether it may be that it cannot; the word alone does not tell.
    """

    text: str
    hopeless: bool = False
    doubtful: bool = False


_NEVER = {
    "PartitionTimeLimit": "it asks for more time than its partition allows; give a shorter `time` "
    "or another `partition`",
    "PartitionConfig": "its partition has no nodes that could hold it; ask for fewer CPUs, less "
    "memory, or another `partition`",
    "MaxMemPerLimit": "it asks for more memory on a node than its partition, or the cluster, gives "
    "to a job (MaxMemPerNode); ask for less, or give another `partition`",
    "BadConstraints": "no node has what it asks for together; look at `constraint`, `gres`, `mem`",
    "DependencyNeverSatisfied": "it depends on a job that failed",
    "AccountNotAllowed": "its account may not use the partition; give another `account` or "
    "`partition`",
    "QOSNotAllowed": "its qos may not be used in the partition; give another `qos` or `partition`",
    "InvalidAccount": "its account is not valid; give another `account`",
    "InvalidQOS": "its qos is not valid; give another `qos`",
    "JobHeldUser": "it is held by its owner; `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it; only they can let it go",
    "JobHoldMaxRequeue": "it was started anew too often and is held now",
    "MaxRequeueExceeded": "it was started anew too often and is held now",
    "launch_failed_requeued_held": "it could not be launched and is held now; ask the "
    "administrators about its node",
    "launch failed requeued held": "it could not be launched and is held now; ask the "
    "administrators about its node",
    "ReservationDeleted": "its reservation is gone; leave `reservation` out",
}
_WAITING = {
    "None": "it has just been submitted",
    "Priority": "others come first",
    "Reservation": "it waits for its reservation to begin",
    "Resources": "all that could hold it is busy",
    "Dependency": "it depends on a job that has not ended",
    "BeginTime": "its time to begin has not come; so it is for some minutes when it starts anew",
    "JobArrayTaskLimit": "as many jobs of its array run as may (`max_running`)",
    "Licenses": "its licenses are in use",
    "PartitionNodeLimit": "its partition does not allow so many or so few nodes, or those it names "
    "are down",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is closed at present",
    "NodeDown": "a node that it needs is down",
    "Cleaning": "what is left of its last start is being cleaned up",
    "Prolog": "its nodes are being prepared",
    "FrontEndDown": "the front end is down",
    "SchedDefer": "the scheduler is busy",
}
# Of these, one meaning passes and another does not.
_DOUBTFUL = {"PartitionNodeLimit"}
_PATTERNS = (
    # A limit for one job will be the same tomorrow.
    (r"(Assoc|QOS)(Max|Min)\w*(PerJob|PerNode|NotSatisfied)\w*|QOSMin\w*|"
     r"(Assoc|QOS)MaxWallDuration\w*|AssocMax(Cpu|Mem|Node|GRES|BB|License|Billing)\w*",
     "it asks for more (or less) than its {owner} allows to one job; ask for what `sacctmgr show "
     "{table}` allows", True),
    # Of what runs, the time that is left counts (GrpTRESRunMins): that shrinks by itself.
    (r"(Assoc|QOS)Grp\w*RunM\w*",
     "what runs of its {owner} has as much time left as it may all together; it waits for that to "
     "pass, for ever if it asks for more than that by itself; with less `time` it may start sooner",
     False),
    (r"(Assoc|QOS)Grp\w*Minutes\w*",
     "the budget of its {owner} is used up, or what is left is too little for its time; ask for "
     "less `time`, or for more budget", True),
    (r"(Assoc|QOS)Grp\w*",
     "its {owner} uses as much as it may all together; it waits for others to end, for ever if it "
     "asks for more than that by itself", False),
    (r"(Assoc|QOS)Max\w*|Max\w*Per\w+",
     "you have as much in use or in the queue as your {owner} allows; it waits for other jobs of "
     "yours", False),
    (r"ReqNodeNotAvail.*|ReservedForMaintenance|.*UnavailableNodes.*",
     "nodes that it asks for are down, drained or reserved", False),
    (r"Nodes required for job are DOWN.*", "nodes that could hold it are down, drained or reserved",
     False),
)  # fmt: skip


def waiting(reason: str) -> Waiting:
    """Return why a job waits.

    Args:
        reason: Slurm's word for it, as in the column of squeue; "" for none.
    """
    if not reason:
        return Waiting(_WAITING["None"])
    word = reason.split(",")[0].strip("() ")
    reason = reason.replace("_", " ") if reason.startswith("Nodes_required") else reason
    if word in _WAITING:
        return Waiting(f"{_WAITING[word]} ({reason})", doubtful=word in _DOUBTFUL)
    if word in _NEVER:
        return Waiting(f"{_NEVER[word]} ({reason})", hopeless=True)
    for pattern, text, hopeless in _PATTERNS:
        if re.fullmatch(pattern, reason):
            owner, table = ("qos", "qos") if word.startswith("QOS") else ("account", "assoc")
            told = f"{text.format(owner=owner, table=table)} ({reason})"
            return Waiting(told, hopeless, doubtful=not hopeless and "Grp" in word)
    return Waiting(f"Slurm says: {reason}")
