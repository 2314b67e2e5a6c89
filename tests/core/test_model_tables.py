"""Tables as runs: files and DataFrames."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from multirun_core._model.tables import is_frame, read_lines, read_table, rows_of

from multirun_core import ParamError, UsageError, multirun


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
        read_table(tmp_path / name)


def test_json_and_lines(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"b": {"c": [1]}}]
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    (tmp_path / "t.json").write_text(json.dumps(rows))
    (tmp_path / "t.jsonl").write_text(lines)
    assert read_table(str(tmp_path / "t.json")) == rows
    assert read_table(str(tmp_path / "t.jsonl")) == rows
    assert read_lines(io.StringIO(lines), "standard input") == rows


def test_a_frame_gives_its_rows_with_none_for_what_is_missing() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan],
            "count": pd.array([3, None], dtype="Int64"),
            "name": ["x", None],
            "flag": pd.array([True, None], dtype="boolean"),
            "kind": pd.Categorical(["a", None]),
            "when": pd.to_datetime(["2026-01-02T03:04:05", None]),
            "parts": [[1, 2], None],
            "whole": [1, 2],
        },
        index=[7, 9],
    )
    first, second = rows_of(frame)
    when = first.pop("when")
    assert when.isoformat() == "2026-01-02T03:04:05"
    assert first == {
        "number": 1.5, "count": 3, "name": "x", "flag": True, "kind": "a", "parts": [1, 2],
        "whole": 1,
    }  # fmt: skip
    assert [type(value) for value in first.values()] == [float, int, str, bool, str, list, int]
    assert second == dict.fromkeys(frame, None) | {"whole": 2}


def test_frames_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match=r"two columns .* 'a'"):
        rows_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(ParamError, match="the parameter name 0"):
        multirun(runs=pd.DataFrame([[1]]), cmd=["true"])


def test_what_a_frame_is() -> None:
    class Own(pd.DataFrame):
        pass

    assert is_frame(pd.DataFrame())
    assert is_frame(Own())
    assert not is_frame([{}])
    assert not is_frame(pd.Series([1]))


@pytest.mark.parametrize("kind", ["path", "text", "frame"])
def test_runs_as_a_table(kind: str, tmp_path: Path) -> None:
    table = tmp_path / "the cases $x.csv"
    table.write_text("a,b\n1,x y\n2,\n")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x y", None]})
    runs: Any = {"path": table, "text": str(table), "frame": frame}[kind]
    sweep = multirun(runs=runs, cmd=["true"], output_path=tmp_path / "s", progress=False)
    assert [run.params for run in sweep.runs] == [{"a": 1, "b": "x y"}, {"a": 2, "b": None}]


def test_a_text_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must end in"):
        multirun(runs="mass", cmd=["true"], output_path=tmp_path / "s")
    assert not (tmp_path / "s").exists()
