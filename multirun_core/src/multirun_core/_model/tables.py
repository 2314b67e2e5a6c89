"""Tables of runs: one row a run, from a CSV or JSON file or a pandas DataFrame.

In CSV the first line names the parameters. A cell is a number, `true`, `false` or `null` as in JSON
(`.5` and `1.` are numbers too), JSON in whole where it starts with `"`, `[` or `{`, and text
otherwise; an empty one is null.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeGuard

from multirun_core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

NUMBER = r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_IS_NUMBER = re.compile(NUMBER)
_IS_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_WORDS = {"true": True, "false": False, "null": None}


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


def read_table(source: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the parameters of runs from a .csv, .json or .jsonl file.

    Raises:
        UsageError: the file cannot be read, or is something else.
    """
    readers = {".csv": _read_csv, ".json": _read_json, ".jsonl": read_lines}
    path = Path(source)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"the table of runs {str(path)!r} must end in .csv, .json or .jsonl")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return reader(file, str(path))
    except (OSError, UnicodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot read it: {error}") from error


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
                    f"{source}: the first line must name each parameter once; it is {cells}"
                )
            continue
        if len(cells) != len(header):
            raise UsageError(
                f"{source}, line {reader.line_num}: there are {len(cells)} values for the "
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
        raise UsageError(f"{source}: it is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise UsageError(f"{source}: it must be a list of objects, one a run")
    items: list[Any] = rows  # pyright: ignore[reportUnknownVariableType]
    return [_row(row, f"{source}, item {number}") for number, row in enumerate(items)]


def read_lines(file: IO[str], source: str) -> list[dict[str, Any]]:
    """Read JSON Lines: one object a line, empty lines are passed over.

    Raises:
        UsageError: a line is something else.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
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


def is_frame(runs: object) -> TypeGuard[pd.DataFrame]:
    """Whether this is a pandas DataFrame, without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(runs).__mro__
    )


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a DataFrame without its index; what is missing (NaN, NaT, NA) is None.

    Raises:
        UsageError: two columns have one name.
    """
    names: list[Any] = list(frame.columns)
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two columns of the DataFrame have the name {double!r}; rename one")
    columns: list[list[Any]] = []
    for position in range(len(names)):
        column: pd.Series[Any] = frame.iloc[:, position]
        lacks: list[bool] = column.isna().tolist()
        values: list[Any] = column.tolist()
        columns.append([None if gone else one for one, gone in zip(values, lacks, strict=True)])
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
