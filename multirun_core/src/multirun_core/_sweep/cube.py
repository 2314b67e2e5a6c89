"""The results of a sweep as an xarray Dataset: parameters are dimensions."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multirun_core._sweep.axes import Axes, Dimension, find_axes
from multirun_core._sweep.table import Names, Row, rows
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    import xarray as xr

    from multirun_core._model.run import Run


def to_xarray(runs: Sequence[Run]) -> xr.Dataset:
    """Return the results of `runs` as a Dataset.

    Each parameter with more than one value is a dimension, with its values as coordinates, sorted
    where they are numbers, where the runs fill the grid of them at least by a quarter; a
    parameter that follows from another is a further coordinate along that one. Runs with equal
    parameters lie along a dimension `repeat`. Where there is no grid, there is one dimension,
    `run`. Parameters that all runs have alike are coordinates without a dimension.

    Each column of results is a variable. Arrays of equal shape, also lists of numbers, add
    dimensions NAME_0, NAME_1 and so on. A point without a value is NaN, which makes floats of
    integers and booleans; dates and times are in UTC, to the microsecond. What is no number is an
    object. The variable `status` says what became of each run, "" where there is none; `index` is
    the number of the run, or -1; `result_error`, which is there where some result cannot be read,
    says why.

    Raises:
        UsageError: xarray is not installed.
    """
    try:
        import numpy
        import xarray as xr
    except ImportError as error:
        raise UsageError(
            f"a Dataset needs xarray, which cannot be imported ({error}); install it with "
            'pip install "multirun-core[xarray]"'
        ) from error
    runs = list(runs)
    axes = find_axes([run.params for run in runs])
    names = Names(reserved=[axis.value for axis in axes.sizes if isinstance(axis, Dimension)])
    return xr.Dataset(*_Cube(numpy, axes, names, list(rows(runs, names))).parts())


class _Cube:
    """What a Dataset is made of."""

    def __init__(self, np: Any, axes: Axes, names: Names, table: list[Row]) -> None:
        self._np = np
        self._axes = axes
        self._names = names
        self._table = table
        self._dims = {
            axis: axis.value if isinstance(axis, Dimension) else names.param(axis)
            for axis in axes.sizes
        }
        self._shape = tuple(axes.sizes.values())
        strides = [math.prod(self._shape[n + 1 :]) for n in range(len(self._shape))]
        self._flat = [
            sum(index * stride for index, stride in zip(place, strides, strict=True))
            for place in axes.places
        ]

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the variables and the coordinates."""
        table = self._table
        coords: dict[str, Any] = {
            self._names.param(name): (self._dims[axis], self._labels(values))
            for name, (axis, values) in self._axes.labels.items()
        }
        for name, value in self._axes.constants.items():
            coords[self._names.param(name)] = ((), self._labels([value]).reshape(()))
        if (run := self._dims.get(Dimension.RUN)) is not None:
            coords[run] = (run, self._np.array([row.number for row in table], dtype="int64"))
        variables: dict[str, Any] = {
            "status": self._spread([row.facts["status"] for row in table], "", object),
            "index": self._spread([row.number for row in table], -1, "int64"),
        }
        if any(row.error is not None for row in table):
            errors = [row.error or "" for row in table]
            variables["result_error"] = self._spread(errors, "", object)
        taken = {*coords, *variables, *self._names.all}
        for name in self._names.results:
            cells = [row.results.get(name) for row in table]
            variables[name] = self._variable(name, cells, taken)
        return variables, coords

    def _labels(self, values: list[Any]) -> Any:
        """Return values of a parameter as an array; what has parts as JSON."""
        labels = [
            json.dumps(value) if isinstance(value, (list, dict)) else value for value in values
        ]
        kinds: set[type[Any]] = {type(label) for label in labels}
        return self._np.array(labels, dtype=None if _is_plain(kinds) else object)

    def _spread(self, values: Sequence[Any], fill: Any, dtype: Any) -> tuple[list[str], Any]:
        full = self._np.full(math.prod(self._shape), fill, dtype)
        for place, value in zip(self._flat, values, strict=True):
            full[place] = value
        return list(self._dims.values()), full.reshape(self._shape)

    def _variable(self, name: str, cells: list[Any], taken: set[str]) -> tuple[list[str], Any]:
        np = self._np
        places = [place for place, cell in zip(self._flat, cells, strict=True) if cell is not None]
        arrays = [_as_array(np, cell) for cell in cells if cell is not None]
        if not places:
            return self._spread([math.nan] * len(cells), math.nan, float)
        shapes = {None if array is None else array.shape for array in arrays}
        groups = {None if array is None else _GROUPS.get(array.dtype.kind) for array in arrays}
        if len(shapes) > 1 or len(groups) > 1 or None in groups:
            objects = [math.nan if cell is None else cell for cell in cells]
            return self._spread(objects, math.nan, object)
        stacked = np.stack(arrays)
        count, shape = math.prod(self._shape), stacked.shape[1:]
        if len(places) < count and stacked.dtype.kind in "biu":
            stacked = stacked.astype(float)
        fill = 0 if len(places) == count else "NaT" if stacked.dtype.kind in "mM" else math.nan
        full = np.full((count, *shape), fill, stacked.dtype)
        full[places] = stacked
        inner = [_new_name(f"{name}_{number}", taken) for number in range(len(shape))]
        return [*self._dims.values(), *inner], full.reshape(self._shape + shape)


# Kinds of dtypes that can be stacked without a change of meaning.
_GROUPS = {"b": "b", **dict.fromkeys("iufc", "number"), "M": "M", "m": "m"}


def _is_plain(kinds: set[type[Any]]) -> bool:
    return (len(kinds) == 1 and kinds <= {bool, int, float, str}) or kinds == {int, float}


def _as_array(np: Any, value: Any) -> Any:
    """Return a number, a time or an array of them as an array of numpy; None for all else."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return np.array(np.datetime64(value, "us"))
    if isinstance(value, datetime.timedelta):
        return np.array(np.timedelta64(value, "us"))
    if not isinstance(value, (bool, int, float, complex, list, np.generic, np.ndarray)):
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return array if array.dtype.kind in _GROUPS else None


def _new_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
