"""Grids, zipped columns, samples and seeds."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirun_core import ParamSet, UsageError, grid, multirun, sample, seeds, zipped

names = st.text(min_size=1, max_size=5)


@given(st.dictionaries(names, st.lists(st.integers(), max_size=4), max_size=4))
def test_a_grid_is_the_product_in_order(axes: dict[str, list[int]]) -> None:
    product = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    points = grid(**axes)
    expected = product if axes else []
    assert list(points) == expected
    assert len(points) == len(expected)
    assert [points[number] for number in range(len(points))] == expected
    assert points[:2] == expected[:2]
    assert points.axes == axes


def test_a_large_grid_costs_nothing_until_it_is_used() -> None:
    points = grid(a=range(10**4), b=range(10**4))
    assert len(points) == 10**8
    assert points[10**8 - 1] == points[-1] == {"a": 9999, "b": 9999}
    with pytest.raises(IndexError, match="100000000"):
        points[10**8]


def test_zipped_goes_through_all_at_once() -> None:
    points = zipped(mass=[1, 2], drag=[0.1, 0.2])
    assert list(points) == [{"mass": 1, "drag": 0.1}, {"mass": 2, "drag": 0.2}]
    assert points.axes == {}
    assert list(zipped()) == []
    with pytest.raises(UsageError, match="mass: 2, drag: 1"):
        zipped(mass=[1, 2], drag=[0.1])


def test_products_of_sets() -> None:
    both = zipped(a=[1, 2], b=[3, 4]) * grid(c=["x", "y"])
    assert [tuple(point.values()) for point in both] == [
        (1, 3, "x"),
        (1, 3, "y"),
        (2, 4, "x"),
        (2, 4, "y"),
    ]
    assert both.axes == {"c": ["x", "y"]}
    assert repr(both) == "<4 parameter sets of c: 2>"
    with pytest.raises(UsageError, match="'c'"):
        _ = both * grid(c=[1])


@pytest.mark.parametrize("wrong", ["text", 3, {"a": 1}, b"x"])
def test_values_must_be_a_list(wrong: Any) -> None:
    with pytest.raises(UsageError, match="give a list"):
        grid(mass=wrong)


def test_seeds_are_those_of_numpy_and_can_be_extended() -> None:
    few, more = seeds(3, seed=7), seeds(5, seed=7)
    assert list(more)[:3] == list(few)
    expected = [
        int(child.generate_state(1, "uint64")[0]) >> 1
        for child in np.random.SeedSequence(7).spawn(3)
    ]
    assert [point["seed"] for point in few] == expected
    assert few.axes == {"seed": expected}
    assert len({point["seed"] for point in seeds(1000)}) == 1000
    assert all(0 <= point["s"] < 2**63 for point in seeds(100, name="s"))


@pytest.mark.parametrize("method", ["lhs", "sobol", "random"])
@pytest.mark.filterwarnings("error")
def test_samples_lie_in_their_space_and_repeat(method: Any) -> None:
    space: dict[str, Any] = {"mass": (1, 3), "mode": ["a", "b", "c"], "k": range(5, 8)}
    points = sample(30, 11, method=method, **space)
    assert len(points) == 30
    assert list(points) == list(sample(30, 11, method=method, **space))
    assert list(points) != list(sample(30, 12, method=method, **space))
    assert all(1 <= point["mass"] <= 3 for point in points)
    assert {point["mode"] for point in points} == {"a", "b", "c"}
    assert {point["k"] for point in points} == {5, 6, 7}
    json.dumps(list(points))


def test_a_latin_hypercube_has_one_point_in_each_slice() -> None:
    points = sample(20, 1, x=(0, 20), y=(100, 120))
    assert sorted(int(point["x"]) for point in points) == list(range(20))
    assert sorted(int(point["y"]) for point in points) == list(range(100, 120))


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_samples_that_can_be_extended(method: Any) -> None:
    few, more = (sample(n, 3, method=method, x=(0, 1), y=(0, 1)) for n in (10, 20))
    assert list(more)[:10] == list(few)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"x": (1, 2, 3)}, "range"),
        ({"x": (2, 1)}, "above"),
        ({"x": ("a", "b")}, "range"),
        ({"x": (0, float("inf"))}, "range"),
        ({"x": []}, "no value"),
        ({"x": "ab"}, "list"),
    ],
)
def test_senseless_spaces(space: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        sample(3, 1, **space)
    with pytest.raises(UsageError, match="method is 'grid'"):
        sample(3, 1, method="grid", x=(0, 1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="-1 points"):
        sample(-1, 1)


def test_edges_of_samples() -> None:
    assert list(sample(0, 1, x=(0, 1))) == []
    assert list(sample(1, 1, x=(5, 5))) == [{"x": 5.0}]
    assert isinstance(sample(2, 1, x=(0, 1)), ParamSet)
    one = sample(3, 1, method="random", x=(0, 1))
    assert one.axes == {"x": [point["x"] for point in one]}
    assert sample(3, 1, x=(0, 1), y=(0, 1)).axes == {}  # neither varies by itself


def test_without_numpy_and_scipy_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['numpy'] = sys.modules['scipy'] = None\n"
        "import sys; sys.modules['numpy.random'] = None\n"
        "from multirun_core import *\n"
        "assert len(sample(3, 1, method='random', x=(0, 1)) * grid(y=[1])) == 3\n"
        "for call in (lambda: seeds(3), lambda: sample(3, 1, x=(0, 1))):\n"
        "    try: call()\n"
        "    except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("multirun-core[sampling]") == 2


def test_a_sweep_of_a_set(tmp_path: Path) -> None:
    sweep = multirun(
        runs=grid(a=[1, 2]) * seeds(2),
        cmd=["true", "{seed}"],
        output_path=tmp_path / "s",
        progress=False,
    )
    assert [run.params["a"] for run in sweep.runs] == [1, 1, 2, 2]
    assert sweep.statistics.success_count == 4
