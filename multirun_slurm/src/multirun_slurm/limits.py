"""What the cluster allows: asked once, so that what could never start is refused at once.

Slurm accepts more CPUs than any node has, or a time or nodes over the partition's limits, and
leaves such jobs in the queue for ever (EnforcePartLimits=NO in slurm.conf(5), the default); see
`fitting`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from multirun_slurm.job import JobOptions
from multirun_slurm.parse import parse_config, parse_records, parse_table
from multirun_slurm.units import minutes_text, parse_minutes
from multirun_slurm.variables import plain

CONFIG = ("scontrol", "show", "config")
PARTITIONS = plain("sinfo", "--all", "--noheader", "--exact", "-o", "%P|%l|%c|%m|%D|%G")
DEFAULTS = ("scontrol", "--all", "--oneliner", "show", "partition")
WHO = ("id", "-un")
MINE = plain("squeue", "--me", "--noheader", "--array", "-o", "%i")
ALL = plain("squeue", "--noheader", "--array", "--states=all", "-o", "%i")
OVERRIDING = ("PartitionTimeLimit", "PartitionMaxNodes", "PartitionMinNodes")
"""Flags of qos by which a limit of partitions does not count."""
QOS = (
    "sacctmgr", "-nP", "show", "qos",
    "format=Name,Flags,MaxSubmitPU,MaxSubmitPA,GrpSubmit,MaxWall",
)  # fmt: skip

_PARTITION_COLUMNS = ("name", "minutes", "cpus", "memory", "nodes", "gres")
_ASSOCIATION_COLUMNS = (
    "account", "partition", "qos", "default_qos", "max_submit", "grp_submit", "max_wall",
)  # fmt: skip
_QOS_COLUMNS = ("name", "flags", "max_submit_user", "max_submit_account", "grp_submit", "max_wall")

_QOS_SUBMIT = ("max_submit_user", "max_submit_account", "grp_submit")


def associations(user: str) -> Sequence[str]:
    """Return the command that tells about what a user may do."""
    columns = "format=Account,Partition,QOS,DefaultQOS,MaxSubmit,GrpSubmit,MaxWall"
    return ("sacctmgr", "-nP", "show", "assoc", "where", f"user={user}", columns)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes of a partition that are alike.

    Attributes:
        cpus, memory_mib: of each of them.
        count: how many there are.
        gpus: how many each has.
    """

    cpus: int
    memory_mib: int
    count: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition.

    Attributes:
        name: its name.
        default: whether jobs go there that name none.
        minutes: its time limit; infinity where it has none.
        nodes: what nodes it has.
        mem_per_cpu, mem_per_node: the MiB that a job gets which asks for no memory; 0 where that
            is all that there is, or not known.
        size: how many nodes it has, those included that sinfo does not show, such as cloud nodes
            that are off; None where that is not known.
        min_nodes, max_nodes: how few and how many nodes it gives to one job; no `max_nodes` where
            there is no limit, or it is not known.
        max_cpus: how many CPUs of a node its jobs may have; 0 where there is no limit, or it is not
            known.
        max_mem_per_cpu, max_mem_per_node: the MiB that a job may have on a node, the first for
            each CPU: who asks for more gets more CPUs. 0 as for `max_cpus`.
    """

    name: str
    default: bool
    minutes: float
    nodes: tuple[Nodes, ...]
    mem_per_cpu: int = 0
    mem_per_node: int = 0
    size: int | None = None
    min_nodes: int = 0
    max_nodes: int | None = None
    max_cpus: int = 0
    max_mem_per_cpu: int = 0
    max_mem_per_node: int = 0

    @property
    def usable(self) -> tuple[Nodes, ...]:
        """The nodes that there are, each with as much as one job may have of it."""

        def most(one: Nodes) -> Nodes:
            cpus = min(one.cpus, self.max_cpus or one.cpus)
            bounds = (one.memory_mib, self.max_mem_per_node, self.max_mem_per_cpu * cpus)
            return replace(one, cpus=cpus, memory_mib=min(filter(None, bounds), default=0))

        return tuple(most(one) for one in self.nodes if one.count)

    @property
    def text(self) -> str:
        """What it has, for people."""
        limit = "no time limit" if self.minutes == math.inf else minutes_text(self.minutes)
        kinds = ", ".join(
            f"{one.count} with {one.cpus} CPUs, {one.memory_mib} MiB"
            + (f", {one.gpus} GPUs" if one.gpus else "")
            for one in self.nodes
        )
        return f"{self.name} ({limit}; nodes: {kinds or 'none'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the cluster allows; None or nothing where it could not be asked.

    Attributes:
        array_size: how many tasks an array may have: MaxArraySize, or max_array_tasks of
            SchedulerParameters where that is less.
        job_count: MaxJobCount: the controller holds one job less, of all users, those that ended
            within `min_job_age` included.
        min_job_age: seconds for which it remembers jobs that have ended.
        submit: how many jobs may be in the queue at once, by account or qos.
        minutes: the most minutes that a job may ask for, by account or qos.
        accounting: whether sacct works.
        partitions: what there is.
        overrides: flags of qos, see sacctmgr(1), that some qos has: with "PartitionTimeLimit" jobs
            may go over the time limit of partitions, with "PartitionMaxNodes" over `max_nodes`,
            with "PartitionMinNodes" below `min_nodes`.
    """

    array_size: int | None = None
    job_count: int | None = None
    min_job_age: int | None = None
    submit: int | None = None
    minutes: float | None = None
    accounting: bool = False
    partitions: tuple[Partition, ...] = ()
    overrides: frozenset[str] = frozenset()

    @property
    def room(self) -> int | None:
        """How many jobs may be in the queue at once, all in all; None where nothing is known."""
        return self.left(mine=0, everyone=0)

    def left(self, *, mine: int, everyone: int) -> int | None:
        """Return how many more jobs there is room for; None where nothing is known.

        Args:
            mine: how many of the user's are in the queue.
            everyone: how many the controller holds, those that have ended included.
        """
        known: list[int] = []
        if self.submit is not None:
            known.append(self.submit - mine)
        if self.job_count is not None:
            known.append(self.job_count - 1 - everyone)
        return max(0, min(known)) if known else None


@dataclass(slots=True)
class Answers:
    """What the commands printed; "" of one that failed.

    Attributes:
        config, partitions, associations, qos, defaults: of the commands of these names.
        own_memory: whether what a partition gives by default does not count, since something else
            says how much memory a job gets that asks for none.
    """

    config: str = ""
    partitions: str = ""
    associations: str = ""
    qos: str = ""
    defaults: str = ""
    own_memory: bool = False

    def limits(self, options: JobOptions) -> Limits:
        """Return what they mean.

        Args:
            options: say which account and qos count.
        """
        config = parse_config(self.config)
        qos = parse_table(self.qos, _QOS_COLUMNS)
        accounting = config.get("AccountingStorageType") == "accounting_storage/slurmdbd"
        flags = {flag for row in qos for flag in row["flags"].split(",") if flag}
        if accounting and not self.qos.strip():  # nobody has told, and each may be set
            flags = set(OVERRIDING)
        return Limits(
            array_size=_array_size(config),
            job_count=_number(config.get("MaxJobCount", "")),
            min_job_age=_number(config.get("MinJobAge", "").partition(" ")[0]),
            submit=self._submit(options, qos),
            minutes=self._minutes(options, qos),
            accounting=accounting,
            partitions=tuple(self._partitions(config)),
            overrides=frozenset(flags),
        )

    def _partitions(self, config: Mapping[str, str]) -> Iterator[Partition]:
        """Yield partitions with all that scontrol tells; see DefMemPerCPU in slurm.conf(5)."""
        told = {row.get("PartitionName"): row for row in parse_records(self.defaults)}
        for one in read_partitions(self.partitions):
            if one.name not in told:
                yield one
                continue
            row = told[one.name]
            by_cpu, by_node = _memory("MaxMem", row, config)
            one = replace(
                one,
                size=_number(row.get("TotalNodes", "")),
                min_nodes=_number(row.get("MinNodes", "")) or 0,
                max_nodes=_number(row.get("MaxNodes", "")),
                max_cpus=_number(row.get("MaxCPUsPerNode", "")) or 0,
                max_mem_per_cpu=by_cpu,
                max_mem_per_node=by_node,
            )
            counted = row.get("SelectTypeParameters", "NONE")
            if counted == "NONE":
                counted = config.get("SelectTypeParameters", "")
            if "MEMORY" in counted.upper() and not self.own_memory:
                by_cpu, by_node = _memory("DefMem", row, config)
                one = replace(one, mem_per_cpu=by_cpu, mem_per_node=by_node)
            yield one

    def _used(
        self, options: JobOptions, qos: Sequence[Mapping[str, str]]
    ) -> Iterator[tuple[Mapping[str, str], Mapping[str, str]]]:
        """Yield what the user may go by: associations, each with the qos that is used then."""
        by_name = {row["name"]: row for row in qos}
        for row in parse_table(self.associations, _ASSOCIATION_COLUMNS):
            if options.account in (None, row["account"]):
                used = options.qos or row["default_qos"] or row["qos"]
                yield row, by_name.get(used, {})

    def _minutes(self, options: JobOptions, qos: Sequence[Mapping[str, str]]) -> float | None:
        """Return the least MaxWall that may count: that of the qos goes before the account's."""
        said = [of.get("max_wall") or row["max_wall"] for row, of in self._used(options, qos)]
        return min((limit for text in said if (limit := parse_minutes(text))), default=None)

    def _submit(self, options: JobOptions, qos: Sequence[Mapping[str, str]]) -> int | None:
        counts: list[int | None] = []
        for row, of in self._used(options, qos):
            limits = (of.get(n, "") for n in _QOS_SUBMIT)
            said = [row["max_submit"], row["grp_submit"], *limits]
            numbers = [number for text in said if (number := _number(text)) is not None]
            counts.append(min(numbers, default=None))
        if any(one != 0 for one in counts):  # nobody submits where nothing may be
            counts = [one for one in counts if one != 0]
        return min((one for one in counts if one is not None), default=None)


def read_partitions(printed: str) -> tuple[Partition, ...]:
    """Read what `PARTITIONS` printed."""
    found: dict[str, Partition] = {}
    for row in parse_table(printed, _PARTITION_COLUMNS):
        name = row["name"].rstrip("*")
        minutes, cpus, memory = parse_minutes(row["minutes"]), row["cpus"], row["memory"]
        if minutes is None or not cpus.isdecimal() or not memory.isdecimal():
            continue
        nodes = Nodes(int(cpus), int(memory), _number(row["nodes"]) or 0, gpus_of(row["gres"]))
        before = found[name].nodes if name in found else ()
        found[name] = Partition(name, row["name"].endswith("*"), minutes, _joined(before, nodes))
    return tuple(found.values())


def gpus_of(gres: str) -> int:
    """Return how many GPUs are in such as `gpu:a100:4(S:0-1),shard:8`; no number says one."""
    parts = [one.split(":") for one in re.sub(r"\([^)]*\)", "", gres).split(",")]
    amounts = [words[1:] for words in parts if words[0] == "gpu"]
    numbers = [[int(one) for one in words if re.fullmatch(r"[0-9]{1,6}", one)] for words in amounts]
    return sum(found[-1] if found else 1 for found in numbers)


def _joined(before: tuple[Nodes, ...], nodes: Nodes) -> tuple[Nodes, ...]:
    """Add nodes to those of a partition; sinfo lists those in different states apart."""
    kept: list[Nodes] = []
    for one in before:
        if (one.cpus, one.memory_mib, one.gpus) == (nodes.cpus, nodes.memory_mib, nodes.gpus):
            nodes = Nodes(one.cpus, one.memory_mib, one.count + nodes.count, one.gpus)
        else:
            kept.append(one)
    return (*kept, nodes)


def _array_size(config: Mapping[str, str]) -> int | None:
    parameters = config.get("SchedulerParameters", "")
    tasks = re.search(r"(?:^|,)max_array_tasks=(\d{1,9})", parameters, re.ASCII)
    sizes = [_number(config.get("MaxArraySize", "")), int(tasks[1]) if tasks else None]
    return min((size for size in sizes if size), default=None)


def _memory(kind: str, row: Mapping[str, str], config: Mapping[str, str]) -> tuple[int, int]:
    """Return the MiB per CPU and per node of a partition, or else of the cluster; 0 for none."""
    for told in (row, config):
        by_cpu, by_node = (_number(told.get(f"{kind}Per{one}", "")) or 0 for one in ("CPU", "Node"))
        if by_cpu or by_node:
            return by_cpu, by_node
    return 0, 0


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() else None
