"""Every table can be had at any moment of a sweep, by its driver and by others."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from multirun_core import ParallelLocalRunner, Sweep, grid, multirun

from .cli_tools import PROGRAM as MULTIRUN
from .sweeps import wait_until

# Posts at once where x is 1; else it waits to be told to.
PROGRAM = """
import os, pathlib, time, numpy, multirun_core as m
params = m.getRunParams()
while params["x"] == 2 and not pathlib.Path(os.environ["GO"]).exists():
    time.sleep(0.01)
m.postRunResults({"stats": {"sum": params["x"] + params["y"]}, "field": numpy.full(3, params["y"])})
"""


def check_tables(sweep: Sweep, missing: int, path: Path) -> None:
    frame = sweep.to_dataframe()
    assert len(frame) == 4
    assert frame["stats.sum"].isna().sum() == missing
    assert frame["duration"].isna().sum() == missing
    ds = sweep.to_xarray()
    assert dict(ds.sizes) == {"x": 2, "y": 2, "field_0": 3}
    assert ds["stats.sum"].isnull().sum() == missing
    assert (ds["status"] == "success").sum() == 4 - missing
    assert ds["field"].sel(x=1, y=20).values.tolist() == [20, 20, 20]
    sweep.to_parquet(path / "table.parquet")
    assert pd.read_parquet(path / "table.parquet")["stats.sum"].isna().sum() == missing
    sweep.to_csv(path / "table.csv")
    assert pd.read_csv(path / "table.csv")["stats.sum"].isna().sum() == missing

    def printed(form: str) -> bytes:
        words = [*MULTIRUN, "results", str(sweep.path), "--format", form]
        return subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout

    assert pd.read_csv(io.BytesIO(printed("csv")))["stats.sum"].isna().sum() == missing
    lines = [json.loads(line) for line in printed("jsonl").splitlines()]
    assert [line.get("stats.sum") for line in lines].count(None) == missing
    table = pd.read_parquet(io.BytesIO(printed("parquet")))
    assert table["stats.sum"].isna().sum() == missing


@pytest.mark.long
def test_tables_of_a_sweep_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    monkeypatch.setenv("GO", str(go))
    sweep = multirun(
        runs=grid(x=[1, 2], y=[10, 20]),
        cmd=["python", "-c", PROGRAM],
        output_path=tmp_path / "study",
        runner=ParallelLocalRunner(max_parallel=2),
        progress=False,
        wait=False,
    )
    with sweep:
        wait_until(lambda: Sweep.open(sweep.path).statistics.success_count == 2)
        check_tables(Sweep.open(sweep.path), 2, tmp_path)
        wait_until(lambda: sweep.statistics.success_count == 2)
        check_tables(sweep, 2, tmp_path)
        go.touch()
        sweep.wait()
    check_tables(sweep, 0, tmp_path)
    check_tables(Sweep.open(sweep.path), 0, tmp_path)
