r"""Results of programs that cannot post: taken from what they wrote, by a rule or a function.

A rule is text:

- `out.json`: the JSON in that file of the run directory;
- `table.csv`: the table in it; with one line of values they stand for themselves, with more each
  column is a list;
- `re:PATTERN`: what the pattern matches on standard output, at its last match that is not empty,
  `^` and `$` being ends of lines. Named groups (`(?P<energy>\S+)`) make a dict, one group its
  text, none the whole;
- `log.txt:re:PATTERN`: the same in a file.

Text that is a number is taken as one, in Fortran's way of writing too (`1.5D-3`). Several rules
make one dict.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from multirun_core._model.run import STDOUT
from multirun_core.errors import ResultsError, UsageError

Collector: TypeAlias = Callable[[Path], Any]
Collect: TypeAlias = Collector | str | Sequence[str]
"""What `collect=` takes: a function of the run directory, a rule, or several rules."""

_FORTRAN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)\Z")


def check_collect(given: Collect | None) -> Collector | None:
    """Return the function that collects.

    Raises:
        UsageError: a rule is none.
    """
    if given is None or callable(given):
        return given
    if isinstance(given, str):
        return _rule(given)
    rules = [_rule(one) for one in given]
    if not rules:
        raise UsageError("collect is an empty list; give a rule such as 'out.json', or a function")
    return rules[0] if len(rules) == 1 else lambda directory: _merge(rules, directory)


def collect(collector: Collector, directory: Path) -> Any:
    """Return what is collected from a run directory.

    Raises:
        ResultsError: it cannot be; says why, in one line.
    """
    try:
        return collector(directory)
    except ResultsError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ResultsError(f"collecting failed: {type(error).__name__}: {text}") from error


def _rule(text: str) -> Collector:
    name, marker, pattern = text.partition("re:")
    if marker and (not name or name.endswith(":")):
        try:
            compiled = re.compile(pattern, re.MULTILINE)
        except re.error as error:
            raise UsageError(f"collect {text!r}: the pattern is wrong: {error}") from error
        file = name.removesuffix(":") or STDOUT
        return lambda directory: _search(directory / file, compiled)
    if text.endswith(".json"):
        return lambda directory: _json(directory / text)
    if text.endswith(".csv"):
        return lambda directory: _csv(directory / text)
    raise UsageError(
        f"collect {text!r} must be a .json or .csv file of the run directory, 're:PATTERN' for "
        "standard output, or 'FILE:re:PATTERN'"
    )


def _merge(rules: Sequence[Collector], directory: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for rule in rules:
        part = rule(directory)
        if not isinstance(part, Mapping):
            raise ResultsError(
                "several rules to collect by make one dict, but one of them gives no names; "
                "name its group, as in (?P<energy>…)"
            )
        merged.update(cast("Mapping[str, Any]", part))
    return merged


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        if path.name == STDOUT:
            return ""  # an empty one is removed
        raise ResultsError(f"collecting failed: there is no {path.name!r}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise ResultsError(f"collecting failed: {path.name!r} is no JSON: {error}") from error


def _csv(path: Path) -> Any:
    lines = list(csv.reader(_read(path).splitlines(), skipinitialspace=True))
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise ResultsError(f"collecting failed: {path.name!r} has no line of values")
    head, *rows = lines
    wrong = [number for number, row in enumerate(rows, 2) if len(row) != len(head)]
    if wrong:
        raise ResultsError(
            f"collecting failed: line {wrong[0]} of {path.name!r} has {len(rows[wrong[0] - 2])} "
            f"values under {len(head)} names"
        )
    columns = {
        name.strip(): [_value(row[position]) for row in rows] for position, name in enumerate(head)
    }
    if len(rows) == 1:
        return {name: column[0] for name, column in columns.items()}
    return columns


def _search(path: Path, pattern: re.Pattern[str]) -> Any:
    last: re.Match[str] | None = None
    for match in pattern.finditer(_read(path)):
        if last is None or match[0]:  # such as `.*` also matches the nothing behind a line
            last = match
    if last is None:
        raise ResultsError(f"collecting failed: {pattern.pattern!r} is not in {path.name!r}")
    if last.groupdict():
        return {name: _value(text) for name, text in last.groupdict().items()}
    return _value(last[1] if pattern.groups else last[0])


def _value(text: str | None) -> Any:
    if text is None:
        return None
    text = text.strip()
    for convert in (int, float):
        try:
            return convert(text) if "_" not in text else text
        except ValueError:
            continue
    fortran = _FORTRAN.match(text)
    return float(f"{fortran[1]}e{fortran[2]}") if fortran else text
