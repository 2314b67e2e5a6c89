"""`multirun runners`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from multirun_core._cli import complete
from multirun_core._cli.common import Command, one_line, tell

if TYPE_CHECKING:
    from multirun_core._options import Option
    from multirun_core._registry import Registry

_HELP = """List the runners that are installed, or the options of one.

\b
Examples:
  multirun runners
  multirun runners local
"""


@click.command("runners", cls=Command, help=_HELP)
@click.argument("name", required=False, shell_complete=complete.runners)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(name: str | None, as_json: bool) -> int:
    """List the runners there are, and their options."""
    from multirun_core._registry import Registry

    registry = Registry()
    if name is None:
        click.echo(json.dumps(_listing(registry), indent=1) if as_json else _list_text(registry))
        return 0
    from multirun_core._options import options_of

    summary = registry.resolve(name).summary
    options = options_of(registry.factory(name))
    known = list(options.known.values())
    if as_json:
        said = {"name": name, "summary": summary, "options": [_option(one) for one in known]}
        click.echo(json.dumps(said, indent=1, default=repr))
        return 0
    click.echo(f"{name}: {summary}\n")
    for option in known:
        default = "must be given" if option.required else f"default {option.default!r}"
        kind = f" ({option.type_text})" if option.type_text else ""
        click.echo(f"  {option.name}{kind}, {default}")
        if option.help:
            click.echo(click.wrap_text(option.help, 90, "      ", "      "))
    if options.open:
        click.echo("  and any others")
    if known:
        tell(f"\nGive one as in: multirun run -r {name} -R {known[0].name}=VALUE …")
    return 0


def _listing(registry: Registry) -> dict[str, Any]:
    return {
        "installed": [
            {
                "name": one.spec.name,
                "summary": one.spec.summary,
                "distribution": one.provider.distribution,
                "version": one.provider.version,
            }
            for one in registry.installed()
        ],
        "not_installed": [
            {"name": name, "distribution": distribution}
            for name, distribution in registry.missing().items()
        ],
        "failed_to_load": [
            {
                "entry_point": one.provider.entry_point,
                "distribution": one.provider.distribution,
                "version": one.provider.version,
                "error": one.why,
            }
            for one in registry.failures()
        ],
    }


def _list_text(registry: Registry) -> str:
    rows = [(one.spec.name, str(one.provider), one.spec.summary) for one in registry.installed()]
    rows += [
        (name, "not installed", f"pip install {distribution}")
        for name, distribution in registry.missing().items()
    ]
    rows += [
        (one.provider.entry_point, "failed to load", f"{one.why} ({one.provider})")
        for one in registry.failures()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(
        one_line(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip()) for row in rows
    )


def _option(option: Option) -> dict[str, Any]:
    told: dict[str, Any] = {"name": option.name, "type": option.type_text, "help": option.help}
    if not option.required:
        told["default"] = option.default
    return told
