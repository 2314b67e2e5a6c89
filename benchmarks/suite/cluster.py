"""B14 and B15: short runs on a Slurm cluster, by us and by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from suite.beds import lacks_cluster
from suite.measure import Row, Side
from suite.setup import Setup, found, lacks_module, program

_TRUE = found("true")
_SBATCH = r"""mkdir "$2" && exec sbatch --wait --quiet --array=0-$(($1 - 1)) --output=/dev/null \
    --no-requeue "$3" "$2" "$4"
"""
_JOB = r"""#!/bin/sh
mkdir "$1/$SLURM_ARRAY_TASK_ID" && cd "$1/$SLURM_ARRAY_TASK_ID" || exit
printf '{"i": %s}' "$SLURM_ARRAY_TASK_ID" >params.json
exec "$2" >stdout.txt 2>stderr.txt
"""


def rows(setup: Setup) -> list[Row]:
    """Return B14 and B15."""
    count = setup.sizes.jobs
    packed, single = _sweep(setup, "auto"), _sweep(setup, "1")
    what = f"Slurm: {count} x true"
    return [
        Row(
            id="B14",
            what=f'{what}, pack="auto" / submitit',
            a=packed,
            b=_submitit(setup),
            must=0.15,
            aim=0.08,
        ),
        Row(
            id="B15",
            what=f"{what}, a job each / sbatch --array --wait",
            a=single,
            b=_sbatch(setup),
            must=1.2,
            aim=1.1,
        ),
    ]


def _sweep(setup: Setup, pack: str) -> Side:
    return _side(
        setup,
        setup.named(f"multirun on Slurm, pack={pack}"),
        lambda amount: [setup.python, program("ours_slurm.py"), pack, *amount, _TRUE],
    )


def _submitit(setup: Setup) -> Side:
    return _side(
        setup,
        "submitit",
        lambda amount: [str(setup.peers), program("submitit_launch.py"), *amount, _TRUE],
        lacks_module(setup.peers, "submitit"),
    )


def _sbatch(setup: Setup) -> Side:
    def command(amount: Sequence[str]) -> Sequence[str]:
        script = setup.kept / "job.sh"
        script.write_text(_JOB, "utf-8")
        return ["sh", "-c", _SBATCH, "sh", *amount, str(script), _TRUE]

    return _side(setup, "sbatch --array --wait", command)


def _side(
    setup: Setup,
    name: str,
    command: Callable[[Sequence[str]], Sequence[str]],
    missing: str | None = None,
) -> Side:
    count = setup.sizes.jobs

    def complete(folder: Path) -> Sequence[str]:
        reach = setup.beds.slurm()
        return [*reach, *command([str(count), str(folder)])]

    return Side(
        name=name,
        command=complete,
        units=count,
        staged=count,
        missing=lacks_cluster() or missing,
    )
