"""Compare two commits of this repository with each other; see README.md beside this file.

Usage: benchmarks/regress OLD [NEW] [--rows B1 B7 …] [--quick] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

from suite import launching, python_runs, reading
from suite.beds import Beds
from suite.environment import make_environment
from suite.machine import facts
from suite.measure import Bench, Row, Side
from suite.place import new_place
from suite.report import as_json, as_table, say
from suite.setup import ROOT, TINY, Setup, Sizes

_MUST, _AIM = 1.15, 1.05
"""Below the first a difference is no finding, as much as figures differ between rounds."""

_SIDES: dict[str, Callable[[Setup], Side]] = {
    "B1": launching.ours,
    "B7": python_runs.body,
    "B8": python_runs.importing,
    "B9": reading.table,
    "B10": reading.status,
}


def main() -> int:
    """Measure both commits in alternation and print the table."""
    asked = _arguments()
    sizes = TINY if asked.quick else Sizes()
    if asked.rounds is not None:
        sizes = dataclasses.replace(sizes, rounds=asked.rounds)
    old, new = (_commit(name) for name in (asked.old, asked.new))
    if old == new:
        say(
            f"{asked.old} and {asked.new} are the same commit: this shows how exact the figures are"
        )
    with new_place(asked.place) as place, contextlib.ExitStack() as trees:
        setups: list[Setup] = []
        for label, commit in (("old", old), ("new", new)):
            home = place / label
            (home / "kept").mkdir(parents=True)
            tree = trees.enter_context(_worktree(commit, home / "tree"))
            python = make_environment(home / "environment", tree)
            setups.append(
                Setup(python=python, sizes=sizes, kept=home / "kept", beds=Beds(place), label=label)
            )
        bench = Bench(place, say)
        measured = [
            one
            for name in asked.rows
            for one in bench.compare(
                [_row(name, *setups)], rounds=sizes.rounds, warm_up=sizes.warm_up
            )
        ]
        machine = facts(setups[0], place)
    sys.stdout.write(f"A: {new[:12]}, B: {old[:12]}\n" + as_table(measured, judge=not asked.quick))
    if asked.json is not None:
        told = {
            "machine": machine,
            "sizes": dataclasses.asdict(sizes),
            "old": old,
            "new": new,
            "rows": as_json(measured, judge=not asked.quick),
        }
        asked.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 1 if bench.failures else 0


def _row(name: str, old: Setup, new: Setup) -> Row:
    make = _SIDES[name]
    a, b = make(new), make(old)
    return Row(id=name, what=f"{a.name} / {b.name}", a=a, b=b, must=_MUST, aim=_AIM)


def _commit(name: str) -> str:
    done = subprocess.run(
        [*_GIT, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{name!r} is no commit: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def _worktree(commit: str, folder: Path) -> Generator[Path, None, None]:
    subprocess.run([*_GIT, "worktree", "add", "--quiet", "--detach", folder, commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*_GIT, "worktree", "remove", "--force", folder], check=False)


_GIT = ["/usr/bin/env", "git", "-C", str(ROOT)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare two commits with each other.")
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", nargs="?", default="HEAD", help="a later one; by default HEAD")
    parser.add_argument("--rows", nargs="+", choices=list(_SIDES), default=list(_SIDES))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only see that it works")
    parser.add_argument("--rounds", type=int, help="how many rounds count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--place", type=Path, metavar="DIR", help="work below DIR, not on tmpfs")
    asked = parser.parse_args()
    if asked.rounds is not None and asked.rounds < 1:
        parser.error(f"--rounds is {asked.rounds}; at least one must count")
    return asked


if __name__ == "__main__":
    sys.exit(main())
