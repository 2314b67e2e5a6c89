"""The table of a sweep: one row a run, as columns or as CSV.

The columns are: index; the parameters; status, reason, exit_code, attempts, host, started,
duration, cpu_seconds, max_rss_bytes; what the runs posted; result_error. Parameters and results
come in the order in which they are first seen. A result that is a dict has a column for each of
its keys, and where it holds further dicts for each of theirs: `stats.mean` for the key `mean` of
the dict `stats`. Any other result is in the column `result`. What a run has not is None.
`result_error` says why a run's result could not be read.

**Equal names.** The columns named above keep their names. Where the name of a parameter, or of a
part of a result, is taken already, the column is called `param.NAME` or `result.NAME` (with one
more prefix, should that be taken as well). Parameters come before results: with a parameter and a
result `x`, the columns are `x` and `result.x`.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from multirun_core._sweep.aside import uncollected
from multirun_core.errors import ResultsError

if TYPE_CHECKING:
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
_facts = attrgetter(*_FACTS)
Keys: TypeAlias = tuple[Hashable, ...]  # those that lead to a part of a result
_Key = TypeVar("_Key", bound=Hashable)

_LEAVES = {type(None), bool, int, float, str, list}
_SPOOL_BYTES = 32 * 1024 * 1024


class Row(NamedTuple):
    """One run; what it has by the names of the columns."""

    number: int | None
    params: dict[str, Any]
    facts: dict[str, Any]
    results: dict[str, Any]
    error: str | None

    def cells(self) -> dict[str, Any]:
        """Return what it has by the names of the columns."""
        own = {"index": self.number, "result_error": self.error}
        return own | self.params | self.facts | self.results


class Names:
    """The columns of the parameters and the results, each with a name of its own."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {"index", *_FACTS, "result_error", *reserved}
        self._params: dict[Keys, str] = {}
        self._results: dict[Keys, str] = {}

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

    @property
    def results(self) -> list[str]:
        """The names of the columns of the results in their order."""
        return list(self._results.values())

    def param(self, key: str) -> str:
        """Return the name of the column of a parameter."""
        return self._name(self._params, (key,), "param.")

    def result(self, keys: Keys) -> str:
        """Return the name of the column of a part of the results."""
        return self._name(self._results, keys, "result.")

    def _name(self, names: dict[Keys, str], keys: Keys, prefix: str) -> str:
        if keys in names:
            return names[keys]
        name = ".".join(map(str, keys)) if keys else "result"
        while name in self._taken:
            name = prefix + name
        self._taken.add(name)
        names[keys] = name
        return name


def spread(result: Any) -> dict[Keys, Any]:
    """Return the parts of a result: those of dicts by the keys that lead to them."""
    if type(result) is dict:
        flat = cast("dict[Hashable, Any]", result)
        if _LEAVES.issuperset(map(type, flat.values())):  # as most are
            return {(key,): part for key, part in flat.items()}
    parts: dict[Keys, Any] = {}
    waiting: list[tuple[Keys, Any, tuple[int, ...]]] = [((), result, ())]
    while waiting:
        keys, part, above = waiting.pop()
        own = id(part)
        if isinstance(part, dict) and (part or not keys) and own not in above:
            items = list(cast("dict[Hashable, Any]", part).items())
            inside = (*above, own)
            waiting += [((*keys, key), item, inside) for key, item in reversed(items)]
        elif keys or part is not None:
            parts[keys] = part
    return parts


def rows(runs: Sequence[Run], names: Names) -> Iterator[Row]:
    """Look at each run once, so that a row is one moment of a sweep that is under way."""
    for run in runs:
        for key in run.params:
            names.param(key)
    for run in runs:
        parts, error = _result(run)
        yield Row(
            run.index,
            {names.param(key): value for key, value in run.params.items()},
            dict(zip(_FACTS, _facts(run), strict=True)),
            {names.result(keys): value for keys, value in parts.items()},
            error,
        )


def _result(run: Run) -> tuple[dict[Keys, Any], str | None]:
    """Return the parts of a run's result, and why it could not be read.

    It must be looked at before the facts: a run's status is then never older than its result.
    """
    try:
        return spread(run.result), None
    except ResultsError as problem:
        return {}, str(problem)


class _Columns(Generic[_Key]):
    """Columns that are filled row by row; what a row has not is None."""

    def __init__(self) -> None:
        self._columns: dict[_Key, list[Any]] = {}
        self._count = 0
        self._keys: tuple[_Key, ...] = ()  # of the last row
        self._mark = hash(())
        self._adders: list[Callable[[Any], None]] = []  # of their columns

    def add(self, row: dict[_Key, Any]) -> None:
        """Add a row; one with the keys of the row before takes the least time."""
        keys = tuple(row)
        mark = hash(keys)  # keys that differ in it, such as of numpy, need not bear a comparison
        if mark != self._mark or keys != self._keys:
            self._mark, self._keys = mark, keys
            self._adders = [self._filled(self._columns.setdefault(key, [])).append for key in keys]
        for add, value in zip(self._adders, row.values(), strict=True):
            add(value)
        self._count += 1

    def items(self) -> Iterator[tuple[_Key, list[Any]]]:
        """Return the columns by their keys, all equally long, as they were first seen."""
        return ((keys, self._filled(column)) for keys, column in self._columns.items())

    def _filled(self, column: list[Any]) -> list[Any]:
        column.extend([None] * (self._count - len(column)))
        return column


def build_columns(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the table of `runs` as lists of equal length by column name, as described above.

    Each run is looked at once. `started` is in seconds since the epoch, `duration` and
    `cpu_seconds` are in seconds.
    """
    params, results = _Columns[str](), _Columns[Keys]()
    facts: list[tuple[Any, ...]] = []
    numbers: list[int | None] = []
    errors: list[str | None] = []
    with uncollected():
        for run in runs:
            parts, error = _result(run)
            facts.append(_facts(run))
            params.add(run.params)
            results.add(parts)
            numbers.append(run.index)
            errors.append(error)
    names = Names()
    return {
        "index": numbers,
        **{names.param(key): column for key, column in params.items()},
        **{fact: [row[place] for row in facts] for place, fact in enumerate(_FACTS)},
        **{names.result(keys): column for keys, column in results.items()},
        "result_error": errors,
    }


def write_csv(runs: Sequence[Run], target: str | os.PathLike[str] | IO[str]) -> None:
    """Write the table of `runs` as CSV: UTF-8, lines ending with a line feed, names first.

    None is an empty cell, dates and times are ISO 8601 (`started` in UTC), booleans are `true` and
    `false`, and whatever has parts is JSON. Half a character of UTF-16, which UTF-8 cannot carry,
    is escaped with a backslash.

    Args:
        runs: the runs.
        target: a path, which has the whole table or what it had before, or a text stream.

    Raises:
        OSError: it cannot be written.
    """
    names = Names()
    # The names of all columns come first in the file but are known last. Looking at the runs
    # twice would mix two moments of a sweep that is under way.
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, "w+", encoding="utf-8") as spool:
        for row in rows(runs, names):
            spool.write(json.dumps(_texts(row)))
            spool.write("\n")
        spool.seek(0)
        lines = map(json.loads, spool)
        if isinstance(target, (str, os.PathLike)):
            write_aside(Path(target), "w", lambda file: _write_rows(names.all, lines, file))
        else:
            _write_rows(names.all, lines, target)


def _write_rows(columns: list[str], rows: Iterator[dict[str, str]], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([writable(name) for name in columns])
    writer.writerows([row.get(name, "") for name in columns] for row in rows)


def write_aside(path: Path, mode: str, write: Callable[[IO[Any]], object]) -> None:
    """Write a file whole or not at all; `mode` is "w" for text, "wb" for bytes."""
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    if path.exists() and not path.is_file():
        # Such as /dev/stdout, which is no file to be replaced.
        with path.open(mode, **text) as file:
            write(file)
        return
    path = path.resolve()
    aside = path.with_name(f".multirun-{os.getpid()}-{os.urandom(6).hex()}.tmp")
    try:
        with aside.open(mode.replace("w", "x"), **text) as file:
            write(file)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def _texts(row: Row) -> dict[str, str]:
    """Return the cells of a row that are not empty, as text."""
    cells = row.cells()
    if cells["started"] is not None:
        cells["started"] = datetime.fromtimestamp(cells["started"], UTC).isoformat()
    return {name: as_text(value) for name, value in cells.items() if value is not None}


def as_text(value: Any) -> str:
    """Return a value as a cell of a table that holds text alone: what has parts is JSON."""
    if isinstance(value, str):
        return writable(value)
    if type(value) is int or type(value) is float:
        return repr(value)
    try:
        text = json.dumps(value, ensure_ascii=False, default=plain)
    except (TypeError, ValueError, RecursionError):
        return writable(str(value))
    return writable(json.loads(text) if text.startswith('"') else text)


def plain(value: Any) -> Any:
    """Return what stands for a value that JSON has not: numbers, lists of them, or text."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    if type(value).__module__.partition(".")[0] != "numpy" or not hasattr(value, "tolist"):
        return str(value)
    if value.dtype.kind in "mM":  # numpy's own lists of them may be of bare numbers
        return [plain(item) for item in value] if value.shape else str(value[()])
    found = value.tolist()
    return str(value) if type(found) is type(value) else found


def writable(text: str) -> str:
    """Escape half characters of UTF-16, which UTF-8 cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
