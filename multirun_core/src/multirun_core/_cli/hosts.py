"""`multirun hosts`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from multirun_core._cli import complete
from multirun_core._cli.common import Command, one_line, tell
from multirun_core._cli.words import parse_runner_options

if TYPE_CHECKING:
    from multirun_core._runners.spec import HostReport

_HELP = """Look at the hosts that a sweep would use, and say what would fail.

Each is logged in to, and nothing is left there. The options are those of the runner.

\b
Examples:
  multirun hosts check -R hosts=node1,node2:8
  multirun hosts check -R hosts_file=lab.hosts -R python=python3.12

Exit status: 0 all hosts are ready, 1 one is not, 2 wrong use.
"""


@click.command("hosts", cls=Command, help=_HELP)
@click.argument("action", type=click.Choice(["check"]))
@click.option(
    "-r",
    "--runner",
    default="ssh",
    metavar="NAME",
    shell_complete=complete.runners,
    help="The runner, by default ssh.",
)
@click.option(
    "-R",
    "--runner-option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete.runner_options,
    help="An option of the runner, such as hosts=node1,node2; see multirun runners ssh.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(action: str, runner: str, options: tuple[str, ...], as_json: bool) -> int:
    """Look at the hosts that a sweep would use."""
    import asyncio

    from multirun_core._options import check_options
    from multirun_core._registry import Registry

    registry = Registry()
    factory = registry.factory(runner)  # says what to install where it is not there
    given = parse_runner_options(runner, options)
    check_options(runner, factory, given)
    check = registry.resolve(runner).load_check()
    if check is None:
        raise click.UsageError(f"the runner {runner!r} has no hosts that could be looked at")
    reports = asyncio.run(_all(check(**given)))
    if as_json:
        click.echo(json.dumps([_record(one) for one in reports], indent=1))
    else:
        click.echo("\n\n".join(_text(one) for one in reports))
        ready = sum(not one.problems for one in reports)
        tell(f"\n{ready} of {len(reports)} hosts {'is' if ready == 1 else 'are'} ready")
    return 1 if any(one.problems for one in reports) else 0


async def _all(checking: Any) -> Sequence[HostReport]:
    """Wait for the reports, in a coroutine that `asyncio.run` takes."""
    reports: Sequence[HostReport] = await checking
    return reports


def _record(report: HostReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "ready": not report.problems,
        "facts": dict(report.facts),
        "problems": list(report.problems),
        "notes": list(report.notes),
    }


def _text(report: HostReport) -> str:
    lines = [f"{report.name}: {'NOT READY' if report.problems else 'ready'}"]
    lines += [f"  problem: {_indented(one)}" for one in report.problems]
    lines += [f"  note: {_indented(one)}" for one in report.notes]
    shown = {_label(key): _value(key, value) for key, value in report.facts.items()}
    width = max(map(len, shown), default=0)
    lines += [one_line(f"  {key:{width}}  {value}") for key, value in shown.items()]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n    ".join(one_line(line) for line in text.splitlines())


def _label(key: str) -> str:
    return key.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")


def _value(key: str, value: Any) -> str:
    from multirun_core._model.resources import size_text

    if value is None:
        return "unknown"
    if key.endswith("_bytes"):
        return size_text(value)
    if key.endswith("_seconds"):
        return f"{value:.2f} s"
    if isinstance(value, list):
        return " ".join(map(str, value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value)
