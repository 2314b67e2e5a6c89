"""`multirun clean`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multirun_core._cli.common import DIRECTORY, Command, one_line, tell

if TYPE_CHECKING:
    from multirun_core._staging.thin import Keep

_HELP = """Free the disk space that the sweep in DIR takes: remove it, or thin it with --keep.

Thinned runs keep their results, and failed ones what they printed; status, results and resume work
as before. It asks first, refuses while a driver works on the sweep or waits in a queue to do so,
and refuses to remove a directory that holds anything else. Killed half-way, it can be called again.

\b
Examples:
  multirun clean study
  multirun clean study --keep results
  multirun clean old-study --yes
"""


@click.command("clean", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.option(
    "--keep",
    type=click.Choice(["failed", "results"]),
    help="Thin instead: keep the directories of runs that did not succeed, or only results.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(path: Path, keep: Keep | None, yes: bool) -> int:
    """Remove a sweep, or thin it."""
    from multirun_core._sweep import cleaning

    root = path.resolve()
    cleaning.check_cleanable(root)
    if keep is None:
        cleaning.check_only_ours(root)
    if not yes:
        _ask(path, keep)
    if keep is None:
        cleaning.remove_sweep(root)
        tell(f"multirun: removed {path}")
        return 0
    thinned, whole = cleaning.thin_sweep(root, keep)
    rest = f"; {whole} stay whole" if whole else ""
    tell(f"multirun: thinned {thinned} run directories of {path}{rest}")
    return 0


def _ask(path: Path, keep: Keep | None) -> None:
    """Say what would be lost and wait for a yes.

    Raises:
        UsageError: there is nobody to ask.
        click.exceptions.Exit: the answer is no.
    """
    from multirun_core.errors import UsageError

    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        raise UsageError("clean asks before it removes anything; in a script, say --yes")
    if keep is None:
        question = f"Remove {path} with everything in it ({_told(path)})?"
    else:
        whose = "successful" if keep == "failed" else "finished"
        question = f"Remove all files of {whose} runs in {path} but their results ({_told(path)})?"
    if not click.confirm(one_line(question), err=True):
        tell("multirun: nothing was removed")
        raise click.exceptions.Exit(1)


def _told(path: Path) -> str:
    from multirun_core._sweep.sweep import Sweep
    from multirun_core.errors import SweepError

    try:
        sweep = Sweep.open(path)
    except SweepError:
        return "the rest of a sweep"
    statistics = sweep.statistics
    told = [f"{statistics.total_count} runs", f"{statistics.success_count} of them succeeded"]
    away = sum(run.handle is not None and not run.done for run in sweep.runs)
    if away:
        told.append(f"{away} may still be under way elsewhere, which nothing will end then")
    return ", ".join(told)
