"""The table of a sweep as a Parquet file."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from multirun_core._sweep.table import as_text, build_columns, writable, write_aside
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from multirun_core._model.run import Run

_EXACT = 2**53  # a double holds all integers up to it


def write_parquet(runs: Sequence[Run], target: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write the table of `runs` as Parquet.

    `status`, `reason` and `host` are dictionaries of strings, `started` is a time stamp in UTC and
    `duration` a duration, both in microseconds. Columns of parameters and results have the type of
    their values, with lists for arrays; where values have no type in common, or one that Parquet
    has not, they are text, and what has parts is JSON, as in the CSV.

    Args:
        runs: the runs.
        target: a path, which has the whole table or what it had before, or a stream of bytes.

    Raises:
        UsageError: pyarrow is not installed.
        OSError: it cannot be written.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"Parquet needs pyarrow, which cannot be imported ({error}); install it with "
            'pip install "multirun-core[parquet]", or write the table with to_csv'
        ) from error
    pq: Any = parquet
    columns = build_columns(runs)
    facts = _facts(pa)
    arrays = [
        facts[name](values) if name in facts else _array(pa, values)
        for name, values in columns.items()
    ]
    table = pa.Table.from_arrays(arrays, names=[writable(name) for name in columns])
    if isinstance(target, (str, os.PathLike)):
        write_aside(Path(target), "wb", lambda file: pq.write_table(table, file))
    else:
        pq.write_table(table, target)


def _facts(pa: Any) -> dict[str, Callable[[list[Any]], Any]]:
    """Return what makes the columns that each sweep has, whatever is in them."""

    def of(kind: Any) -> Callable[[list[Any]], Any]:
        return lambda values: pa.array(values, kind)

    def of_seconds(kind: Any) -> Callable[[list[Any]], Any]:
        return lambda values: pa.array(
            [None if value is None else round(value * 1e6) for value in values], kind
        )

    word, count = of(pa.dictionary(pa.int32(), pa.string())), of(pa.int64())
    return {
        **dict.fromkeys(("status", "reason", "host"), word),
        **dict.fromkeys(("index", "exit_code", "attempts", "max_rss_bytes"), count),
        "started": of_seconds(pa.timestamp("us", "UTC")),
        "duration": of_seconds(pa.duration("us")),
        "cpu_seconds": of(pa.float64()),
        "result_error": of(pa.string()),
    }


def _array(pa: Any, values: list[Any]) -> Any:
    """Make a column of parameters or results."""
    cells = [_plain(value) for value in values]
    if _is_alike(cells):
        try:
            array = pa.array(cells)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        else:
            if not _has_empty_struct(pa, array.type):
                return array
    return pa.array([None if value is None else as_text(value) for value in values], pa.string())


def _plain(value: Any) -> Any:
    """Return a value of numpy as Python's, unless that would lose its unit."""
    if type(value).__module__ != "numpy" or not hasattr(value, "dtype"):
        return value
    return value if value.dtype.kind in "mM" else value.tolist()


def _is_alike(cells: list[Any]) -> bool:
    """Whether values are of one kind, so that to store them as one type changes none."""
    kinds: set[type[Any]] = {type(cell) for cell in cells if cell is not None}
    if kinds == {int, float}:
        return all(abs(cell) <= _EXACT for cell in cells if type(cell) is int)
    if kinds in ({datetime.datetime}, {datetime.time}):
        zones = {cell.tzinfo for cell in cells if cell is not None}
        return len(zones) == 1 and (datetime.time not in kinds or None in zones)
    return len(kinds) <= 1


def _has_empty_struct(pa: Any, kind: Any) -> bool:
    """Whether a type has parts without fields, which Parquet has not."""
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(pa, kind.field(n).type) for n in range(kind.num_fields))
