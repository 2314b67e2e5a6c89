"""What a shell is offered where a word can be completed; it must never fail, and be quick."""

from __future__ import annotations

from typing import Any, get_args

import click
from click.shell_completion import CompletionItem


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete names of files."""
    return [CompletionItem(incomplete, type="file")]


def runners(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of the runners that are installed."""
    from multirun_core._registry import Registry

    return [
        CompletionItem(one.spec.name, help=one.spec.summary)
        for one in Registry().installed()
        if one.spec.name.startswith(incomplete)
    ]


def runner_options(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the options of the runner that was chosen before, then the values of one."""
    from multirun_core._options import options_of
    from multirun_core._registry import Registry
    from multirun_core.errors import RunnerError

    try:
        known = options_of(Registry().factory(ctx.params.get("runner") or "local")).known
    except RunnerError:
        return []
    name, separator, _ = incomplete.partition("=")
    if separator:
        words = _words(known[name].annotation) if name in known else []
        found = [CompletionItem(f"{name}={word}") for word in words]
    else:
        found = [CompletionItem(f"{one.name}=", help=one.help or None) for one in known.values()]
    return [item for item in found if str(item.value).startswith(incomplete)]


def _words(annotation: Any) -> list[str]:
    """Return what can be written for a type, as far as it is a choice of words."""
    if annotation is bool:
        return ["true", "false"]
    words: list[str] = []
    for part in get_args(annotation):
        words += [part] if isinstance(part, str) else _words(part)
    return words
