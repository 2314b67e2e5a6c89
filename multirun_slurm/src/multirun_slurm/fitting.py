"""What can start: whether the cluster has what a job asks for, and how much of it a node holds."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from multirun_core._model.resources import Resources
from multirun_core.errors import UsageError

from multirun_slurm.arguments import effective, leaves_memory, on_one_node
from multirun_slurm.job import JobOptions
from multirun_slurm.limits import Limits, Nodes, Partition
from multirun_slurm.units import mebibytes_of, minutes_text

_MIB = 1 << 20


def chosen(
    options: JobOptions, partitions: Sequence[Partition], default: str | None = None
) -> list[Partition]:
    """Return the partitions that a job may go to; none where they are not known.

    Args:
        options: what it asks for.
        partitions: what there is.
        default: what SBATCH_PARTITION says, which counts where no option does.
    """
    names = _names(options, default)
    there = {one.name: one for one in partitions}
    if names:
        return [there[name] for name in names if name in there]
    return [one for one in partitions if one.default]


def check(options: JobOptions, limits: Limits, default: str | None = None) -> None:
    """Refuse what Slurm would accept and never start.

    Args:
        options: what a job asks for.
        limits: what there is; what is not known is not refused.
        default: as for `chosen`.

    Raises:
        UsageError: says what is asked for, what there is, and what to do.
    """
    why = why_never(options, limits, default)
    if why is not None:
        places = "; ".join(one.text for one in chosen(options, limits.partitions, default))
        asked = f"\n  asked for in: {places}" if places else ""
        raise UsageError(f"no run could ever start: {why}{asked}")


def why_never(
    options: JobOptions, limits: Limits, default: str | None = None, *, time: str = "time"
) -> str | None:
    """Return why a job could never start, and what to do; None where it could, or nobody knows.

    Args:
        options: what it asks for.
        limits: what there is.
        default: as for `chosen`.
        time: what its time comes from.
    """
    there = {one.name: one for one in limits.partitions}
    unknown = [name for name in _names(options, default) if name not in there]
    if there and unknown:
        return f"there is no partition {unknown[0]!r}; there are: {', '.join(sorted(there))}"
    asked, default_counts = effective(on_one_node(options)), leaves_memory(options)
    pinned = asked.nodes is not None and effective(options).nodes is None

    def lacks(one: Partition) -> str | None:
        if not default_counts:
            one = replace(one, mem_per_cpu=0, mem_per_node=0)
        return (
            ("PartitionTimeLimit" not in limits.overrides and _lacks_time(asked, one, time))
            or _lacks_nodes(asked, one, limits.overrides, pinned=pinned)
            or _lacks_room(asked, one)
        )

    why = [lacks(one) for one in chosen(options, limits.partitions, default)]
    if not why or not all(why):
        return None
    others = [one for one in there.values() if lacks(one) is None]
    return f"{why[0]}; partition {others[0].name!r} would do" if others else why[0]


def longest(partitions: Sequence[Partition], seconds: float) -> float | None:
    """Return for how many seconds a job may go on, wherever it starts; None for no limit.

    Args:
        partitions: where it may start; those do not count that are no place for one of its runs.
        seconds: for how long such a run may go on.
    """
    limits = [math.floor(one.minutes) * 60.0 for one in partitions if one.minutes < math.inf]
    return min((one for one in limits if one >= seconds), default=None)


def runs_on_a_node(partitions: Sequence[Partition], options: JobOptions, needs: Resources) -> int:
    """Return how many runs a node can hold at most; 0 where that is not known, or none can."""
    cpus, default_counts = needs.cpus or 1, leaves_memory(options)

    def share(one: Partition) -> tuple[int, int]:
        if needs.memory_bytes is not None:
            return cpus, needs.memory_bytes
        if options.mem_per_cpu is None and not default_counts:
            return cpus, 0
        return cpus * _factor(options, one), _MIB * _memory(options, cpus, one)

    def held(node: Nodes, cpus: int, memory: int) -> int:
        by_cpus = node.cpus // cpus
        return min(by_cpus, node.memory_mib * _MIB // memory) if memory else by_cpus

    return max(
        (held(node, *share(one)) for one in partitions for node in one.usable),
        default=0,
    )


def default_memory(partitions: Sequence[Partition]) -> tuple[str, int] | None:
    """Return what a job gets that asks for no memory, as an option and its MiB.

    Args:
        partitions: where it may start.

    Returns:
        None where that is a whole node's, not known, or not the same kind in all of them.
    """
    for name in ("mem_per_cpu", "mem_per_node"):
        sizes: list[int] = [getattr(one, name) for one in partitions]
        if sizes and all(sizes):
            return name.removesuffix("_per_node"), max(sizes)
    return None


def _node_share(options: JobOptions, partition: Partition) -> tuple[int, int]:
    """Return the CPUs and MiB that a job takes of one node at least."""
    cpus = options.cpus_per_task or 1
    if options.ntasks_per_node is not None:
        cpus *= options.ntasks_per_node
    elif options.nodes in (1, "1"):
        cpus *= options.ntasks or 1
    return cpus * _factor(options, partition), _memory(options, cpus, partition)


def _factor(options: JobOptions, partition: Partition) -> int:
    """Return how many CPUs a job gets for each that it asks for: more memory means more CPUs.

    slurm.conf(5), MaxMemPerCPU. Who asks for memory of a node gets as many CPUs as it takes, which
    `Partition.usable` makes up for.
    """
    most, each = partition.max_mem_per_cpu, 0 if options.mem is not None else partition.mem_per_cpu
    if options.mem_per_cpu is not None:
        each = mebibytes_of("mem_per_cpu", options.mem_per_cpu)
    return max(1, -(-each // most)) if most else 1


def _gpus_on_a_node(options: JobOptions) -> int:
    """Return how many GPUs a job takes of one node; 0 where several may share them."""
    if options.gpus is None or _bounds(options) != (1, 1):
        return 0
    counts = (one.rpartition(":")[2] for one in str(options.gpus).split(","))
    return sum(int(one) if re.fullmatch(r"\d{1,6}", one, re.ASCII) else 1 for one in counts)


def _memory(options: JobOptions, cpus: int, partition: Partition) -> int:
    """Return the MiB that go with so many CPUs of a node."""
    if options.mem_per_cpu is not None:
        return mebibytes_of("mem_per_cpu", options.mem_per_cpu) * cpus
    if options.mem_mib is not None:
        return options.mem_mib
    return partition.mem_per_cpu * cpus or partition.mem_per_node


def _names(options: JobOptions, default: str | None) -> list[str]:
    asked = effective(options).partition
    wanted = default if asked is None else asked
    return wanted.split(",") if isinstance(wanted, str) else list(wanted or ())


def _lacks_time(options: JobOptions, partition: Partition, time: str) -> str | None:
    minutes = options.minutes
    if minutes is None or minutes <= partition.minutes:
        return None
    return (
        f"{time} is {minutes_text(minutes)}, but partition {partition.name!r} allows "
        f"{minutes_text(partition.minutes)}; give a shorter time or another partition"
    )


def _lacks_nodes(
    options: JobOptions, partition: Partition, overrides: Collection[str], *, pinned: bool
) -> str | None:
    """Return why a partition never gives so many, or so few, nodes to a job; None where it does.

    sbatch(1), `--nodes`: a job stays in the queue if one of its bounds is beyond the partition's,
    but for a lower bound below `min_nodes`.
    """
    least, most = _bounds(options)
    size, highest, lowest = partition.size, partition.max_nodes, partition.min_nodes
    if size and least > size:
        return (
            f"a run needs {least} nodes, but partition {partition.name!r} has {size}; give fewer "
            "nodes or another partition"
        )
    asked = f"nodes is {options.nodes!r}, but partition {partition.name!r} gives a job"
    wanted = most or least
    if highest is not None and wanted > highest and "PartitionMaxNodes" not in overrides:
        return f"{asked} no more than {highest} (MaxNodes); give fewer nodes or another partition"
    if most is not None and most < lowest and "PartitionMinNodes" not in overrides:
        if pinned:
            return (
                f"the GPUs of a run are on one node, but partition {partition.name!r} gives a job "
                f"no fewer than {lowest} (MinNodes); give as many nodes, or another partition"
            )
        return (
            f"{asked} no fewer than {lowest} (MinNodes); give more nodes, leave nodes out, or give "
            "another partition"
        )
    return None


def _lacks_room(options: JobOptions, partition: Partition) -> str | None:
    """Return what a partition's nodes can never give to a job; None where they can."""
    nodes = partition.usable
    hidden = (partition.size or 0) > sum(one.count for one in partition.nodes)  # cloud nodes, off
    if not nodes or hidden:
        return None
    cpus, memory = _node_share(options, partition)
    most = max(one.cpus for one in nodes)
    if cpus > most:
        return (
            f"a run needs {cpus} CPUs on one node{_by_memory(options, partition)}, but "
            f"{_no_more(partition, most, 'cpus')}; give fewer cpus_per_task or another partition"
        )
    most = max(one.memory_mib for one in nodes)
    if memory > most:
        return (
            f"a run needs {memory} MiB on one node{_by_default(options, partition)}, but "
            f"{_no_more(partition, most, 'memory_mib')}; ask for less memory or another "
            "partition"
        )
    gpus, most = _gpus_on_a_node(options), max(one.gpus for one in nodes)
    if gpus > most:
        return (
            f"a run needs {gpus} GPUs on one node, but {_no_more(partition, most, 'gpus')}; give "
            "fewer gpus, as many nodes as are to share them, or another partition"
        )
    if not any(one.cpus >= cpus and one.memory_mib >= memory and one.gpus >= gpus for one in nodes):
        amounts = {"CPUs": cpus, "MiB": memory, "GPUs": gpus}
        asked = [f"{amount} {unit}" for unit, amount in amounts.items() if amount]
        return (
            f"a run needs {' and '.join(asked)} on one node, and no node of partition "
            f"{partition.name!r} has {'both' if len(asked) == 2 else 'all'}; ask for less or "
            "another partition"
        )
    tasks, room = options.ntasks or 1, _tasks_held(options, partition, nodes)
    if tasks > room:
        return (
            f"a run needs {tasks} tasks with {options.cpus_per_task or 1} CPUs each, but all nodes "
            f"of partition {partition.name!r} together have room for {room}; ask for fewer or "
            "another partition"
        )
    return None


def _no_more(partition: Partition, most: int, what: str) -> str:
    """Return what to say of the most that a job may have of a node: what there is, or a limit."""
    unit = " MiB" if what == "memory_mib" else ""
    if any(getattr(one, what) > most for one in partition.nodes if one.count):
        by_memory = f"MaxMemPer{'Node' if most == partition.max_mem_per_node else 'CPU'}"
        limit = by_memory if unit else "MaxCPUsPerNode"
        return f"partition {partition.name!r} gives no more than {most}{unit} ({limit})"
    return f"no node of partition {partition.name!r} has more than {most}{unit}"


def _bounds(options: JobOptions) -> tuple[int, int | None]:
    """Return how many nodes a job has to have and may have: 2 and 4 of "2-4".

    What is not understood, or not said, is at least 1, and has no upper bound.
    """
    match = re.fullmatch(r"(\d{1,9})(-?)(\d{0,9})", str(options.nodes), re.ASCII)
    if match is None:
        return 1, None
    least, dash, most = match.groups()
    return int(least), int(most or 0) or None if dash else int(least)


def _by_memory(options: JobOptions, partition: Partition) -> str:
    """Return what to say of CPUs that nobody has asked for."""
    if _factor(options, partition) == 1:
        return ""
    return f", since each comes with {partition.max_mem_per_cpu} MiB at most (MaxMemPerCPU)"


def _by_default(options: JobOptions, partition: Partition) -> str:
    """Return what to say of memory that nobody has asked for."""
    if options.asks_memory or not (partition.mem_per_cpu or partition.mem_per_node):
        return ""
    if partition.mem_per_cpu:
        return f", since the default there is {partition.mem_per_cpu} MiB for each CPU"
    return ", which is the default there"


def _tasks_held(options: JobOptions, partition: Partition, nodes: Sequence[Nodes]) -> int:
    """Return how many tasks of one job all nodes can hold together."""
    factor = _factor(options, partition)
    each = (options.cpus_per_task or 1) * factor
    whole = options.mem_mib if options.asks_memory else partition.mem_per_node
    per_cpu = 0 if whole else -(-_memory(options, 1, partition) // factor)

    def held(node: Nodes) -> int:
        if (whole or 0) > node.memory_mib:
            return 0
        cpus = min(node.cpus, node.memory_mib // per_cpu) if per_cpu else node.cpus
        return min(cpus // each, options.ntasks_per_node or cpus)

    return sum(held(node) * node.count for node in nodes)
