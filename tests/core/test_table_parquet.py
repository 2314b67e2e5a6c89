from __future__ import annotations

import datetime
import io
import math
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from multirun_core._sweep.frame import to_dataframe
from multirun_core._sweep.parquet import write_parquet

from multirun_core import ExitStatus, ResultsError, UsageError, multirun

from .cli_tools import PROGRAM
from .display_tools import in_terminal
from .table_runs import make_runs

UTC = datetime.UTC
NOON = datetime.datetime(2025, 1, 31, 12, tzinfo=UTC)


def read(runs: Any) -> pa.Table:
    stream = io.BytesIO()
    write_parquet(runs, stream)
    stream.seek(0)
    return pq.read_table(stream)


def test_types_of_the_columns_that_every_sweep_has(tmp_path: Path) -> None:
    path = tmp_path / "a 'b'$\n*ü.parquet"
    runs = make_runs(({"mass": 1}, {"x": 0.5}), ({"mass": 2}, ResultsError("torn")))
    runs[0].status = "running"
    runs[0].take(
        ExitStatus(code=0, started=1_700_000_000.25, ended=1_700_000_001.75, cpu_seconds=1.25,
                   max_rss_bytes=2**33, host="node1")
    )  # fmt: skip
    runs[0].status = "success"
    write_parquet(runs, path)
    table = pq.read_table(path)
    word = pa.dictionary(pa.int32(), pa.string())
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == {
        "index": pa.int64(),
        "mass": pa.int64(),
        "status": word,
        "reason": word,
        "exit_code": pa.int64(),
        "attempts": pa.int64(),
        "host": word,
        "started": pa.timestamp("us", "UTC"),
        "duration": pa.duration("us"),
        "cpu_seconds": pa.float64(),
        "max_rss_bytes": pa.int64(),
        "x": pa.float64(),
        "result_error": pa.string(),
    }
    bare = read([])
    assert bare.num_rows == 0
    assert bare.schema.field("status").type == word
    frame = pd.read_parquet(path).set_index("index")
    mine = to_dataframe(runs)
    assert frame["status"].tolist() == ["success", "pending"]
    assert str(frame["status"].dtype) == "category"
    for name in ("started", "duration", "cpu_seconds", "mass"):
        pd.testing.assert_series_equal(frame[name], mine[name])
    assert frame["result_error"][1] == "torn"


TYPED: list[tuple[list[Any], Any]] = [
    ([1, None], pa.int64()),
    ([1, 0.5], pa.float64()),
    ([True, None], pa.bool_()),
    (["a", None], pa.string()),
    ([np.float32(1), None], pa.float64()),
    ([np.bool_(True)], pa.bool_()),
    ([math.nan, None], pa.float64()),
    ([[1, 2], []], pa.list_(pa.int64())),
    ([(1, 2), None], pa.list_(pa.int64())),
    ([np.arange(2.0), None], pa.list_(pa.float64())),
    ([np.zeros((2, 2)), np.ones((1, 1))], pa.list_(pa.list_(pa.float64()))),
    ([[{"a": 1}], [{"b": "x"}]], pa.list_(pa.struct({"a": pa.int64(), "b": pa.string()}))),
    ([NOON, None], pa.timestamp("us", "UTC")),
    ([NOON.replace(tzinfo=None)], pa.timestamp("us")),
    ([NOON.date()], pa.date32()),
    ([datetime.timedelta(1)], pa.duration("us")),
    ([np.datetime64("2025-01-01T00:00:00", "ns")], pa.timestamp("ns")),
]  # fmt: skip


@pytest.mark.parametrize(("values", "kind"), TYPED, ids=str)
def test_results_of_one_kind_have_its_type(values: list[Any], kind: Any) -> None:
    column = read(make_runs(*[({}, {"x": value}) for value in values])).column("x")
    assert [field.name for field in kind] if pa.types.is_struct(kind) else True
    assert str(column.type).replace("element", "item") == str(kind).replace("element", "item")
    found = column.to_pylist()
    for one, value in zip(found, values, strict=True):
        if isinstance(value, (np.ndarray, tuple)):
            assert one == (value.tolist() if isinstance(value, np.ndarray) else list(value))
        elif not isinstance(value, list):
            assert one == value or (math.isnan(one) and math.isnan(value))


TEXTS: list[tuple[list[Any], list[str | None]]] = [
    ([1, "a", None], ["1", "a", None]),
    ([True, 1], ["true", "1"]),
    ([2**60 + 1, 0.5], ["1152921504606846977", "0.5"]),
    ([2**70, 1], ["1180591620717411303424", "1"]),
    ([1j], ["1j"]),
    ([[1, "a"]], ['[1, "a"]']),
    ([{}, None], ["{}", None]),
    ([[{}]], ["[{}]"]),
    ([NOON, NOON.replace(tzinfo=None)], ["2025-01-31T12:00:00+00:00", "2025-01-31T12:00:00"]),
    ([NOON, NOON.date()], ["2025-01-31T12:00:00+00:00", "2025-01-31"]),
    ([datetime.time(1, tzinfo=UTC)], ["01:00:00+00:00"]),
    ([object], ["<class 'object'>"]),
    (["half \ud800"], ["half \\ud800"]),
    ([np.arange(2), "a"], ["[0, 1]", "a"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "texts"), TEXTS, ids=ascii)
def test_what_has_no_type_in_common_is_text(values: list[Any], texts: list[str | None]) -> None:
    column = read(make_runs(*[({}, {"x": value}) for value in values])).column("x")
    assert column.type == pa.string()
    assert column.to_pylist() == texts


def test_names_and_nested_results() -> None:
    table = read(make_runs(({"x": 1, "h\ud800": 2}, {"x": {"y": [3]}, "status": 4})))
    columns = table.to_pydict()
    assert columns["x"] == [1]
    assert columns["h\\ud800"] == [2]
    assert columns["x.y"] == [[3]]
    assert columns["result.status"] == [4]


def test_a_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("earlier")
    runs = make_runs(*[({"n": n}, {"x": n * 0.1}) for n in range(1000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_parquet(runs, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_pyarrow_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'pip install "multirun-core\[parquet\]"'):
        write_parquet([], tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


def test_on_the_command_line(tmp_path: Path) -> None:
    multirun(
        runs=[{"n": n} for n in (1, 2)], cmd=["true"], output_path=tmp_path / "s", progress=False
    )
    words = [*PROGRAM, "results", "s", "--format", "parquet"]
    with (tmp_path / "t.parquet").open("wb") as file:
        done = subprocess.run(words, cwd=tmp_path, stdout=file, timeout=50, check=False)
    assert done.returncode == 0
    assert pq.read_table(tmp_path / "t.parquet").to_pydict()["n"] == [1, 2]
    words[words.index("s")] = str(tmp_path / "s")
    seen = in_terminal(["sh", "-c", '"$@" || echo "ended with $?"', "sh", *words])
    assert "ended with 2" in seen
    assert "not for a terminal" in seen
    assert "PAR1" not in seen
