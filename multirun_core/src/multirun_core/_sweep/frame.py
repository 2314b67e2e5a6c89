"""The table of a sweep as a pandas DataFrame, with columns of proper types."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from multirun_core._model.status import RunStatus
from multirun_core._sweep.table import build_columns
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from multirun_core._model.run import Run

INTEGERS = ("exit_code", "attempts", "max_rss_bytes")
CATEGORIES = ("status", "reason", "host")

_INT64 = range(-(2**63), 2**63)
_EXACT = range(-(2**53), 2**53 + 1)  # what a float64 holds exactly


def to_dataframe(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the table of `runs` as a DataFrame with the run's index as its index.

    `status`, `reason` and `host` are categories, `started` is a time stamp in UTC, `duration` a
    time difference, `cpu_seconds` are seconds. `exit_code`, `attempts` and `max_rss_bytes` are
    nullable integers (`Int64`): a column has the same type whether or not some run lacks a value.

    Columns of parameters and results with one kind of value have its type: numbers and booleans,
    nullable (`Int64`, `boolean`) where some run has none, texts (`string`), dates with times and
    time differences (to the microsecond), scalars of numpy that of their dtype. All others are
    objects, arrays among them.

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
    numbers = columns.pop("index")
    index = pd.Index(numbers, dtype="Int64" if None in numbers else "int64", name="index")
    series: dict[str, Any] = {name: _series(pd, name, values) for name, values in columns.items()}
    for column in series.values():
        column.index = index
    return pd.DataFrame(series, index=index)


def _series(pd: Any, name: str, values: list[Any]) -> Any:
    if name in CATEGORIES:
        # The statuses in their order; of the others those that occur.
        known = get_args(RunStatus) if name == "status" else sorted({*values} - {None})
        return pd.Series(values, dtype=pd.CategoricalDtype(pd.Index(known, dtype="string")))
    if name == "started":
        stamps = pd.to_datetime(pd.Series(values, dtype="float64"), unit="s", utc=True)
        return stamps.astype("datetime64[us, UTC]")
    if name == "duration":
        seconds = pd.Series(values, dtype="float64").round(6)
        return pd.to_timedelta(seconds, unit="s").astype("timedelta64[us]")
    if name in INTEGERS:
        return pd.Series(values, dtype="Int64")
    if name in ("cpu_seconds", "result_error"):
        return pd.Series(values, dtype="float64" if name == "cpu_seconds" else "string")
    try:
        return pd.Series(values, dtype=_dtype(pd, values))
    except (OverflowError, ValueError):  # dates and times beyond what pandas can hold
        return pd.Series(values, dtype="object")


def _dtype(pd: Any, values: list[Any]) -> Any:
    """Choose the type of a column of parameters or results; None lets pandas choose."""
    kinds: set[type[Any]] = {type(value) for value in values}
    lacking = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {datetime.datetime}:
        zones = {value.tzinfo for value in values if value is not None}
        if len(zones) > 1:
            return "object"
        zone = zones.pop()
        return "datetime64[us]" if zone is None else pd.DatetimeTZDtype("us", zone)
    if kinds == {datetime.timedelta}:
        return "timedelta64[us]"
    return _dtype_of_numbers(kinds, values, lacking=lacking)


def _dtype_of_numbers(kinds: set[type[Any]], values: list[Any], *, lacking: bool) -> str | None:
    import numpy as np

    number: Any = np.number

    def all_of(*plain: Any) -> bool:
        mine = tuple(kind for kind in plain if kind.__module__ == "numpy")
        return bool(kinds) and all(kind in plain or issubclass(kind, mine) for kind in kinds)

    if all_of(bool, np.bool_):
        return "boolean" if lacking else "bool"
    if all_of(str, np.str_):
        return "string"
    if kinds in ({np.datetime64}, {np.timedelta64}):
        return None
    if kinds & {np.timedelta64} or not all_of(int, float, np.integer, np.floating):
        return "object"
    one = kinds.copy().pop()
    name = np.dtype(one).name if len(kinds) == 1 and issubclass(one, number) else None
    if all_of(int, np.integer):
        if name is None and any(value is not None and int(value) not in _INT64 for value in values):
            return "object"
        name = name or "int64"
        return name.replace("int", "Int").replace("uI", "UI") if lacking else name
    integers = [int(value) for value in values if hasattr(value, "__index__")]
    return name or ("float64" if all(value in _EXACT for value in integers) else "object")
