from __future__ import annotations

import json
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._cli.common import parse_indices, parse_rerun, parse_seconds
from multirun_core._cli.params import parse_param, parse_params
from multirun_core._cli.varying import Varying
from multirun_core._cli.words import parse_env, parse_input
from multirun_core._model.files import FileResource
from multirun_core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,5", [1, 2, 5]), ("1", [1]), ("-1,+1", [-1, "+1"]),
        ("0.5,.5,1.,-.5", [0.5, 0.5, 1.0, -0.5]),
        ("1e3,1E-3", [1000.0, 0.001]), ("true,false,null,True", [True, False, None, "True"]),
        ("007,0x10,1_000,nan,inf,1e999", ["007", "0x10", "1_000", "nan", "inf", "1e999"]),
        ("steel, oak tree ,x=y", ["steel", "oak tree", "x=y"]), ('"a,b",c', ["a,b", "c"]),
        ('"1"', ["1"]), ('""', [""]), ('" x "', [" x "]), ("[1,2],[3, 4]", [[1, 2], [3, 4]]),
        ('{"a": [1, {"b": null}]},2', [{"a": [1, {"b": None}]}, 2]), ("don't", ["don't"]),
        ("0.1:0.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5]), ("1:5:2", [1, 3, 5]), ("1:6:2", [1, 3, 5]),
        ("5:1:-2", [5, 3, 1]), ("0:1:0.5", [0.0, 0.5, 1.0]), ("1:1:1", [1]), ("3:3:-1", [3]),
        ("12:30:00", ["12:30:00"]), ("1:2:1,9,x", [1, 2, 9, "x"]), ("1:2", ["1:2"]),
        ("a:b:c", ["a:b:c"]),
        ("C:/x:y", ["C:/x:y"]), ('"12:30:10"', ["12:30:10"]), ("0:0.3:0.1", [0.0, 0.1, 0.2, 0.3]),
        ("1e-3:3e-3:1e-3", [0.001, 0.002, 0.003]), ("$HOME;*\u00e9\n", ["$HOME;*\u00e9"]),
        ("-1:1:1", [-1, 0, 1]), ("9007199254740993", [9007199254740993]),
    ],
)  # fmt: skip
def test_values(text: str, values: list[Any]) -> None:
    name, found = parse_param(f"p={text}")
    assert name == "p"
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mass", "must read NAME=VALUES"), ("=1", "must read NAME=VALUES"), ("a=", "is empty"),
        ("a=1,,2", "is empty"), ("a=1,", "is empty"), ("a=[1,2", "starts like JSON"),
        ('a="x', "starts like JSON"), ('a="x"y', "comma must follow"), ("a=1:5:0", "step 0"),
        ("a=1:5:-1", "leads away"), ("a=5:1:1", "leads away"), ("a=0:1:1e-30", "at most"),
        ("a=[abc]*", "starts like JSON"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_param(text)
    assert "-p" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(json_values, min_size=1, max_size=5))
def test_whatever_is_written_as_json_comes_back(values: list[Any]) -> None:
    text = ",".join(json.dumps(value) for value in values)
    assert parse_param(f"x={text}") == ("x", values)


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        _, values = parse_param(f"x={text}")
    except UsageError:
        return
    assert values
    json.dumps(values, allow_nan=False)


@given(st.integers(-1000, 1000), st.integers(0, 300), st.integers(1, 99), st.integers(1, 4))
def test_ranges_are_exact(start: int, count: int, step: int, digits: int) -> None:
    def decimal(number: int) -> str:
        return f"{number}e-{digits}"

    _, values = parse_param(f"x={decimal(start)}:{decimal(start + count * step)}:{decimal(step)}")
    assert values == [float(decimal(start + number * step)) for number in range(count + 1)]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0.5..5", (0.5, 5)),
        ("-1..1", (-1, 1)),
        (" 1e-3..2. ", (0.001, 2.0)),
        (".5...7", (0.5, 0.7)),
    ],
)
def test_ranges_to_draw_from(text: str, span: tuple[float, float]) -> None:
    assert parse_param(f"x={text}") == ("x", span)


def test_what_only_looks_like_a_range() -> None:
    for text in ("a..b", "1..", "..", "1..2..3", "1...", "2020..x"):
        assert parse_param(f"x={text}") == ("x", [text])
    assert parse_param('x="1..2"') == ("x", ["1..2"])
    with pytest.raises(UsageError, match=r"1\.\.2 is a range .* stands alone"):
        parse_param("x=0,1..2")


def build(texts: list[str], *, draw: bool = False, **parts: Any) -> list[dict[str, Any]]:
    varying = Varying(**parts)
    varying.override(parse_params(texts), draw=draw)
    points = varying.build()
    assert len(points) == len(list(points))
    return list(points)


def test_grid_keeps_the_order_and_the_last_is_fastest() -> None:
    assert [list(point.items()) for point in build(["b=1,2", "a=x,y"])] == [
        [("b", 1), ("a", "x")], [("b", 1), ("a", "y")], [("b", 2), ("a", "x")],
        [("b", 2), ("a", "y")],
    ]  # fmt: skip
    with pytest.raises(UsageError, match="given twice"):
        parse_params(["a=1", "a=2"])


def test_parts_make_a_product_the_first_slowest() -> None:
    assert build(["a=1,2"], rows=[{"r": 1}, {"r": 2}]) == [
        {"r": 1, "a": 1}, {"r": 1, "a": 2}, {"r": 2, "a": 1}, {"r": 2, "a": 2},
    ]  # fmt: skip
    points = build(
        ["g=1,2"], rows=[{"r": 1}, {"q": 2}], zipped={"z": [1, 2], "y": [3, 4]}, points=3,
        space={"s": (0, 1)}, method="random", repeats=2, seed=7, repeat_name="i j",
    )  # fmt: skip
    assert len(points) == 2 * 2 * 3 * 2 * 2
    assert [list(point) for point in (points[0], points[-1])] == [
        ["r", "z", "y", "s", "g", "i j"], ["q", "z", "y", "s", "g", "i j"],
    ]  # fmt: skip
    assert points[0]["i j"] != points[1]["i j"]
    assert build([], rows=[]) == []


def test_a_sample_has_all_parameters_of_any_name() -> None:
    texts = ["n=0..1", "seed=1,2", "method=a,b"]
    points = build(texts, draw=True, points=16, method="random", seed=3)
    assert len(points) == 16
    assert all(0 <= point["n"] < 1 for point in points)
    assert {point["seed"] for point in points} == {1, 2}
    assert points == build(texts, draw=True, points=16, method="random", seed=3)
    assert points != build(texts, draw=True, points=16, method="random", seed=4)


@pytest.mark.parametrize(
    ("texts", "parts", "said"),
    [
        (["a=1"], {"rows": [{"a": 1}]}, "a is in the table of runs and in the grid"),
        (["a=1"], {"rows": [{"b": 1}, {"a": 1}]}, "a is in the table of runs and in the grid"),
        (["seed=1"], {"repeats": 3}, "seed is in the grid and in the seeds"),
        (["a=1..2"], {}, "--sample N"),
        (["a=1"], {"method": "sobol"}, "--method is for --sample"),
        (["a=1"], {"seed": 1}, "--seed is for --sample N or --seeds N"),
        ([], {"points": 3}, "--sample needs what to draw from"),
        (["z=1"], {"zipped": {"z": [1]}}, "side by side"),
    ],
)
def test_descriptions_that_make_no_sense(
    texts: list[str], parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        build(texts, **parts)


def test_what_the_command_line_says_goes_where_the_file_has_it() -> None:
    varying = Varying(points=4, space={"s": (0, 1)}, grid={"g": [1, 2]}, method="random")
    varying.draw(2, None, 5)
    varying.override({"s": [1], "g": [3], "new": [4, 5], "range": (0, 1)}, draw=False)
    assert varying.space == {"s": [1], "range": (0, 1)}
    assert varying.grid == {"g": [3], "new": [4, 5]}
    assert (varying.points, varying.seed) == (2, 5)
    other = Varying(grid={"g": [1, 2]})
    other.draw(8, "lhs", None)
    other.override({"more": [1]}, draw=True)
    assert (other.grid, other.space) == ({}, {"g": [1, 2], "more": [1]})


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("mesh.dat", FileResource("mesh.dat")),
        ("mesh.dat:link", FileResource("mesh.dat", "link")),
        ("mesh.dat:copy:grid/m", FileResource("mesh.dat", "copy", "grid/m")),
        ("a:b", FileResource("a:b")),
        ("a:b:copy", FileResource("a:b", "copy")),
        ("a:b:shared:c d", FileResource("a:b", "shared", "c d")),
        ("x:copy:link", FileResource("x", "copy", "link")),
        ("x:copy:shared:x:copy", FileResource("x:copy:shared:x", "copy")),
        ("a:links", FileResource("a:links")),
        ("a b'\"$;\n:link", FileResource("a b'\"$;\n", "link")),
    ],
)
def test_inputs(text: str, resource: FileResource) -> None:
    assert parse_input(text) == resource


@pytest.mark.parametrize("text", ["", ":copy", "a:copy:"])
def test_inputs_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="must read PATH"):
        parse_input(text)


def test_environment() -> None:
    assert parse_env(()) is None
    assert parse_env(("A=1", "B=x=y", "C=")) == {"A": "1", "B": "x=y", "C": ""}
    for text in ("A", "=1"):
        with pytest.raises(UsageError, match="must read NAME=VALUE"):
            parse_env((text,))


NOTHING: Any = None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1.5", 1.5), ("15m", 900), ("1h30m", 5400), ("1h 30min", 5400),
        ("2d", 172800), ("5x median", "5x median"),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | str) -> None:
    assert parse_seconds(NOTHING, NOTHING, text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1y", "1h x", "nan", "inf", "9" * 400])
def test_durations_that_make_no_sense(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        parse_seconds(NOTHING, NOTHING, text)


def test_indices() -> None:
    assert parse_indices(["3", "1,2,5-7", "2 - 3"]) == [3, 1, 2, 5, 6, 7]
    assert parse_rerun(NOTHING, NOTHING, "1,2") == [1, 2]
    assert parse_rerun(NOTHING, NOTHING, "failed") == "failed"
    for text in ("", "x", "-1", "5-3", "1,,2", "0-99999999"):
        with pytest.raises(click.BadParameter):
            parse_indices([text])
