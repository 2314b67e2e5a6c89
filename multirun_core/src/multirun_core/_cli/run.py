"""`multirun run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multirun_core._cli.common import Command, parse_rerun, parse_seconds
from multirun_core.errors import UsageError

_HELP = """Run COMMAND with many parameter sets, each in a directory of its own.

Each run gets its parameters in params.json, in its environment as MULTIRUN_PARAM_NAME, in place
of {NAME} in COMMAND, and in Python by getRunParams(). What it posts (by postRunResults(), or by
writing results.json) becomes its row of the table. Options come before COMMAND; all that follows
is its own.

\b
Examples:
  multirun run -p mass=1,2,5 -p drag=0.1:0.5:0.1 -i simulate.py -o study -- python simulate.py
  multirun run -p seed=1:100:1 -r local -R max_parallel=auto -- ./solve --seed {seed}
  multirun run --runs table.csv -i mesh.dat:link -o study --timeout 1h --retries 1 -- ./solve
  multirun run -p mass=1,2,5,9 -i simulate.py -o study --resume -- python simulate.py

\b
Values of -p, with commas between; several -p make a grid, the last one changing fastest:
  1, 0.5, true, null   a number, a boolean, null (as in JSON); anything else is text
  0.1:0.5:0.1          from 0.1 to 0.5 in steps of 0.1, both ends included
  'name="a,b"'         JSON where it starts with a quote or bracket: a text with a comma,
  'point=[1,2],[3,4]'  lists; 'id="1"' is the text 1

Inputs (-i PATH[:LINKAGE[:RENAME]]): LINKAGE is shared (one copy for all runs, the default), copy
(one for each) or link (the given file itself). A colon belongs to PATH unless one of these words
follows it as the last or the last but one part.

Where standard output is no terminal, the sweep's directory is printed on it.

Exit status: 0 if all runs succeeded, 1 if not, 2 for wrong use.
"""
_LINKAGES = ("copy", "shared", "link")


def parse_input(text: str) -> Any:
    """Convert the value of `-i`."""
    from multirun_core._model.files import FileResource

    parts = text.split(":")
    linkage: Any
    path, linkage, rename = text, "shared", None
    if len(parts) > 2 and parts[-2] in _LINKAGES:
        path, linkage, rename = ":".join(parts[:-2]), parts[-2], parts[-1]
    elif len(parts) > 1 and parts[-1] in _LINKAGES:
        path, linkage = ":".join(parts[:-1]), parts[-1]
    if not path or rename == "":
        raise UsageError(f"-i {text!r} must read PATH[:LINKAGE[:RENAME]], as in mesh.dat:link")
    return FileResource(path, linkage, rename)


def parse_env(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Convert all `--env`."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, separator, _) in zip(texts, pairs, strict=True):
        if not separator or not name:
            raise UsageError(f"--env {text!r} must read NAME=VALUE")
    return {name: value for name, _, value in pairs} or None


def _runner_options(name: str, texts: tuple[str, ...]) -> dict[str, Any]:
    from multirun_core._options import parse_option_text
    from multirun_core._registry import Registry

    if not texts:
        return {}
    registry = Registry()
    registry.factory(name)  # says plainly what is wrong where it cannot be imported
    spec = registry.resolve(name)
    options: dict[str, Any] = {}
    for text in texts:
        key, value = parse_option_text(spec, text)
        if key in options:
            raise UsageError(f"-R {key} is given twice")
        options[key] = value
    return options


@click.command("run", cls=Command, help=_HELP, context_settings={"allow_interspersed_args": False})
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
    help="Parameters from a .csv, .json or .jsonl file, one run a row (- for JSON lines "
    "from standard input); with -p, each row with each point of the grid.",
)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="PATH[:LINKAGE[:RENAME]]",
    help="A file or directory that each run gets.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="New directory for the sweep; by default a time-stamped one here.",
)
@click.option(
    "-r",
    "--runner",
    default="local",
    show_default=True,
    metavar="NAME",
    help="What carries the runs out; see multirun runners.",
)
@click.option(
    "-R",
    "--runner-option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
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
    default="restore",
    show_default=True,
    help="Before a further attempt, put the run directory back as it "
    "was, or keep what is there (checkpoints).",
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
@click.option("--dry-run", is_flag=True, help="Show what would run where; create nothing.")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(
    params: tuple[str, ...],
    table: str | None,
    inputs: tuple[str, ...],
    output: Path | None,
    runner: str,
    options: tuple[str, ...],
    env: tuple[str, ...],
    progress: bool | None,
    dry_run: bool,
    cmd: tuple[str, ...],
    **rest: Any,
) -> int:
    """Run a command with many parameter sets."""
    from multirun_core._cli import params as reading

    if not cmd:
        raise UsageError("there is no command; write it at the end, as in … -- python simulate.py")
    if not params and table is None:
        raise UsageError(
            "there are no parameters; give some, as in -p mass=1,2,5 or --runs table.csv"
        )
    grid = reading.parse_grid(params)
    rows: list[dict[str, Any]] = [{}] if table is None else reading.read_table(table)
    count, points = reading.combine(rows, grid)
    arguments: dict[str, Any] = {
        "runs": points,
        "cmd": list(cmd),
        "output_path": output,
        "input_files": [parse_input(text) for text in inputs],
        "runner": runner,
        "runner_options": _runner_options(runner, options),
        "env": parse_env(env),
        **rest,
    }
    if rest["rerun"] is not None and output is None:
        raise UsageError("--rerun needs the sweep's directory; give it by -o DIR")
    if dry_run:
        from multirun_core._cli.dry_run import show

        click.echo(show(arguments, count))
        return 0
    from multirun_core._cli.summary import carry_out
    from multirun_core._sweep.api import start

    return carry_out(lambda: start(progress=progress, **arguments), progress=progress)
