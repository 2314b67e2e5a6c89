"""Parameters on the command line: `-p NAME=VALUES`, and tables of runs.

A value is a number, `true`, `false` or `null` as in JSON (`.5` and `1.` are numbers too), JSON in
whole where it starts with `"`, `[` or `{`, and text otherwise. So `-p 'name="a,b"'` is one text
with a comma, and `-p 'id="1"'` is the text 1. `START:STOP:STEP`, three numbers, is every number
from START to STOP, counted in decimal arithmetic; STOP is one of them where it is hit.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from multirun_core.errors import UsageError

_NUMBER = r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_IS_NUMBER = re.compile(_NUMBER)
_IS_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_IS_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):({_NUMBER})")
_WORDS = {"true": True, "false": False, "null": None}
_DECODER = json.JSONDecoder()
_MAX_RANGE = 10_000_000


def plain_value(text: str) -> Any:
    """Return what a text means that is no JSON string, list or object."""
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    if not _IS_NUMBER.fullmatch(text):
        return text
    if _IS_INTEGER.fullmatch(text):
        try:
            return int(text)
        except ValueError:  # thousands of digits
            return text
    number = float(text)
    return number if math.isfinite(number) else text


def parse_values(text: str) -> list[Any]:
    """Return the values of one `-p`.

    Raises:
        UsageError: a value is empty or half JSON, or a range leads nowhere.
    """
    values: list[Any] = []
    position = 0
    while True:
        item, end = _next_item(text, position)
        values += item
        if end >= len(text):
            return values
        position = end + 1


def parse_param(text: str) -> tuple[str, list[Any]]:
    """Split `NAME=VALUES` and convert the values.

    Raises:
        UsageError: it does not read so.
    """
    name, separator, values = text.partition("=")
    if not separator or not name.strip():
        raise UsageError(f"-p {text!r} must read NAME=VALUES, as in -p mass=1,2,5")
    try:
        return name.strip(), parse_values(values)
    except UsageError as problem:
        raise UsageError(f"-p {text!r}: {problem}") from None


def _next_item(text: str, position: int) -> tuple[list[Any], int]:
    """Return the values of the item at a position, and where its comma or the end is."""
    while position < len(text) and text[position].isspace():
        position += 1
    if text[position : position + 1] in ('"', "[", "{"):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            raise UsageError(
                f"{text[position:]!r} starts like JSON but is none; a text that starts so is "
                "written as a JSON string, as in 'name=\"[abc]\"'"
            ) from None
        while end < len(text) and text[end].isspace():
            end += 1
        if end < len(text) and text[end] != ",":
            raise UsageError(f"a comma must follow {text[position:end]!r}, not {text[end:]!r}")
        return [value], end
    comma = text.find(",", position)
    end = len(text) if comma < 0 else comma
    item = text[position:end].strip()
    if not item:
        raise UsageError('a value is empty; an empty text is written "", as in \'name=""\'')
    match = _IS_RANGE.fullmatch(item)
    return (_range(item, *match.groups()) if match else [plain_value(item)]), end


def _range(item: str, *texts: str) -> list[Any]:
    start, stop, step = (Decimal(text) for text in texts)
    advice = f"; a text that looks like this is written '\"{item}\"'"
    if not step:
        raise UsageError(f"the range {item} has the step 0{advice}")
    if (stop - start) * step < 0:
        raise UsageError(f"the range {item} leads away from its end{advice}")
    count = int((stop - start) / step) + 1
    if count > _MAX_RANGE:
        raise UsageError(f"the range {item} has {count} values; at most {_MAX_RANGE} will do")
    values = (start + step * number for number in range(count))
    if all(_IS_INTEGER.fullmatch(text) for text in texts):
        return [int(value) for value in values]
    return [float(value) for value in values]


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Convert all `-p` in their order.

    Raises:
        UsageError: one is wrong, or a name is given twice.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, values = parse_param(text)
        if name in grid:
            raise UsageError(f"-p {name} is given twice; write its values in one, as {name}=1,2")
        grid[name] = values
    return grid


def combine(
    rows: Sequence[Mapping[str, Any]], grid: Mapping[str, list[Any]]
) -> tuple[int, Iterator[dict[str, Any]]]:
    """Return the number of runs, and each row with each point of the grid, the last `-p` fastest.

    Raises:
        UsageError: a parameter is in a row and in the grid.
    """
    for number, row in enumerate(rows):
        for name in grid:
            if name in row:
                raise UsageError(f"-p {name} is in the table of runs too (row {number}); drop one")
    count = len(rows) * math.prod(len(values) for values in grid.values())
    return count, _points(rows, grid)


def _points(
    rows: Iterable[Mapping[str, Any]], grid: Mapping[str, list[Any]]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        for point in itertools.product(*grid.values()):
            yield {**row, **dict(zip(grid, point, strict=True))}


def read_table(source: str) -> list[dict[str, Any]]:
    """Read the parameters of runs from a .csv, .json or .jsonl file; `-`: JSON lines from stdin.

    In CSV a cell is typed like a value of `-p`, without ranges and commas; an empty one is null.

    Raises:
        UsageError: the file cannot be read, or is something else.
    """
    readers = {".csv": _read_csv, ".json": _read_json, ".jsonl": _read_lines}
    try:
        if source == "-":
            return _read_lines(sys.stdin, "standard input")
        reader = readers.get(Path(source).suffix.lower())
        if reader is None:
            raise UsageError(f"--runs {source}: its name must end in .csv, .json or .jsonl")
        with Path(source).open(encoding="utf-8-sig", newline="") as file:
            return reader(file, source)
    except (OSError, UnicodeError, csv.Error) as error:
        raise UsageError(f"--runs {source}: cannot read it: {error}") from error


def _read_csv(file: IO[str], source: str) -> list[dict[str, Any]]:
    reader = csv.reader(file, strict=True)
    header: list[str] = []
    rows: list[dict[str, Any]] = []
    for cells in reader:
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if not all(header) or len(set(header)) < len(header):
                raise UsageError(
                    f"--runs {source}: the first line must name each parameter once; it is {cells}"
                )
            continue
        if len(cells) != len(header):
            raise UsageError(
                f"--runs {source}, line {reader.line_num}: there are {len(cells)} values for the "
                f"{len(header)} parameters of the first line"
            )
        rows.append(dict(zip(header, map(_cell, cells), strict=True)))
    return rows


def _cell(text: str) -> Any:
    stripped = text.strip()
    if not stripped:
        return None
    if stripped[0] in '"[{':
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            return text
    value = plain_value(stripped)
    return text if isinstance(value, str) else value


def _read_json(file: IO[str], source: str) -> list[dict[str, Any]]:
    try:
        rows = json.load(file)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--runs {source}: it is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise UsageError(f"--runs {source}: it must be a list of objects, one a run")
    items: list[Any] = rows  # pyright: ignore[reportUnknownVariableType]
    return [_row(row, f"--runs {source}, item {number}") for number, row in enumerate(items)]


def _read_lines(file: IO[str], source: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"--runs {source}, line {number}"
        try:
            rows.append(_row(json.loads(line), where))
        except (ValueError, RecursionError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{where}: it is no JSON: {error}") from error
    return rows


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UsageError(f"{where}: it must be an object of names and values, not {row!r}")
    return row  # pyright: ignore[reportUnknownVariableType]
