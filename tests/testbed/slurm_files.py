"""The configuration files of a private Slurm cluster that lies below one directory."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path

from ports import PortBlock

CONTROLLER, DATABASE_DAEMON, DATABASE, NODES = 0, 1, 2, 3  # which port of the block


@dataclass(frozen=True)
class ClusterOptions:
    """What a cluster is like.

    Attributes:
        nodes: how many, up to 16.
        cpus, memory: CPUs and MiB that each claims to have, whatever the machine has.
        accounting: with MariaDB and slurmdbd, so that `sacct` works.
        enforce: AccountingStorageEnforce, such as "limits"; nothing is enforced where empty.
        cgroups: memory limits are kept by control groups, so that OUT_OF_MEMORY comes about.
        max_jobs, max_array: MaxJobCount and MaxArraySize.
        scheduler: further SchedulerParameters, such as "max_array_tasks=4".
        kill_wait, min_job_age, slurmd_timeout, message_timeout, tcp_timeout: seconds.
        node: what else to say of each node, such as "Feature=ib".
        gpus: device files that stand for the GPUs of each node; any will do.
        partitions: further partitions, each a line as of slurm.conf without `PartitionName=`.
        extra: further lines of slurm.conf.
    """

    nodes: int = 4
    cpus: int = 64
    memory: int = 100_000
    accounting: bool = False
    enforce: str = ""
    cgroups: bool = False
    max_jobs: int = 20_000
    max_array: int = 10_001
    scheduler: str = ""
    kill_wait: int = 2
    min_job_age: int = 300
    slurmd_timeout: int = 10
    message_timeout: int = 10
    tcp_timeout: int = 2
    node: str = ""
    gpus: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def slurm_conf(root: Path, ports: PortBlock, prefix: str, options: ClusterOptions) -> str:
    """Return slurm.conf; the options' meaning is in slurm.conf(5)."""
    run, log, user = root / "run", root / "log", getpass.getuser()
    last = options.nodes
    lines = [
        "ClusterName=testbed",
        "SlurmctldHost=localhost(127.0.0.1)",
        f"SlurmctldPort={ports[CONTROLLER]}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "AuthType=auth/munge",
        # A requeued job waits until the credential of its first start has expired.
        f"AuthInfo=socket={run}/munge.socket,cred_expire=5",
        "CredType=cred/munge",
        f"StateSaveLocation={root}/state",
        f"SlurmdSpoolDir={root}/spool/%n",
        f"SlurmctldPidFile={run}/slurmctld.pid",
        f"SlurmdPidFile={run}/slurmd.%n.pid",
        f"SlurmctldLogFile={log}/slurmctld.log",
        f"SlurmdLogFile={log}/slurmd.%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "PlugStackConfig=/dev/null",
        "MpiDefault=none",
        "SwitchType=switch/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=1",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "SlurmdParameters=config_overrides",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,sched_interval=5,"
        "bf_interval=2,bf_resolution=1,max_rpc_cnt=0,default_queue_depth=1000,"
        f"partition_job_depth=1000,{options.scheduler}".rstrip(","),
        "PriorityType=priority/basic",
        "ReturnToService=2",
        "SlurmctldTimeout=30",
        f"SlurmdTimeout={options.slurmd_timeout}",
        f"MessageTimeout={options.message_timeout}",
        f"TCPTimeout={options.tcp_timeout}",
        f"KillWait={options.kill_wait}",
        "UnkillableStepTimeout=30",
        f"MinJobAge={options.min_job_age}",
        f"MaxJobCount={options.max_jobs}",
        f"MaxArraySize={options.max_array}",
        "DefMemPerCPU=100",
        "TreeWidth=65533",
        "JobCompType=jobcomp/none",
        *_accounting(root, ports, options),
        *_containment(on=options.cgroups),
        *options.extra,
        *(["GresTypes=gpu"] if options.gpus else []),
        f"NodeName={prefix}[1-{last}] NodeHostname=localhost NodeAddr=127.0.0.1 "
        f"Port=[{ports[NODES]}-{ports[NODES + last - 1]}] CPUs={options.cpus} "
        f"RealMemory={options.memory} State=UNKNOWN {options.node}{_gres(options)}",
        "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP",
        "PartitionName=short Nodes=ALL MaxTime=1 DefaultTime=1 State=UP",
        *(f"PartitionName={line}" for line in options.partitions),
    ]
    return "\n".join(lines) + "\n"


def _gres(options: ClusterOptions) -> str:
    return f" Gres=gpu:{len(options.gpus)}" if options.gpus else ""


def gres_conf(options: ClusterOptions) -> str:
    """Return gres.conf: what the GPUs of every node are."""
    return "".join(f"Name=gpu File={file}\n" for file in options.gpus)


def cgroup_conf() -> str:
    """Return cgroup.conf for version 1 of control groups."""
    return (
        "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"
        "ConstrainRAMSpace=yes\nConstrainSwapSpace=no\nConstrainCores=no\n"
    )


def slurmdbd_conf(root: Path, ports: PortBlock) -> str:
    """Return slurmdbd.conf; over TCP, since it cannot be told where MariaDB's socket is."""
    return "\n".join(
        [
            "AuthType=auth/munge",
            f"AuthInfo=socket={root}/run/munge.socket",
            "DbdHost=localhost",
            "DbdAddr=127.0.0.1",
            f"DbdPort={ports[DATABASE_DAEMON]}",
            f"SlurmUser={getpass.getuser()}",
            f"LogFile={root}/log/slurmdbd.log",
            f"PidFile={root}/run/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=127.0.0.1",
            f"StoragePort={ports[DATABASE]}",
            "StorageLoc=slurm_acct_db",
            "StorageUser=slurm",
            "StoragePass=slurm",
            "CommitDelay=1",
            "",
        ]
    )


def _accounting(root: Path, ports: PortBlock, options: ClusterOptions) -> list[str]:
    if not options.accounting:
        return ["AccountingStorageType=accounting_storage/none"]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=localhost",
        f"AccountingStoragePort={ports[DATABASE_DAEMON]}",
        # The link to slurmdbd goes by this one, not by AuthInfo.
        f"AccountingStoragePass={root}/run/munge.socket",
        "AccountingStorageTRES=cpu,mem",
        *([f"AccountingStorageEnforce={options.enforce}"] if options.enforce else []),
    ]


def _containment(*, on: bool) -> list[str]:
    if on:
        return ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup"]
    return [
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherParams=NoShared,OverMemoryKill",
    ]
