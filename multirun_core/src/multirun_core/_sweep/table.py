"""The table of a sweep: one row a run, as columns, as a pandas DataFrame or as CSV.

The columns are: index; the parameters; status, reason, exit_code, attempts, host, started,
duration, cpu_seconds, max_rss_bytes; what the runs posted; result_error. Parameters and results
come in the order in which they are first seen. A result that is a dict has a column for each of
its keys, any other is in the column `result`. What a run has not is None. `result_error` says why
a run's result could not be read.

**Equal names.** The columns named above keep their names. Where the name of a parameter, or of a
key of a result, is taken already, the column is called `param.NAME` or `result.NAME` (with one
more prefix, should that be taken as well). Parameters come before results: with a parameter and a
result `x`, the columns are `x` and `result.x`.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from multirun_core.errors import ResultsError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from multirun_core._model.run import Run

_FACTS = (
    "status",
    "reason",
    "exit_code",
    "attempts",
    "host",
    "started",
    "duration",
    "cpu_seconds",
    "max_rss_bytes",
)
_SPOOL_BYTES = 32 * 1024 * 1024


class _Row(NamedTuple):
    """One run; what it has by the names of the columns."""

    number: int | None
    params: dict[str, Any]
    facts: dict[str, Any]
    results: dict[str, Any]
    error: str | None

    def cells(self) -> dict[str, Any]:
        own = {"index": self.number, "result_error": self.error}
        return own | self.params | self.facts | self.results


class _Names:
    """The columns of the parameters and the results, each with a name of its own."""

    def __init__(self) -> None:
        self._taken = {"index", *_FACTS, "result_error"}
        self._params: dict[Hashable, str] = {}
        self._results: dict[Hashable, str] = {}

    @property
    def all(self) -> list[str]:
        """The names of all columns in their order."""
        return [
            "index",
            *self._params.values(),
            *_FACTS,
            *self._results.values(),
            "result_error",
        ]

    def param(self, key: str) -> str:
        return self._name(self._params, key, "param.")

    def result(self, key: Hashable) -> str:
        return self._name(self._results, key, "result.")

    def _name(self, names: dict[Hashable, str], key: Hashable, prefix: str) -> str:
        if key in names:
            return names[key]
        name = str(key)
        while name in self._taken:
            name = prefix + name
        self._taken.add(name)
        names[key] = name
        return name


class _Whole:
    """Stands for a result that is no dict, among the keys of those that are."""

    def __str__(self) -> str:
        return "result"


_WHOLE = _Whole()


def _rows(runs: Sequence[Run], names: _Names) -> Iterator[_Row]:
    """Look at each run once, so that a row is one moment of a sweep that is under way."""
    for run in runs:
        for key in run.params:
            names.param(key)
    for run in runs:
        # The result first: a run's status is then never older than its result.
        result, error = None, None
        try:
            result = run.result
        except ResultsError as problem:
            error = str(problem)
        spread: dict[Hashable, Any] = {}
        if isinstance(result, dict):
            spread = cast("dict[Hashable, Any]", result)
        elif result is not None:
            spread = {_WHOLE: result}
        yield _Row(
            run.index,
            {names.param(key): value for key, value in run.params.items()},
            {fact: getattr(run, fact) for fact in _FACTS},
            {names.result(key): value for key, value in spread.items()},
            error,
        )


def build_columns(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the table of `runs` as lists of equal length by column name, as described above.

    `started` is in seconds since the epoch, `duration` and `cpu_seconds` are in seconds.
    """
    names = _Names()
    columns: dict[str, list[Any]] = {}
    count = 0
    for row in _rows(runs, names):
        for name, value in row.cells().items():
            column = columns.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(value)
        count += 1
    table = {name: columns.get(name, []) for name in names.all}
    for column in table.values():
        column.extend([None] * (count - len(column)))
    return table


def to_dataframe(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the table of `runs` as a DataFrame with the run's index as its index.

    `started` is a time stamp in UTC, `duration` and `cpu_seconds` are seconds. `exit_code`,
    `attempts` and `max_rss_bytes` are nullable integers (`Int64`), texts are `string`: a column
    has the same type whether or not some run lacks a value. Columns of parameters and results
    with integers alone are `int64`, or `Int64` where some run has none, and likewise for booleans.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError(
            f"a DataFrame needs pandas, which cannot be imported ({error}); install it with "
            'pip install "multirun-core[pandas]", or write the table with to_csv'
        ) from error
    columns = build_columns(runs)
    index = pd.Index(columns.pop("index"), dtype="Int64" if _lacks_index(runs) else "int64")
    index.name = "index"
    # What is ours has one type for ever, whatever the runs are like.
    dtypes: dict[str, str] = dict.fromkeys(("status", "reason", "host", "result_error"), "string")
    dtypes |= dict.fromkeys(("exit_code", "attempts", "max_rss_bytes"), "Int64")
    dtypes |= dict.fromkeys(("duration", "cpu_seconds"), "float64")
    series: dict[str, pd.Series[Any]] = {}
    for name, values in columns.items():
        if name == "started":
            stamps = pd.to_datetime(pd.Series(values, dtype="float64"), unit="s", utc=True)
            series[name] = stamps.astype("datetime64[us, UTC]")
        else:
            dtype = dtypes.get(name) or _dtype(values)
            series[name] = pd.Series(values, dtype=cast("Any", dtype))
    for column in series.values():
        column.index = index
    return pd.DataFrame(series, index=index)


def _lacks_index(runs: Sequence[Run]) -> bool:
    return any(run.index is None for run in runs)


def _dtype(values: list[Any]) -> str | None:
    """Choose the type of a column of parameters or results; None lets pandas choose."""
    kinds: set[type[Any]] = {type(value) for value in values}
    some_lack = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {bool}:
        return "boolean" if some_lack else "bool"
    if kinds == {str}:
        return "string"
    if kinds and kinds <= {int, float}:
        limit = 2**63 if kinds == {int} else 2**53  # beyond it a float64 is not exact
        if any(type(value) is int and not -limit <= value < limit for value in values):
            return "object"
        if kinds == {int}:
            return "Int64" if some_lack else "int64"
        return "float64"
    if kinds and all(kind.__module__ == "numpy" and kind.__name__ != "ndarray" for kind in kinds):
        return None
    return "object"


def write_csv(runs: Sequence[Run], target: str | os.PathLike[str] | IO[str]) -> None:
    """Write the table of `runs` as CSV: UTF-8, lines ending with a line feed, names first.

    None is an empty cell, `started` is ISO 8601 in UTC, booleans are `true` and `false`, and
    whatever has parts is JSON. Half a character of UTF-16, which UTF-8 cannot carry, is escaped
    with a backslash.

    Args:
        runs: the runs.
        target: a path, which has the whole table or what it had before, or a text stream.

    Raises:
        OSError: it cannot be written.
    """
    names = _Names()
    # The names of all columns come first in the file but are known last. Looking at the runs
    # twice would mix two moments of a sweep that is under way.
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, "w+", encoding="utf-8") as spool:
        for row in _rows(runs, names):
            spool.write(json.dumps(_texts(row)))
            spool.write("\n")
        spool.seek(0)
        rows = map(json.loads, spool)
        if isinstance(target, (str, os.PathLike)):
            _write_aside(Path(target), lambda file: _write_rows(names.all, rows, file))
        else:
            _write_rows(names.all, rows, target)


def _write_rows(columns: list[str], rows: Iterator[dict[str, str]], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_writable(name) for name in columns])
    writer.writerows([row.get(name, "") for name in columns] for row in rows)


def _write_aside(path: Path, write: Callable[[IO[str]], None]) -> None:
    if path.exists() and not path.is_file():
        # Such as /dev/stdout, which is no file to be replaced.
        with path.open("w", encoding="utf-8", newline="") as file:
            write(file)
        return
    path = path.resolve()
    aside = path.with_name(f".multirun-{os.getpid()}-{os.urandom(6).hex()}.tmp")
    try:
        with aside.open("x", encoding="utf-8", newline="") as file:
            write(file)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def _texts(row: _Row) -> dict[str, str]:
    """Return the cells of a row that are not empty, as text."""
    cells = row.cells()
    if cells["started"] is not None:
        cells["started"] = datetime.fromtimestamp(cells["started"], UTC).isoformat()
    return {name: _text(value) for name, value in cells.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _writable(value)
    if type(value) is int or type(value) is float:
        return repr(value)
    try:
        return _writable(json.dumps(value, ensure_ascii=False, default=_plain))
    except (TypeError, ValueError, RecursionError):
        return _writable(str(value))


def _plain(value: Any) -> Any:
    """Return what stands for a value that JSON has not."""
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        plain = value.tolist()
        if type(plain) is not type(value):
            return plain
    return str(value)


def _writable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
