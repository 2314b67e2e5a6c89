from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._cli.common import parse_indices, parse_rerun, parse_seconds
from multirun_core._cli.params import combine, parse_grid, parse_param, read_table
from multirun_core._cli.run import parse_env, parse_input
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


def test_grid_keeps_the_order_and_the_last_is_fastest() -> None:
    grid = parse_grid(["b=1,2", "a=x,y"])
    count, points = combine([{}], grid)
    assert count == 4
    assert [list(point.items()) for point in points] == [
        [("b", 1), ("a", "x")], [("b", 1), ("a", "y")], [("b", 2), ("a", "x")],
        [("b", 2), ("a", "y")],
    ]  # fmt: skip
    with pytest.raises(UsageError, match="given twice"):
        parse_grid(["a=1", "a=2"])


def test_rows_and_grid_make_a_product() -> None:
    count, points = combine([{"r": 1}, {"r": 2}], parse_grid(["a=1,2"]))
    assert (count, list(points)) == (
        4, [{"r": 1, "a": 1}, {"r": 1, "a": 2}, {"r": 2, "a": 1}, {"r": 2, "a": 2}],
    )  # fmt: skip
    with pytest.raises(UsageError, match="-p r is in the table"):
        combine([{"a": 1}, {"r": 2}], {"r": [1]})


def test_csv(tmp_path: Path) -> None:
    table = tmp_path / "a 'table'.CSV"
    table.write_text(
        "\ufeffmass, name ,list\r\n"
        '1,steel,"[1, 2]"\r\n'
        "\r\n"
        '2.5,"a, ""b""\nc",\r\n'
        ' true ,"""7""",[half\r\n',
        encoding="utf-8",
        newline="",
    )
    assert read_table(str(table)) == [
        {"mass": 1, "name": "steel", "list": [1, 2]},
        {"mass": 2.5, "name": 'a, "b"\nc', "list": None},
        {"mass": True, "name": "7", "list": "[half"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"a,b\n1\n", "line 2: there are 1 values for the 2"),
        ("a.csv", b"a,a\n1,2\n", "name each parameter once"),
        ("a.csv", b"a,\n1,2\n", "name each parameter once"),
        ("a.csv", b"a\n\xff\n", "cannot read it"),
        ("a.csv", b'a\n"x\n', "cannot read it"),
        ("a.json", b'{"a": 1}', "must be a list of objects"),
        ("a.json", b"[1]", "item 0: it must be an object"),
        ("a.json", b"[", "is no JSON"),
        ("a.jsonl", b'{"a": 1}\n\n[1]\n', "line 3: it must be an object"),
        ("a.jsonl", b"{}\n{a\n", "line 2: it is no JSON"),
        ("a.txt", b"", "must end in .csv, .json or .jsonl"),
        ("a.csv", None, "No such file"),
    ],
)
def test_tables_that_make_no_sense(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_table(str(tmp_path / name))


def test_json_and_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": 1}, {"b": {"c": [1]}}]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, rows))))
    assert read_table(str(tmp_path / "t.json")) == rows
    assert read_table(str(tmp_path / "t.jsonl")) == rows
    assert read_table("-") == rows


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
    [("90", 90), ("1.5", 1.5), ("15m", 900), ("1h30m", 5400), ("1h 30min", 5400), ("2d", 172800)],
)
def test_durations(text: str, seconds: float) -> None:
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
