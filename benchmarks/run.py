"""Measure multirun against what else starts many short programs; see README.md beside this file.

Usage: python benchmarks/run.py [B1 B7 …] [--quick] [--rounds N] [--json FILE] [--markdown FILE]
       [--place DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from suite import cluster, hosts, launching, python_runs, reading
from suite.beds import Beds
from suite.environment import make_environment
from suite.machine import facts
from suite.measure import Bench, Measured, Row
from suite.place import new_place
from suite.report import as_json, as_markdown, as_table, say
from suite.setup import PEERS, ROOT, TINY, Setup, Sizes

_GROUPS: tuple[tuple[frozenset[str], Callable[[Setup], list[Row]]], ...] = (
    (frozenset({"B1", "B2", "B3", "B4", "B5"}), launching.rows),
    (frozenset({"B6"}), launching.scale_rows),
    (frozenset({"B7"}), python_runs.rows),
    (frozenset({"B8"}), python_runs.start_rows),
    (frozenset({"B9"}), reading.table_rows),
    (frozenset({"B10"}), reading.status_rows),
    (frozenset({"B11"}), python_runs.warm_rows),
    (frozenset({"B12"}), hosts.rows),
    (frozenset({"B13"}), hosts.input_rows),
    (frozenset({"B14", "B15"}), cluster.rows),
    (frozenset({"B16"}), reading.resume_rows),
    (frozenset({"B17"}), hosts.moving_rows),
)
"""What is measured together, in the same rounds: rows that share a side."""

_FAR = frozenset({"B12", "B13", "B14", "B15", "B17"})
IDS = [name for ids, _ in _GROUPS for name in sorted(ids, key=lambda name: int(name[1:]))]


def main() -> int:
    """Measure, print the table, and return 1 if something failed; bounds that are missed do not."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _end)
    sizes = TINY if asked.quick else Sizes()
    if asked.rounds is not None:
        sizes = dataclasses.replace(sizes, rounds=asked.rounds, far_rounds=asked.rounds)
    wanted = frozenset(asked.ids or IDS)
    with new_place(asked.place) as place, Beds(place) as beds:
        kept = place / "kept"
        kept.mkdir()
        python = make_environment(place / "environment", ROOT)
        setup = Setup(python=python, sizes=sizes, kept=kept, beds=beds, peers=asked.peers)
        machine = facts(setup, place)
        bench = Bench(place, say)
        measured = list(_measure(bench, setup, wanted))
    sys.stdout.write(as_table(measured, judge=not asked.quick))
    if asked.markdown is not None:
        asked.markdown.write_text(as_markdown(measured, machine), "utf-8")
    if asked.json is not None:
        told = {
            "machine": machine,
            "sizes": dataclasses.asdict(sizes),
            "rows": as_json(measured, judge=not asked.quick),
        }
        asked.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 1 if bench.failures else 0


def _end(number: int, _: FrameType | None) -> NoReturn:
    """End in order: servers and folders that were made go."""
    raise SystemExit(128 + number)


def _measure(bench: Bench, setup: Setup, wanted: frozenset[str]) -> Iterable[Measured]:
    for ids, make_rows in _GROUPS:
        if not ids & wanted:
            continue
        rows = [row for row in make_rows(setup) if row.id.rstrip("mnsv") in wanted]
        sizes = setup.sizes
        rounds = sizes.far_rounds if ids & _FAR else sizes.rounds
        yield from bench.compare(rows, rounds=rounds, warm_up=sizes.warm_up)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure multirun against others.")
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"rows to measure: {', '.join(IDS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only see that it works")
    parser.add_argument("--rounds", type=int, help="how many rounds count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as a page")
    parser.add_argument("--place", type=Path, metavar="DIR", help="work below DIR, not on tmpfs")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has the peers")
    asked = parser.parse_args()
    if unknown := [name for name in asked.ids if name not in IDS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(IDS)}")
    if asked.rounds is not None and asked.rounds < 1:
        parser.error(f"--rounds is {asked.rounds}; at least one must count")
    return asked


if __name__ == "__main__":
    sys.exit(main())
