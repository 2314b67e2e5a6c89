"""`multirun cancel`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from multirun_core._cli.common import DIRECTORY, Command, parse_indices, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP = """Cancel runs of the sweep in DIR: ask its driver to, wherever that runs; return when
they have ended.

Runs under way are ended, waiting ones are skipped. Without INDEX this is all that have not ended,
and the driver stops; multirun resume carries on with them. Ctrl-C ends the waiting alone.

Where the driver has died and its runs live on, on other hosts or in the queue of a cluster, they
are ended from here; so is a driver that waits in that queue itself.

\b
Examples:
  multirun cancel study
  multirun cancel study 3 17 20-29
"""


@click.command("cancel", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.argument("indices", metavar="[INDEX]...", nargs=-1)
@click.option(
    "--take-over",
    is_flag=True,
    help="Ask nobody: end the runs from here, although a driver may still be alive.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the driver to end the runs.",
)
def command(path: Path, indices: tuple[str, ...], take_over: bool, wait: float) -> int:
    """Cancel runs of a sweep that is under way."""
    from multirun_core._sweep.abandoned import left_running
    from multirun_core._sweep.control import await_cancelled, driver_lives, request_cancel
    from multirun_core._sweep.sent import sent_drivers
    from multirun_core._sweep.sweep import Sweep
    from multirun_core.errors import UsageError

    chosen = parse_indices(indices) if indices else None
    if chosen is not None:
        count = len(Sweep.open(path))
        wrong = [index for index in chosen if index >= count]
        if wrong:
            raise UsageError(f"{path} has no run {wrong[0]}; it has {count}, numbered from 0")
    told = None if take_over else await_cancelled(path, chosen, wait, tell)
    # Also after that: a driver that was ended in another way may have left some.
    if take_over or driver_lives(path) is False:
        sent = sent_drivers(path)
        if sent and chosen is not None:
            raise UsageError(
                f"{', '.join(sent)} is to drive {path} and may not have begun; without INDEX all "
                "of it is cancelled, and single runs can be once it drives"
            )
        if sent or left_running(path, chosen):
            return _end_from_here(path, chosen, sent, take_over)
    click.echo(told or request_cancel(path, chosen))
    return 0


def _end_from_here(
    path: Path, chosen: Sequence[int] | None, sent: Sequence[str], take_over: bool
) -> int:
    from multirun_core._sweep.abandoned import end_left, left_running

    left = left_running(path, chosen)
    for one in sent:
        click.echo(f"nobody drives this sweep yet; ending {one}, which is to", err=True)
    if left:
        click.echo(
            f"nobody drives this sweep; ending {len(left)} run(s) that it may have left", err=True
        )
    sweep = end_left(path, chosen, take_over=take_over, progress=False)
    for one in sent:
        click.echo(f"{one} is not in the queue any more")
    if left:
        ended = [sweep.runs[run.index] for run in left if run.index is not None]
        cancelled = sum(1 for run in ended if run.reason == "cancelled")
        click.echo(f"{cancelled} run(s) ended from here, {len(ended) - cancelled} had ended before")
    return 0
