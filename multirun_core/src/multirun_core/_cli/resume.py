"""`multirun resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multirun_core._cli.common import DIRECTORY, Command, parse_only, parse_rerun

_HELP = """Carry on with the sweep in DIR: what succeeded stays, the rest is executed.

Command, inputs, runner and limits are those of DIR/multirun.json. To add runs or to change any of
it, use multirun run --resume instead.

\b
Examples:
  multirun resume study
  multirun resume study --rerun 3,17,20-29
  multirun resume study --only 0-99
"""


@click.command("resume", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.option(
    "--rerun",
    callback=parse_rerun,
    metavar="failed|all|INDICES",
    help="Execute only failed runs; all again; or those given as 1,2,5-9.",
)
@click.option(
    "--only",
    callback=parse_only,
    metavar="INDICES|@FILE",
    help="Execute none but these, and of these what would be executed without this option.",
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable for the runs.")
@click.option("--accept-changes", is_flag=True, help="Carry on although an input has changed.")
@click.option("--take-over", is_flag=True, help="Although another driver may still be alive.")
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show the bar anyway, or nothing; by default a bar on a terminal.",
)
def command(path: Path, env: tuple[str, ...], progress: bool | None, **rest: Any) -> int:
    """Carry on with a sweep."""
    from multirun_core._cli.summary import carry_out
    from multirun_core._cli.words import parse_env
    from multirun_core._sweep.resuming import resume

    given = parse_env(env)
    return carry_out(lambda: resume(path, env=given, progress=progress, **rest), progress=progress)
