from __future__ import annotations

import datetime
import enum
import math
import sys
import zoneinfo
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from multirun_core._sweep.frame import to_dataframe
from multirun_core._sweep.table import build_columns

from multirun_core import ExitStatus, ResultsError, Run, RunStatus, UsageError

from .table_runs import make_runs

FACTS = [
    "status",
    "reason",
    "exit_code",
    "attempts",
    "host",
    "started",
    "duration",
    "cpu_seconds",
    "max_rss_bytes",
]


def finished(run: Run, code: int = 0) -> None:
    run.status = "running"
    run.attempts = 2
    run.take(
        ExitStatus(
            code=code,
            started=1_700_000_000.25,
            ended=1_700_000_001.75,
            cpu_seconds=1.25,
            max_rss_bytes=2**33,
            host="node1",
        )
    )
    run.status = "success" if code == 0 else "failure"


def test_order_of_the_columns_and_what_is_missing() -> None:
    runs = make_runs(
        ({"b": 1, "a": "x"}, {"z": 1.5}),
        ({"a": "y", "c": None}, None),
        ({}, {"y": [1], "z": 2.5}),
    )
    finished(runs[0])
    finished(runs[2], code=-9)
    columns = build_columns(runs)
    assert list(columns) == ["index", "b", "a", "c", *FACTS, "z", "y", "result_error"]
    assert columns == {
        "index": [0, 1, 2],
        "b": [1, None, None],
        "a": ["x", "y", None],
        "c": [None, None, None],
        "status": ["success", "pending", "failure"],
        "reason": [None, None, "signal"],
        "exit_code": [0, None, -9],
        "attempts": [2, 0, 2],
        "host": ["node1", None, "node1"],
        "started": [1_700_000_000.25, None, 1_700_000_000.25],
        "duration": [1.5, None, 1.5],
        "cpu_seconds": [1.25, None, 1.25],
        "max_rss_bytes": [2**33, None, 2**33],
        "z": [1.5, None, 2.5],
        "y": [None, None, [1]],
        "result_error": [None, None, None],
    }


def test_no_runs() -> None:
    assert build_columns([]) == {name: [] for name in ["index", *FACTS, "result_error"]}


def test_results_that_are_no_dicts_share_a_column() -> None:
    columns = build_columns(make_runs(({}, 1), ({}, [2]), ({}, {"x": 3}), ({}, {}), ({}, 0)))
    assert columns["result"] == [1, [2], None, None, 0]
    assert columns["x"] == [None, None, 3, None, None]


def test_nested_results_have_columns_by_dotted_names() -> None:
    columns = build_columns(
        make_runs(
            ({"a": {"b": 0}}, {"stats": {"mean": 1, "of": {"x": [2], "empty": {}}}, "n": 3}),
            ({}, {"stats": 4, "stats.mean": 5}),
            ({}, {"stats": {"mean": 6}, "a.b": 7, "a": {"b": 8}}),
        )
    )
    own = {"index", *FACTS, "result_error"}
    assert {name: cells for name, cells in columns.items() if name not in own} == {
        "a": [{"b": 0}, None, None],
        "stats.mean": [1, None, 6],
        "stats.of.x": [[2], None, None],
        "stats.of.empty": [{}, None, None],
        "n": [3, None, None],
        "stats": [None, 4, None],
        "result.stats.mean": [None, 5, None],
        "a.b": [None, None, 7],
        "result.a.b": [None, None, 8],
    }


def test_a_result_within_itself_ends() -> None:
    cycle: dict[str, Any] = {"x": 1}
    cycle["self"] = cycle
    cycle["inner"] = {"back": cycle}
    columns = build_columns(make_runs(({}, cycle)))
    assert columns["x"] == [1]
    assert columns["self"][0] is cycle
    assert columns["inner.back"][0] is cycle


def test_a_result_that_cannot_be_read_is_a_row_with_the_reason() -> None:
    columns = build_columns(make_runs(({}, {"x": 1}), ({}, ResultsError("torn"))))
    assert columns["x"] == [1, None]
    assert columns["result_error"] == [None, "torn"]


@pytest.mark.parametrize(
    ("params", "result", "added"),
    [
        ({"x": 1}, {"x": 2}, {"x": 1, "result.x": 2}),
        ({"status": 1, "index": 2}, None, {"param.status": 1, "param.index": 2}),
        ({}, {"status": 1, "result_error": 2}, {"result.status": 1, "result.result_error": 2}),
        ({"host": 1}, {"host": 2}, {"param.host": 1, "result.host": 2}),
        ({"param.host": 1, "host": 2}, None, {"param.host": 1, "param.param.host": 2}),
        ({"host": 2, "param.host": 1}, None, {"param.host": 2, "param.param.host": 1}),
        ({"result.x": 0, "x": 1}, {"x": 2}, {"result.x": 0, "x": 1, "result.result.x": 2}),
        ({"result": 1}, 2, {"result": 1, "result.result": 2}),
        ({}, {"result": 1}, {"result": 1}),
        ({}, {1: "a", "1": "b", (2,): "c"}, {"1": "a", "result.1": "b", "(2,)": "c"}),
        ({"": 1}, {"": 2}, {"": 1, "result.": 2}),
    ],
)
def test_equal_names_lose_nothing(
    params: dict[str, Any], result: Any, added: dict[str, Any]
) -> None:
    columns = build_columns(make_runs((params, result)))
    own = {"index", *FACTS, "result_error"}
    assert {name: cells[0] for name, cells in columns.items() if name not in own} == added
    assert columns["status"] == ["pending"]


def test_a_key_named_result_beside_results_that_are_no_dicts() -> None:
    columns = build_columns(make_runs(({}, 1), ({}, {"result": 2}), ({}, 3)))
    assert columns["result"] == [1, None, 3]
    assert columns["result.result"] == [None, 2, None]


def test_a_parameter_keeps_its_name_whatever_was_seen_first() -> None:
    columns = build_columns(make_runs(({}, {"x": 1}), ({"x": 2}, {"x": 3})))
    assert columns["x"] == [None, 2]
    assert columns["result.x"] == [1, 3]


def test_dataframe_types_and_index() -> None:
    runs = make_runs(
        ({"i": 1, "f": 0.5, "s": "a", "b": True, "m": 1, "l": [1]}, {"r": 1, "n": np.float64(2)}),
        ({"i": 2, "f": 1, "s": "b", "b": False, "m": "x", "l": [2]}, None),
    )
    finished(runs[0])
    frame = to_dataframe(runs)
    assert frame.index.name == "index"
    assert list(frame.index) == [0, 1]
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "i": "int64",
        "f": "float64",
        "s": "string",
        "b": "bool",
        "m": "object",
        "l": "object",
        "status": "category",
        "reason": "category",
        "exit_code": "Int64",
        "attempts": "Int64",
        "host": "category",
        "started": "datetime64[us, UTC]",
        "duration": "timedelta64[us]",
        "cpu_seconds": "float64",
        "max_rss_bytes": "Int64",
        "r": "Int64",
        "n": "float64",
        "result_error": "string",
    }
    row = frame.loc[0]
    assert row["started"] == pd.Timestamp("2023-11-14T22:13:20.25Z")
    assert row["duration"] == pd.Timedelta(1.5, "s")
    assert list(frame["status"].cat.categories) == list(get_args(RunStatus))
    assert list(frame["host"].cat.categories) == ["node1"]
    assert row["max_rss_bytes"] == 2**33
    assert frame.loc[1, ["exit_code", "started", "duration", "host", "r", "n"]].isna().all()
    assert frame.loc[1, "l"] == [2]


@pytest.mark.parametrize("count", [0, 3])
def test_dataframe_types_do_not_depend_on_the_runs(count: int) -> None:
    runs = make_runs(*[({}, None)] * 3)
    finished(runs[0])
    full = to_dataframe(runs)
    bare = to_dataframe(make_runs(*[({}, None)] * count))
    assert len(bare) == count
    assert bare.dtypes["status"] == full.dtypes["status"]
    assert list(bare.dtypes.astype(str).items()) == list(full.dtypes.astype(str).items())
    assert bare.index.dtype == full.index.dtype == "int64"
    assert bare.index.name == "index"
    assert len(pd.concat([bare, full])) == count + 3


def test_dataframe_of_hard_values() -> None:
    runs = make_runs(
        ({"huge": 2**70, "wide": 2**60 + 1, "empty": None}, (np.arange(3), 1)),
        ({"huge": 1, "wide": 0.5, "empty": None}, np.arange(2)),
    )
    frame = to_dataframe(runs)
    assert frame["huge"].tolist() == [2**70, 1]
    assert frame["wide"].tolist() == [2**60 + 1, 0.5]
    assert frame["empty"].tolist() == [None, None]
    assert frame.loc[0, "result"][1] == 1
    assert frame.loc[1, "result"].tolist() == [0, 1]


UTC, ZONE = datetime.UTC, zoneinfo.ZoneInfo("Europe/Zurich")
NOON = datetime.datetime(2025, 1, 31, 12)


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([NOON, NOON], "datetime64[us]"),
        ([NOON, None], "datetime64[us]"),
        ([NOON.replace(tzinfo=UTC), None], "datetime64[us, UTC]"),
        ([NOON.replace(tzinfo=ZONE)] * 2, "datetime64[us, Europe/Zurich]"),
        ([NOON, NOON.replace(tzinfo=UTC)], "object"),
        ([datetime.datetime.max, datetime.datetime.min], "datetime64[us]"),
        ([datetime.date(2025, 1, 1)] * 2, "object"),
        ([datetime.timedelta(1), None], "timedelta64[us]"),
        ([datetime.timedelta.max] * 2, "object"),
        ([np.int32(1), np.int32(2)], "int32"),
        ([np.int32(1), None], "Int32"),
        ([np.uint64(2**64 - 1), None], "UInt64"),
        ([np.int32(1), 2], "int64"),
        ([np.uint64(2**64 - 1), 2], "object"),
        ([np.float32(1), None], "float32"),
        ([np.float32(1), 0.5], "float64"),
        ([np.float64(1), 1], "float64"),
        ([np.float64(1), 2**60 + 1], "object"),
        ([np.int64(2**60 + 1), 0.5], "object"),
        ([np.bool_(True), False], "bool"),
        ([np.bool_(True), None], "boolean"),
        ([True, 1], "object"),
        ([np.str_("a"), None], "string"),
        ([np.datetime64("2025-01-01", "s"), None], "datetime64[s]"),
        ([np.timedelta64(1, "ms")] * 2, "timedelta64[ms]"),
        ([1j, None], "object"),
        ([Colour.RED, 1], "object"),
        ([np.arange(2), np.arange(2)], "object"),
        ([(1, 2), None], "object"),
        ([None, None], "object"),
        ([math.nan, None], "float64"),
    ],
    ids=str,
)
def test_dataframe_types_of_results(values: list[Any], dtype: str) -> None:
    frame = to_dataframe(make_runs(*[({}, {"x": value}) for value in values]))
    assert str(frame["x"].dtype) == dtype
    for found, value in zip(frame["x"], values, strict=True):
        if value is None or value is not value or isinstance(value, float):
            assert pd.isna(found) == (value is None or math.isnan(value))
        else:
            assert np.array_equal(found, value)


def test_dataframe_of_runs_without_a_number() -> None:
    frame = to_dataframe([Run(cmd=["true"]), Run(cmd=["true"])])
    assert frame.index.isna().all()
    assert frame["status"].tolist() == ["pending", "pending"]


def test_a_missing_pandas_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r'pip install "multirun-core\[pandas\]"') as caught:
        to_dataframe([])
    assert isinstance(caught.value.__cause__, ImportError)


def test_dates_survive_the_extremes() -> None:
    runs = make_runs(({}, None), ({}, None))
    runs[0].started = 0.0
    runs[1].started = 1_700_000_000.123456
    stamps = to_dataframe(runs)["started"]
    assert stamps[0] == pd.Timestamp(0, tz="UTC")
    assert stamps[1] == datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.UTC)
