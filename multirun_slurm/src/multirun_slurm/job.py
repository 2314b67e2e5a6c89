"""`JobOptions`: what a run asks the cluster for, and what sbatch is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, cast

from multirun_core.errors import UsageError

from multirun_slurm.checks import check_count, check_own, check_text, check_types
from multirun_slurm.units import mebibytes_of, minutes_of

MIB = ("mem", "mem_per_cpu", "mem_per_gpu")
COUNTS = ("cpus_per_task", "ntasks", "ntasks_per_node")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What one run asks the cluster for; None leaves it to the cluster's defaults.

    Args:
        partition: where to run; several with commas between, or a list.
        account: who pays.
        qos: quality of service.
        reservation: a reservation that may be used.
        constraint: features that a node must have, such as "skylake&ib".
        nodelist: nodes that must be used.
        exclude: nodes that must not be used.
        time: the longest that one run may take by Slurm's clock: minutes, "1:30:00", "2-12" (days
            and hours) or a timedelta. Without it, what `timeout` and `grace` make up to.
        cpus_per_task: CPUs of a run.
        mem: memory of a run on each node: MiB, or such as "4GiB".
        mem_per_cpu: memory for each CPU in place of `mem`.
        mem_per_gpu: memory for each GPU in place of `mem`.
        gpus: GPUs of a run: 1, or such as "a100:2"; on one node, unless another option says how
            they are spread.
        gres: other devices of a node, such as "gpu:a100:2,shard:1".
        licenses: licenses, such as "matlab:1".
        nodes: nodes of a run, such as 2 or "2-4"; the command then starts its own tasks, by srun
            or mpirun. Such runs are never packed.
        ntasks: tasks of a run, for srun or mpirun in its command.
        ntasks_per_node: at most so many of them on one node.
        exclusive: give it whole nodes.
        nice: by how much its priority is lowered.
        sbatch_args: any other arguments of sbatch, such as ["--mail-type=FAIL"].
    """

    partition: str | Sequence[str] | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    nodelist: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    time: int | float | str | timedelta | None = None
    cpus_per_task: int | None = None
    mem: int | str | None = None
    mem_per_cpu: int | str | None = None
    mem_per_gpu: int | str | None = None
    gpus: int | str | None = None
    gres: str | Sequence[str] | None = None
    licenses: str | Sequence[str] | None = None
    nodes: int | str | None = None
    ntasks: int | None = None
    ntasks_per_node: int | None = None
    exclusive: bool = False
    nice: int | None = None
    sbatch_args: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what sbatch could not understand.

        Raises:
            UsageError: says which option, its value, and what it may be.
        """
        check_types(self)
        for field in fields(JobOptions):
            check_text(field.name, getattr(self, field.name))
        for name in COUNTS:
            check_count(name, getattr(self, name))
        for name in ("gpus", "nodes"):
            if not isinstance(given := getattr(self, name), str):
                check_count(name, given)
        if self.time is not None:
            minutes_of("time", self.time)
        sizes = [name for name in MIB if getattr(self, name) is not None]
        for name in sizes:
            mebibytes_of(name, getattr(self, name))
        if len(sizes) > 1:
            raise UsageError(f"{sizes[0]} and {sizes[1]} are both given; Slurm takes one of them")
        for argument in self.sbatch_args:
            check_own(argument)

    @property
    def minutes(self) -> int | None:
        """The time limit in minutes."""
        return None if self.time is None else minutes_of("time", self.time)

    @property
    def mem_mib(self) -> int | None:
        """The memory on each node in MiB."""
        return None if self.mem is None else mebibytes_of("mem", self.mem)

    @property
    def asks_memory(self) -> bool:
        """Whether memory is asked for, in whichever way."""
        return any(getattr(self, name) is not None for name in MIB)

    @property
    def cpus(self) -> int:
        """The CPUs that a run needs on its node, as far as can be told from the options."""
        return (self.cpus_per_task or 1) * (self.ntasks_per_node or self.ntasks or 1)

    @property
    def packable(self) -> bool:
        """Whether several such runs can share one job: each is a process on one node."""
        return (
            self.nodes in (None, 1, "1")
            and not self.exclusive
            and (self.ntasks or 1) == (self.ntasks_per_node or 1) == 1
            and not (self.gpus or self.gres or self.licenses)
        )

    def over(self, changes: Mapping[str, Any]) -> JobOptions:
        """Return these with some others in their place, as for one run.

        Raises:
            UsageError: one is unknown or makes no sense.
        """
        if not isinstance(cast("object", changes), Mapping):
            raise UsageError(f"{changes!r} is no mapping of options such as {{'mem': '8G'}}")
        known = {field.name for field in fields(JobOptions)}
        for name in changes:
            if name not in known:
                raise UsageError(
                    f"{name!r} is nothing that a single run can ask Slurm for; "
                    f"it can: {', '.join(sorted(known))}"
                )
        return replace(self, **changes) if changes else self


def sbatch_arguments(options: JobOptions) -> list[str]:
    """Return what sbatch is told, one argument each; `sbatch_args` come last."""
    texts: dict[str, str | int | None] = {
        "partition": _listed(options.partition),
        "account": options.account,
        "qos": options.qos,
        "reservation": options.reservation,
        "constraint": options.constraint,
        "nodelist": _listed(options.nodelist),
        "exclude": _listed(options.exclude),
        "time": options.minutes,
        "cpus-per-task": options.cpus_per_task,
        "gpus": options.gpus,
        "gres": _listed(options.gres),
        "licenses": _listed(options.licenses),
        "nodes": options.nodes,
        "ntasks": options.ntasks,
        "ntasks-per-node": options.ntasks_per_node,
        "nice": options.nice,
    }
    arguments = [f"--{name}={text}" for name, text in texts.items() if text is not None]
    arguments += [
        f"--{name.replace('_', '-')}={mebibytes_of(name, given)}M"
        for name in MIB
        if (given := getattr(options, name)) is not None
    ]
    if options.exclusive:
        arguments.append("--exclusive")
    return [*arguments, *options.sbatch_args]


def _listed(given: str | Sequence[str] | None) -> str | None:
    return given if given is None or isinstance(given, str) else ",".join(given) or None
