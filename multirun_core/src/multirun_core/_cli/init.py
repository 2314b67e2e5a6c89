"""`multirun init`."""

from __future__ import annotations

from pathlib import Path

import click

from multirun_core._cli.common import Command, tell

_HELP = """Write a commented sweep file to begin with; multirun run FILE runs what it says.

FILE is sweep.toml by default. A file that is there is left alone.

\b
Examples:
  multirun init
  multirun init study.toml && multirun run study.toml --dry-run
"""
_DEFAULT = "sweep.toml"
TEMPLATE = """\
# A sweep: one command with many parameter sets.
#
#   multirun run FILE --dry-run           what would run where
#   multirun run FILE                     run it
#   multirun run FILE --resume            carry on, or run what was added below
#   multirun run FILE --profile cluster   with the settings at the end of this file
#
# Options of `multirun run` override what stands here; its page in the documentation explains all
# keys. Paths are relative to this file. Lines that begin with # are examples: remove the # to use
# them.

# The command: a list, never through a shell. {mass} becomes the parameter mass.
cmd = ["echo", "{mass}", "{drag}"]

# Files and directories that each run gets in its own directory.
# inputs = ["simulate.py", { path = "mesh.dat", linkage = "link" }]

# The sweep's directory; by default a new one with the time in its name.
# output = "study"

# timeout = "1h30m"     # of one attempt, in seconds or as text
# retries = 1           # further attempts for a run that failed
# checkpoints = ["checkpoint"]  # files and directories that a further attempt goes on from
# on_retry = "keep"     # all that an attempt left stays for the next; else "restore"
# max_failures = 10     # start nothing new once more than this many runs have failed
# keep = "failed"       # whose directories stay: "all", those of "failed" runs, or only "results"
# collect = 're:energy = (?P<energy>\\S+)'   # results of a program that cannot post them
# seeds = 10            # each run with 10 random seeds, as the parameter seed

# One row is one run: a .csv, .json or .jsonl file.
# table = "cases.csv"

# What varies: every combination of these, the last one changing fastest.
[parameters]
mass = [1, 2, 5]
drag = { from = 0.1, to = 0.3, step = 0.1 }     # both ends included
# angle = { from = 0, to = 90, points = 7 }     # 7 values with equal steps between
# material = "steel"                            # the same for all

# Columns side by side: the first values together, then the second ones.
# [zip]
# case = ["calm", "storm"]
# wind = [2.0, 30.0]

# Points drawn from a space. All these parts are combined: table, zip, sample, parameters, seeds.
# [sample]
# points = 64
# method = "lhs"        # or "sobol", "random"
# seed = 1
# [sample.parameters]
# speed = { from = 0.5, to = 5 }                # any number between
# mode = ["a", "b"]                             # one of these

# What carries the runs out; `multirun runners NAME` lists the options of a runner. The line with
# the runner's name stands above, before the first [table].
# runner = "local"
[runner_options]
max_parallel = "auto"

# Variables for the runs. Their values are stored nowhere else.
# [env]
# OMP_NUM_THREADS = "1"

# Profiles: what differs from place to place. Any of the keys above, laid over them.
# [profile.cluster]
# runner = "slurm"
# [profile.cluster.runner_options]
# partition = "short"
"""


@click.command("init", cls=Command, help=_HELP)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=_DEFAULT)
def command(file: Path) -> int:
    """Write a sweep file to begin with."""
    from multirun_core.errors import UsageError

    if file.suffix != ".toml":
        raise UsageError(f"{file}: its name must end in .toml, by which multirun run knows it")
    text = TEMPLATE.replace(" FILE", f" {file.name}")
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{file} is there already; choose another name") from None
    tell(f"multirun: wrote {file}; next: multirun run {file} --dry-run")
    return 0
