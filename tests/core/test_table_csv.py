from __future__ import annotations

import csv
import io
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from multirun_core._sweep import table
from multirun_core._sweep.frame import to_dataframe
from multirun_core._sweep.table import build_columns, write_csv

from multirun_core import ResultsError, Run

from .table_runs import Results, make_runs


def cells(runs: list[Run]) -> list[dict[str, str]]:
    stream = io.StringIO(newline="")
    write_csv(runs, stream)
    stream.seek(0)
    return list(csv.DictReader(stream, strict=True))


def test_cells() -> None:
    runs = make_runs(
        ({"text": 'a,"b"\nc\r; ü', "i": 1, "f": 0.1, "yes": True, "list": [1, {"ä": None}]}, None),
        (
            {},
            {
                "array": np.arange(2),
                "scalar": np.float64(0.1),
                "tuple": (1, (np.int64(2), {3})),
                "when": pd.Timestamp("2025-01-01T00:00:00Z"),
                "stamps": np.array(["2025-01-01T00:00:00.000000001"], dtype="datetime64[ns]"),
                "lasts": np.timedelta64(5, "ms"),
                "complex": 1j,
                "keys": {(1,): 2},
                "stats": {"mean": [0.5]},
                "nan": float("nan"),
                "bytes": b"x",
            },
        ),
        ({}, ResultsError("torn\nfile")),
    )
    runs[0].started, runs[0].ended = 1_700_000_000.25, 1_700_000_001.5
    first, second, third = cells(runs)
    assert first["index"] == "0"
    assert first["text"] == 'a,"b"\nc\r; ü'
    assert first["i"] == "1"
    assert first["f"] == "0.1"
    assert first["yes"] == "true"
    assert first["list"] == '[1, {"ä": null}]'
    assert first["started"] == "2023-11-14T22:13:20.250000+00:00"
    assert first["duration"] == "1.25"
    assert first["host"] == first["exit_code"] == first["array"] == first["result_error"] == ""
    assert second["array"] == "[0, 1]"
    assert second["scalar"] == "0.1"
    assert second["tuple"] == '[1, [2, "{3}"]]'
    assert second["when"] == "2025-01-01T00:00:00+00:00"
    assert second["stamps"] == '["2025-01-01T00:00:00.000000001"]'
    assert second["lasts"] == "5 milliseconds"
    assert second["complex"] == "1j"
    assert second["keys.(1,)"] == "2"
    assert second["stats.mean"] == "[0.5]"
    assert second["nan"] == "nan"
    assert second["bytes"] == "b'x'"
    assert third["result_error"] == "torn\nfile"


def test_columns_are_those_of_the_table() -> None:
    runs = make_runs(({"x": 1, "status": 2}, {"x": 3}), ({"y": 1}, 4))
    assert list(cells(runs)[0]) == list(build_columns(runs))


def test_no_runs_give_the_names(tmp_path: Path) -> None:
    write_csv([], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == (
        b"index,status,reason,exit_code,attempts,host,started,duration,cpu_seconds,"
        b"max_rss_bytes,result_error\n"
    )


def test_each_run_is_looked_at_once() -> None:
    runs = make_runs(({}, {"x": 1}), ({}, {"y": 1}))
    write_csv(runs, io.StringIO())
    keeper = runs[0].keeper
    assert isinstance(keeper, Results)
    assert keeper.loaded == 2


def test_pandas_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a 'b'$\n*ü.csv"
    runs = make_runs(({"x": 0.1, "s": "a\nb", "on": True}, 2**40), ({"x": 1e300}, None))
    runs[0].started = 1_700_000_000.25
    write_csv(runs, str(path))
    frame = pd.read_csv(path, index_col="index", parse_dates=["started"])
    assert frame["x"].tolist() == [0.1, 1e300]
    assert frame.loc[0, ["s", "on", "result"]].tolist() == ["a\nb", True, 2**40]
    assert frame.loc[0, "started"] == pd.Timestamp("2023-11-14T22:13:20.25Z")


def test_half_characters_are_escaped(tmp_path: Path) -> None:
    write_csv(make_runs(({"p\udcff": "v\ud800", "n": ["\udcff"]}, None)), tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0].startswith("index,p\\udcff,n,")
    assert text.splitlines()[1].startswith('0,v\\ud800,"[""\\udcff""]",')


def test_a_path_has_the_whole_table_or_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("earlier")
    runs = make_runs(({"x": "x" * 1000}, None))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_csv(runs, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]
    write_csv(runs, path)
    assert path.read_text().startswith("index,x,")
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_pointing_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("table.csv")
    write_csv([], tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "table.csv").is_file()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_csv, args=([], pipe), daemon=True)
    writer.start()
    assert pipe.read_text().startswith("index,")
    writer.join(10)
    assert not writer.is_alive()
    assert pipe.is_fifo()


def test_a_table_that_does_not_fit_in_memory_goes_through_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table, "_SPOOL_BYTES", 1000)
    rows = cells(make_runs(*[({"number": number}, {"text": "ü\n" * 20}) for number in range(100)]))
    assert [row["number"] for row in rows] == [str(number) for number in range(100)]
    assert {row["text"] for row in rows} == {"ü\n" * 20}


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_hundred_thousand_runs(tmp_path: Path) -> None:
    params: list[tuple[dict[str, Any], Any]] = [
        ({"mass": number * 0.1, "name": "run"}, {"range": number, "ok": True})
        for number in range(100_000)
    ]
    runs = make_runs(*params)
    begun = time.process_time()
    write_csv(runs, tmp_path / "table.csv")
    assert time.process_time() - begun < 30  # some 3 seconds; this is about the shape of it
    with (tmp_path / "table.csv").open(newline="") as file:
        assert sum(1 for _ in file) == 100_001
    begun = time.process_time()
    assert to_dataframe(runs)["range"].sum() == sum(range(100_000))
    assert time.process_time() - begun < 30
