"""`multirun run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from multirun_core._cli import complete
from multirun_core._cli.common import DIRECTORY, Command, parse_rerun, parse_seconds
from multirun_core._cli.words import parse_env, parse_input, parse_runner_options
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from multirun_core._cli.varying import Varying

_HELP = """Run COMMAND with many parameter sets, each in a directory of its own.

Each run gets its parameters in params.json, in its environment as MULTIRUN_PARAM_NAME, in place
of {NAME} in COMMAND, and in Python by getRunParams(). What it posts (by postRunResults(), or by
writing results.json) becomes its row of the table. Options come before COMMAND; all that follows
is its own. A sweep file, which multirun init writes, says all of this; options override it.

\b
Examples:
  multirun run -p mass=1,2,5 -p drag=0.1:0.5:0.1 -i simulate.py -o study -- python simulate.py
  multirun run --sample 64 --method sobol -p mass=0.5..5 -p mode=a,b -- ./solve {mass} {mode}
  multirun run --runs table.csv -i mesh.dat:link -o study --timeout 1h --retries 1 -- ./solve
  multirun run -p mass=1,2,5,9 -i simulate.py -o study --resume -- python simulate.py
  multirun run sweep.toml --profile cluster -p mass=7

\b
Values of -p, with commas between; several -p make a grid, the last one changing fastest:
  1, 0.5, true, null   a number, a boolean, null (as in JSON); anything else is text
  0.1:0.5:0.1          from 0.1 to 0.5 in steps of 0.1, both ends included
  0.5..5               with --sample: any number between
  'name="a,b"'         JSON where it starts with a quote or bracket: a text with a comma,
  'point=[1,2],[3,4]'  lists; 'id="1"' is the text 1

Inputs (-i PATH[:LINKAGE[:RENAME]]): LINKAGE is shared (one copy for all runs, the default), copy
(one for each) or link (the given file itself). A colon belongs to PATH unless one of these words
follows it as the last or the last but one part.

Where standard output is no terminal, the sweep's directory is printed on it.

Exit status: 0 if all runs succeeded, 1 if not, 2 for wrong use.
"""
_FROM_FILE = "multirun_core.from_file"


class _Run(Command):
    """Takes options after the name of a sweep file too, but never those of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find out which of the two there is: a file is the first word, and not behind `--`."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        found = given.get("cmd")
        rest = cast("tuple[str, ...]", found) if isinstance(found, tuple) else ()
        before = args[: len(args) - len(rest)]
        if rest and rest[0].endswith(".toml") and before[-1:] != ["--"]:
            ctx.meta[_FROM_FILE] = True
            ctx.allow_interspersed_args = True
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name both ways of calling it."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] [--] COMMAND...")
        formatter.write_usage(ctx.command_path, "SWEEP.toml [OPTIONS] [-- COMMAND...]")


@click.command("run", cls=_Run, help=_HELP, context_settings={"allow_interspersed_args": False})
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUES",
    help="A parameter and its values; several make a grid.",
)
@click.option(
    "--runs",
    "table",
    metavar="FILE",
    shell_complete=complete.files,
    help="Parameters from a .csv, .json or .jsonl file, one run a row (- for JSON lines "
    "from standard input); with -p, each row with each point of the grid.",
)
@click.option(
    "--sample",
    "points",
    type=click.IntRange(min=0),
    metavar="N",
    help="Draw N points of the space of all -p instead of taking their grid.",
)
@click.option(
    "--method",
    type=click.Choice(["lhs", "sobol", "random"]),
    help="How points are drawn: Latin hypercube (the default), Sobol sequence, independently.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    metavar="N",
    help="Execute each with N random seeds, as the parameter seed.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="S",
    help="What sample and seeds are derived from; by default 0.",
)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="PATH[:LINKAGE[:RENAME]]",
    shell_complete=complete.files,
    help="A file or directory that each run gets.",
)
@click.option(
    "-o",
    "--output",
    type=DIRECTORY,
    metavar="DIR",
    help="New directory for the sweep; by default a time-stamped one here.",
)
@click.option(
    "-r",
    "--runner",
    metavar="NAME",
    shell_complete=complete.runners,
    help="What carries the runs out, by default local; see multirun runners.",
)
@click.option(
    "-R",
    "--runner-option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete.runner_options,
    help="An option of the runner, such as max_parallel=8; see multirun runners NAME.",
)
@click.option(
    "--timeout",
    callback=parse_seconds,
    metavar="TIME",
    help="Time limit of one attempt: 90, 15m, 1h30m; or '5x median' of those that succeeded.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    metavar="N",
    help="Further attempts for a run that failed.",
)
@click.option(
    "--on-retry",
    type=click.Choice(["restore", "keep"]),
    help="Before a further attempt, put the run directory back as it "
    "was (the default), or keep what is there.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NAME",
    help="A file or directory in the run directory that a further attempt finds as the last one "
    "left it.",
)
@click.option(
    "--keep",
    type=click.Choice(["all", "failed", "results"]),
    help="Which directories of finished runs stay: all (the default), those of failed runs, or "
    "only results.",
)
@click.option(
    "--collect",
    multiple=True,
    metavar="RULE",
    help="Take results from what a program that cannot post them wrote: out.json, table.csv, "
    "'re:energy = (?P<energy>.*)' on its output, 'log.txt:re:…' in a file.",
)
@click.option(
    "--max-failures",
    type=click.IntRange(min=0),
    metavar="N",
    help="Start nothing new once more than N runs have failed.",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the runs; its value is stored nowhere.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Carry on with the sweep in DIR: what succeeded stays. Begin if there is none.",
)
@click.option(
    "--rerun",
    callback=parse_rerun,
    metavar="failed|all|INDICES",
    help="Execute again: failed runs, all, or those given as 1,2,5-9. Implies --resume.",
)
@click.option(
    "--accept-changes", is_flag=True, help="Resume although the command or an input has changed."
)
@click.option(
    "--take-over", is_flag=True, help="Resume although another driver may still be alive."
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show the bar anyway, or nothing; by default a bar on a terminal.",
)
@click.option(
    "--profile", metavar="NAME", help="Lay [profile.NAME] of the sweep file over the rest of it."
)
@click.option("--dry-run", is_flag=True, help="Show what would run where; create nothing.")
@click.argument(
    "cmd",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[--] COMMAND...",
    shell_complete=complete.files,
)
def command(
    params: tuple[str, ...],
    table: str | None,
    points: int | None,
    method: Any,
    seeds: int | None,
    seed: int | None,
    inputs: tuple[str, ...],
    output: Path | None,
    runner: str | None,
    options: tuple[str, ...],
    env: tuple[str, ...],
    profile: str | None,
    progress: bool | None,
    dry_run: bool,
    cmd: tuple[str, ...],
    **rest: Any,
) -> int:
    """Run a command with many parameter sets."""
    from multirun_core._cli.sweep_file import Plan, read_plan

    plan = Plan()
    if click.get_current_context().meta.get(_FROM_FILE):
        plan, cmd = read_plan(Path(cmd[0]), profile), cmd[1:]
    elif profile is not None:
        raise UsageError("--profile is for sweep files, as in multirun run sweep.toml --profile x")
    if runner is not None and runner != plan.runner:
        plan.runner, plan.runner_options = runner, {}
    name = plan.runner or "local"
    _vary(plan.varying, params, table, points, method, seeds, seed)
    if not (cmd or plan.cmd):
        raise UsageError("there is no command; write it at the end, as in … -- python simulate.py")
    if plan.varying.empty:
        raise UsageError(
            "there are no parameters; give some, as in -p mass=1,2,5 or --runs table.csv"
        )
    runs = plan.varying.build()
    arguments: dict[str, Any] = {
        "runs": runs,
        "cmd": list(cmd) or plan.cmd,
        "output_path": output or plan.output,
        "input_files": [*plan.inputs, *map(parse_input, inputs)],
        "runner": name,
        "runner_options": {**plan.runner_options, **parse_runner_options(name, options)},
        "env": {**plan.env, **(parse_env(env) or {})} or None,
        **plan.rest,
        **{key: value for key, value in rest.items() if value is not None and value != ()},
    }
    if rest["rerun"] is not None and arguments["output_path"] is None:
        raise UsageError("--rerun needs the sweep's directory; give it by -o DIR")
    if dry_run:
        from multirun_core._cli.dry_run import show

        click.echo(show(arguments, len(runs)))
        return 0
    from multirun_core._cli.summary import carry_out
    from multirun_core._sweep.api import start

    return carry_out(lambda: start(progress=progress, **arguments), progress=progress)


def _vary(
    varying: Varying,
    params: tuple[str, ...],
    table: str | None,
    points: int | None,
    method: Any,
    seeds: int | None,
    seed: int | None,
) -> None:
    """Lay what the command line says varies over what the sweep file says.

    Raises:
        UsageError: it does not read, or does not fit.
    """
    from multirun_core._cli.params import parse_params
    from multirun_core._model.tables import read_lines, read_table

    if table is not None:
        from_stdin = table == "-"
        varying.rows = read_lines(sys.stdin, "standard input") if from_stdin else read_table(table)
    varying.draw(points, method, seed)
    varying.override(parse_params(params), draw=points is not None)
    if seeds is not None:
        varying.repeats = seeds
