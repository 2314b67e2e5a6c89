from __future__ import annotations

import datetime
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from multirun_core._sweep.axes import find_axes
from multirun_core._sweep.cube import to_xarray

from multirun_core import ResultsError, UsageError, grid, seeds, zipped

from .table_runs import make_runs


def dataset(*params_and_result: tuple[dict[str, Any], Any]) -> Any:
    return to_xarray(make_runs(*params_and_result))


def test_parameters_of_a_grid_are_dimensions() -> None:
    points = [*grid(mass=[5, 1, 2.5], mode=["b", "a"], gravity=[9.81])]
    random.Random(1).shuffle(points)
    ds = dataset(*[(one, {"e": one["mass"] * 2, "n": 1, "on": True, "s": one["mode"]})
                   for one in points])  # fmt: skip
    assert dict(ds.sizes) == {"mass": 3, "mode": 2}
    assert ds["mass"].values.tolist() == [1, 2.5, 5]
    assert ds["mode"].values.tolist() == list(dict.fromkeys(one["mode"] for one in points))
    assert ds["gravity"].item() == 9.81
    assert ds["gravity"].dims == ()
    assert ds["e"].sel(mass=2.5, mode="a") == 5
    assert ds["n"].dtype == "int64"
    assert ds["on"].dtype == "bool"
    assert ds["s"].sel(mass=1, mode="b").item() == "b"
    assert set(ds["status"].values.ravel()) == {"pending"}
    for number, one in enumerate(points):
        assert ds["index"].sel(mass=one["mass"], mode=one["mode"]) == number


def test_missing_points_are_nan_and_have_no_status() -> None:
    points = [*grid(x=[1, 2, 3], y=[1, 2, 3])][:-2]
    ds = dataset(*[(one, {"n": 1, "on": True, "c": 1j, "t": datetime.datetime(2025, 1, 1),
                          "d": datetime.timedelta(1), "s": "text", "a": np.arange(2)})
                   for one in points[:-1]], (points[-1], None))  # fmt: skip
    assert dict(ds.sizes) == {"x": 3, "y": 3, "a_0": 2}
    assert ds["status"].sel(x=3, y=3).item() == ""
    assert ds["status"].sel(x=3, y=1).item() == "pending"
    assert ds["index"].sel(x=3, y=3).item() == -1
    for name in ("n", "on", "c", "t", "d", "s"):
        assert ds[name].isnull().sum() == 3, name
        assert ds[name].isnull().sel(x=3, y=1), name
    assert ds["n"].dtype == ds["on"].dtype == ds["a"].dtype == "float64"
    assert ds["c"].dtype == "complex128"
    assert ds["t"].dtype == "datetime64[us]"
    assert ds["d"].dtype == "timedelta64[us]"
    assert np.isnan(ds["a"].sel(x=3, y=1).values).all()
    assert ds["a"].sel(x=1, y=1).values.tolist() == [0, 1]
    assert ds["n"].sum() == 6


def test_arrays_and_lists_of_equal_shape_add_dimensions() -> None:
    results = [
        {"field": np.full((2, 3), n, "f4"), "hist": [n, 0.5], "ragged": [0] * n, "words": ["a"],
         "field_0": n, "stats": {"v": (np.arange(n))}}
        for n in (1, 2)
    ]  # fmt: skip
    ds = dataset(*[({"n": n}, result) for n, result in enumerate(results)])
    assert ds["field"].dims == ("n", "field_0_", "field_1")
    assert ds["field"].dtype == "float32"
    assert ds["field"].sel(n=1).values.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert ds["field_0"].values.tolist() == [1, 2]
    assert ds["hist"].dims == ("n", "hist_0")
    assert ds["hist"].values.tolist() == [[1, 0.5], [2, 0.5]]
    assert ds["ragged"].dtype == object
    assert ds["ragged"].values[1] == [0, 0]
    assert ds["words"].values[0] == ["a"]
    assert ds["stats.v"].values[1].tolist() == [0, 1]


def test_values_of_different_kinds_are_objects() -> None:
    cells = [1, "a", None, [1], {}, True]
    ds = dataset(*[({"n": n}, {"x": cell, "flag": n or True}) for n, cell in enumerate(cells)])
    found = ds["x"].values.tolist()
    assert found[:2] == [1, "a"]
    assert math.isnan(found[2])
    assert found[3:] == [[1], {}, True]
    assert ds["flag"].dtype == object  # True is not 1


def test_parameters_that_go_together_share_an_axis() -> None:
    both = zipped(case=["calm", "storm", "gale"], wind=[2.0, 30.0, 20.0], land=[1, 0, 0])
    ds = dataset(*[(one, {"x": one["wind"]}) for one in both * seeds(4)])
    assert dict(ds.sizes) == {"case": 3, "seed": 4}
    assert ds["wind"].dims == ds["land"].dims == ("case",)
    assert ds["wind"].values.tolist() == [2.0, 30.0, 20.0]
    assert ds["x"].sel(case="gale").values.tolist() == [20.0] * 4


@pytest.mark.parametrize(
    "params",
    [
        [*zipped(case=["calm", "storm"], wind=[2.0, 30.0])],
        [{"x": random.Random(n).random(), "mode": "ab"[n % 2]} for n in range(10)],
        [{"x": random.Random(n).random(), "y": random.Random(-n).random()} for n in range(10)],
        [{"a": n % 7, "b": n % 11, "c": n % 5} for n in range(40)],
        [{"x": 1, "y": 1}, {"x": 2}, {"x": 1, "y": 2}, {"x": 2, "y": 2}],
    ],
    ids=["zipped", "sample", "two", "sparse", "lacking"],
)
def test_no_grid_is_one_dimension(params: list[dict[str, Any]]) -> None:
    ds = dataset(*[(one, {"r": number}) for number, one in enumerate(params)])
    assert dict(ds.sizes) == {"run": len(params)}
    assert ds["run"].values.tolist() == ds["r"].values.tolist() == list(range(len(params)))
    for name in {name for one in params for name in one}:
        assert ds[name].dims == ("run",)
        assert ds[name].values.tolist() == [one.get(name) for one in params]


def test_runs_with_equal_parameters_lie_along_a_dimension_of_their_own() -> None:
    ds = dataset(({"x": 1}, 10), ({"x": 2}, 20), ({"x": 1}, 11), ({"x": 1.0}, 12))
    assert dict(ds.sizes) == {"x": 2, "repeat": 3}
    assert ds["result"].sel(x=1).values.tolist() == [10, 11, 12]
    assert ds["status"].sel(x=2).values.tolist() == ["pending", "", ""]
    assert dict(dataset(({"x": 1}, 10), ({"x": 1}, 20)).sizes) == {"run": 2}


def test_values_of_parameters_that_are_no_numbers() -> None:
    values = [[1, 2], {"b": 1}, None, "text", True, 1]
    ds = dataset(*[({"p": value, "q": q}, q) for value in values for q in (True, False)])
    assert dict(ds.sizes) == {"p": 6, "q": 2}
    assert ds["p"].values.tolist() == ["[1, 2]", '{"b": 1}', None, "text", True, 1]
    assert ds["q"].dtype == bool
    assert ds.sel(p="text", q=False)["result"].item() is False
    scalar = dataset(({"list": [1], "none": None}, 1))
    assert scalar["list"].item() == "[1]"
    assert scalar["none"].item() is None


@pytest.mark.parametrize("name", ["run", "repeat", "index", "status", "x_0"])
def test_names_that_are_taken(name: str) -> None:
    alone = dataset(({name: 1, "o": 1}, {"x": [1]}), ({name: 2, "o": 2}, {"x": [2], name: 3}))
    assert dict(alone.sizes)["run"] == 2
    twice = dataset(*[({name: n}, {"x": [n], "repeat": 5}) for n in (1, 2, 1)])
    assert twice.sizes["repeat"] == 2
    assert twice["x"].size == 4


def test_no_runs_and_a_single_one() -> None:
    assert dict(dataset().sizes) == {"run": 0}
    one = dataset(({"mass": 2}, {"x": 1}))
    assert dict(one.sizes) == {"run": 1}
    assert one["mass"].item() == 2
    assert one["x"].values.tolist() == [1]


def test_what_cannot_be_read_is_said() -> None:
    ds = dataset(({"x": 1}, {"y": 1}), ({"x": 2}, ResultsError("torn")))
    assert ds["result_error"].values.tolist() == ["", "torn"]
    assert ds["y"].isnull().values.tolist() == [False, True]
    assert "result_error" not in dataset(({"x": 1}, {"y": 1}))


def test_zones_become_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    ds = dataset(({"x": 1}, datetime.datetime(2025, 1, 1, 12, tzinfo=zone)), ({"x": 2}, None))
    assert ds["result"].values[0] == np.datetime64("2025-01-01T10:00:00")


def test_a_large_grid_takes_no_longer_than_its_runs() -> None:
    axes = find_axes([{"a": a, "b": b, "c": "constant"} for a in range(200) for b in range(100)])
    assert axes.sizes == {"a": 200, "b": 100}
    assert axes.constants == {"c": "constant"}
    assert axes.places[101] == (1, 1)


def test_a_missing_xarray_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(UsageError, match=r'pip install "multirun-core\[xarray\]"'):
        to_xarray([])


def test_it_goes_to_a_file_and_back(tmp_path: Path) -> None:
    ds = dataset(*[(one, {"x": one["a"], "s": "t"}) for one in grid(a=[1, 2], b=["x", "y"])])
    ds.to_netcdf(tmp_path / "x.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "x.nc", engine="scipy") as back:
        assert back["x"].sel(a=2, b="y") == 2
        assert back["status"].values.tolist() == [["pending"] * 2] * 2
