"""How large the work is, and which programs do it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.beds import Beds

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "benchmarks" / "programs"
PEERS = ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything there is.

    Attributes:
        rounds: how many rounds count.
        warm_up: how many come before.
        runs: of the rows that start programs.
        few: runs of the smaller sweep where two sizes are compared.
        many: runs of the larger one.
        bodies: how many Python programs are started for one measurement.
        short: how many Python programs a sweep starts, or forks.
        starts: how often an interpreter is started for one measurement.
        results: how many results are collected.
        known: runs of the sweep whose status is asked for.
        resumed: runs of the sweep that is resumed.
        far: runs on SSH hosts.
        sharing: runs on SSH hosts that share an input.
        shared_bytes: how large that input is.
        moved_bytes: how large the file is that is only moved to a host.
        jobs: runs on a Slurm cluster.
        far_rounds: how many rounds count of the rows about hosts and clusters, whose peers take
            minutes.
    """

    rounds: int = 5
    warm_up: int = 1
    runs: int = 2000
    few: int = 1000
    many: int = 100_000
    bodies: int = 200
    short: int = 1000
    starts: int = 20
    results: int = 10_000
    known: int = 100_000
    resumed: int = 10_000
    far: int = 500
    sharing: int = 100
    shared_bytes: int = 200_000_000
    moved_bytes: int = 1_000_000_000
    jobs: int = 1000
    far_rounds: int = 3


TINY = Sizes(
    rounds=1,
    warm_up=0,
    runs=20,
    few=10,
    many=40,
    bodies=2,
    short=4,
    starts=1,
    results=20,
    known=40,
    resumed=10,
    far=8,
    sharing=4,
    shared_bytes=100_000,
    moved_bytes=100_000,
    jobs=8,
    far_rounds=1,
)
"""Only to see that everything works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a row is built from.

    Attributes:
        python: the interpreter that has multirun_core, and pandas.
        sizes: how large the work is.
        kept: a folder for what is prepared once and read in every round.
        peers: the interpreter that has the peers.
        beds: hosts and a cluster, for the rows that need them.
        label: put behind the names of sides, where two versions are measured.
    """

    python: str
    sizes: Sizes
    kept: Path
    beds: Beds
    peers: Path = PEERS
    label: str = ""

    def named(self, name: str) -> str:
        """Return the name of a side of ours."""
        return f"{name} ({self.label})" if self.label else name


def program(name: str) -> str:
    """Return the path of one of the measured programs."""
    return str(PROGRAMS / name)


def found(name: str) -> str:
    """Return the path of a program of the system; its name where there is none."""
    return shutil.which(name) or name


def lacks(name: str, package: str) -> str | None:
    """Return what to do about a program of the system that is not there."""
    return None if shutil.which(name) else f"{name} (Debian: apt-get install {package})"


def lacks_module(python: Path, name: str) -> str | None:
    """Return what to do where the environment of the peers lacks a module."""
    if python.exists():
        done = subprocess.run([python, "-c", f"import {name}"], check=False, capture_output=True)
        if done.returncode == 0:
            return None
    where = python.parents[1]
    where = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where
    return f"{name} (pip install -r benchmarks/requirements.txt, in an environment {where})"
