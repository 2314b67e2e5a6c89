"""`multirun cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from multirun_core._cli.common import DIRECTORY, Command, parse_indices

_HELP = """Ask the driver of the sweep in DIR, wherever it runs, to cancel runs.

Runs under way are ended, waiting ones are skipped. Without INDEX this is all that have not ended,
and the driver stops; multirun resume carries on with them.

\b
Examples:
  multirun cancel study
  multirun cancel study 3 17 20-29
"""


@click.command("cancel", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.argument("indices", metavar="[INDEX]...", nargs=-1)
def command(path: Path, indices: tuple[str, ...]) -> int:
    """Cancel runs of a sweep that is under way."""
    from multirun_core._sweep.control import request_cancel
    from multirun_core._sweep.sweep import Sweep
    from multirun_core.errors import UsageError

    chosen = parse_indices(indices) if indices else None
    if chosen is not None:
        count = len(Sweep.open(path))
        wrong = [index for index in chosen if index >= count]
        if wrong:
            raise UsageError(f"{path} has no run {wrong[0]}; it has {count}, numbered from 0")
    click.echo(request_cancel(path, chosen))
    return 0
