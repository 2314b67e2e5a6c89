"""The group of commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from multirun_core import errors
from multirun_core._display.stream import SafeStream
from multirun_core._version import VERSION

# Listed here so that `multirun --help` imports no command.
COMMANDS = {
    "run": "Run a command with many parameter sets.",
    "status": "Show how far a sweep is.",
    "results": "Show or export the table of results.",
    "logs": "Show what a run has printed.",
    "resume": "Carry on with a sweep that was interrupted.",
    "cancel": "Cancel runs of a sweep that is under way.",
    "clean": "Remove a sweep, or thin it to its results.",
    "init": "Write a sweep file to begin with.",
    "runners": "List the runners there are, and their options.",
    "hosts": "Check the hosts that a runner would use.",
    "completion": "Print what makes a shell complete commands and options.",
    "demo": "Run a small Monte Carlo study to see what it is like.",
}
COMPLETE = "_MULTIRUN_COMPLETE"
"""The variable by which a shell asks what could be completed."""

# Errors that are no wrong use: something went wrong on the way.
_TROUBLE = (
    errors.JournalError,
    errors.SweepSupersededError,
    errors.BackendError,
    errors.SubmitError,
    errors.RunnerClosedError,
    errors.RunsFailedError,
)


class Program(click.Group):
    """Knows the names of its commands, and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"multirun_core._cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, or say which one may be."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"multirun {VERSION}")
        ctx.exit()


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["debug"] = True


def debug_option() -> click.Option:
    """Return the option `--debug`, which every command has too."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )


program = Program(
    "multirun",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the version.",
        ),
        debug_option(),
    ],
    help=(
        "Run one command with many parameter sets, each in a directory of its own, and get one "
        "table of results.\n\n\b\n"
        "  multirun demo\n"
        "  multirun run -p mass=1,2,5 -i simulate.py -o study -- python simulate.py\n"
        "  multirun results study --format csv > study.csv\n\n"
        "Exit status: 0 all well, 1 a run failed, 2 wrong use; 130, 143, 129 after SIGINT "
        "(Ctrl-C), SIGTERM, SIGHUP."
    ),
)


def carry_out(arguments: Sequence[str] | None) -> int:
    """Run the program; errors become a line and an advice on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = bool(words)  # click empties the list
    meta: dict[str, Any] = {}
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - closed by the caller
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the program lives
    if COMPLETE in os.environ:  # a shell asks what could be completed
        return int(program.main(words, "multirun") or 0)
    try:
        with program.make_context("multirun", words if asked else ["--help"]) as context:
            meta = context.meta
            outcome = program.invoke(context)
        sys.stdout.flush()
    except Exception as error:
        if meta.get("debug"):
            import traceback

            traceback.print_exc()
        return _say(error, asked)
    except KeyboardInterrupt:
        tell("multirun: interrupted")
        return 130
    finally:
        _leave_quietly()
    return outcome if isinstance(outcome, int) else 0


def _say(error: Exception, asked: bool) -> int:
    """Tell people about an error, and return the exit status."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code if asked else 2  # help that nobody asked for
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "multirun"
        _lines(error.format_message(), f"{where} --help shows how it is used")
        return 2
    if isinstance(error, click.Abort):
        _lines("interrupted")
        return 130
    if isinstance(error, BrokenPipeError):
        return 141  # as a shell sees it from a program that SIGPIPE has ended
    if isinstance(error, errors.MultirunError):
        _lines(str(error))
        return 1 if isinstance(error, _TROUBLE) else 2
    if isinstance(error, OSError):
        _lines(str(error), "look at the disk, the permissions and the path")
        return 1
    _lines(
        f"{type(error).__name__}: {error}",
        "this is a fault of multirun; the same with --debug shows where, please report it",
    )
    return 1


def tell(text: str) -> None:
    """Write lines for people on standard error, which may be closed."""
    stream = SafeStream(sys.stderr)
    stream.write(text + "\n")
    stream.flush()


def _leave_quietly() -> None:
    """Keep the interpreter from complaining, with an exit status of its own, at broken pipes."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:  # pyright: ignore[reportUnnecessaryComparison]
                stream.flush()
        except ValueError:
            continue
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


def _lines(text: str, advice: str = "") -> None:
    tell(f"multirun: {text}" + (f"\n  {advice}" if advice else ""))
