"""`multirun results`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from multirun_core._cli.common import DIRECTORY, Command, on_terminal, one_line, tell
from multirun_core._sweep.table import plain
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from multirun_core._sweep.sweep import Sweep

_HELP = """Show or export the table of results of the sweep in DIR: one row a run.

The table for people leaves out columns of little interest; csv, json (one list), jsonl (one object
a line) and parquet (which keeps the types) have all of them. Results of a kind that results.json
does not carry are a pickle, which is loaded only with --allow-pickle: a pickle can run any code, so
allow it only where you trust who wrote DIR.

\b
Examples:
  multirun results study
  multirun results study --format csv > study.csv
  multirun results study --format parquet > study.parquet
  multirun results study --format jsonl | jq 'select(.energy > 3) | .index'
"""
_SHOWN = 200
_LESS_INTERESTING = ("attempts", "host", "started", "cpu_seconds", "max_rss_bytes")
_ONLY_IF_ANY = ("reason", "exit_code", "result_error")
_CELL_WIDTH = 60


@click.command("results", cls=Command, help=_HELP)
@click.argument("path", metavar="DIR", type=DIRECTORY)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "jsonl", "parquet"]),
    default="table",
    show_default=True,
)
@click.option("--allow-pickle", is_flag=True, help="Load results that are pickles.")
def command(path: Path, form: str, allow_pickle: bool) -> int:
    """Show or export the table of results."""
    from multirun_core._sweep.sweep import Sweep
    from multirun_core._sweep.table import build_columns, write_csv

    sweep = Sweep.open(path, allow_pickle=allow_pickle)
    if form == "csv":
        write_csv(sweep.runs, sys.stdout)
        return 0
    if form == "parquet":
        _write_parquet(sweep)
        return 0
    columns = build_columns(sweep.runs)
    if form == "table":
        print_table(columns)
    else:
        _write_json(columns, as_list=form == "json")
    unreadable = sum(error is not None for error in columns["result_error"])
    if unreadable:
        tell(f"multirun: {unreadable} result(s) cannot be read; the column result_error says why")
    return 0


def _write_parquet(sweep: Sweep) -> None:
    from multirun_core._sweep.parquet import write_parquet

    if sys.stdout.isatty():
        raise UsageError(
            "Parquet is not for a terminal; write it to a file: "
            "multirun results DIR --format parquet > table.parquet"
        )
    write_parquet(sweep.runs, sys.stdout.buffer)


def _write_json(columns: Mapping[str, list[Any]], *, as_list: bool) -> None:
    texts = (json.dumps(row) for row in _rows(columns))
    if not as_list:
        for text in texts:
            click.echo(text)
        return
    before = "[\n"
    for text in texts:
        click.echo(before + text, nl=False)
        before = ",\n"
    click.echo("[]" if before == "[\n" else "\n]")


def _rows(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for cells in zip(*columns.values(), strict=True):
        row = {name: _jsonable(cell) for name, cell in zip(columns, cells, strict=True)}
        if row["started"] is not None:
            row["started"] = datetime.fromtimestamp(row["started"], UTC).isoformat()
        yield row


def _jsonable(value: Any) -> Any:
    """Return a value as JSON can carry it: what it cannot is text, and what is no number null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        pairs: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {str(name): _jsonable(one) for name, one in pairs.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(one) for one in cast("list[Any]", value)]
    standing = plain(value)
    return standing if isinstance(standing, str) else _jsonable(standing)


def print_table(columns: Mapping[str, list[Any]], limit: int | None = None) -> None:
    """Print the table for people: by rich on a terminal, in plain columns elsewhere."""
    shown = {
        name: cells
        for name, cells in columns.items()
        if name not in _LESS_INTERESTING
        and (name not in _ONLY_IF_ANY or any(cell not in (None, 0) for cell in cells))
    }
    count = len(columns["index"])
    number = min(count, limit or (_SHOWN if on_terminal() else count))
    texts = {name: [_cell(cell) for cell in cells[:number]] for name, cells in shown.items()}
    if on_terminal():
        _print_rich(texts, shown)
    else:
        _print_plain(texts, sys.stdout)
    if number < count and limit is None:
        tell(f"… and {count - number} more rows; --format csv has all")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if getattr(value, "size", 0) > _CELL_WIDTH:  # it would not fit, and could be very large
        return f"array of {' x '.join(map(str, value.shape))}"
    if type(value).__module__ == "numpy":
        value = plain(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else str(_jsonable(value))
    text = one_line(text)
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 1] + "…"


def _print_plain(texts: Mapping[str, list[str]], file: TextIO) -> None:
    columns = [
        (one_line(name), cells, max([len(one_line(name)), *map(len, cells)]))
        for name, cells in texts.items()
    ]
    click.echo("  ".join(f"{name:{width}}" for name, _, width in columns).rstrip(), file)
    for row in range(len(columns[0][1])):
        line = "  ".join(f"{cells[row]:{width}}" for _, cells, width in columns)
        click.echo(line.rstrip(), file)


def _print_rich(texts: Mapping[str, list[str]], values: Mapping[str, list[Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in texts:
        numeric = all(isinstance(value, (int, float, type(None))) for value in values[name])
        table.add_column(Text(one_line(name)), justify="right" if numeric else "left")
    styles = {"success": "green", "failure": "red", "skipped": "yellow"}
    for cells in zip(*texts.values(), strict=True):
        row = dict(zip(texts, cells, strict=True))
        table.add_row(*(
            Text(cell, style=styles.get(cell, "") if name == "status" else "")
            for name, cell in row.items()
        ))  # fmt: skip
    Console(highlight=False, emoji=False, markup=False).print(table)
