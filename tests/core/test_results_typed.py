"""Reading `results.json` and `results.npz` that others have written, or that are damaged."""

from __future__ import annotations

import json
import math
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multirun_core._sweep.results import from_peek, load, peek

from multirun_core import ResultsError, Sweep, multirun, postRunResults

from .cli_tools import call


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cwd = tmp_path / "a b'$;*\nü"
    cwd.mkdir()
    (cwd / "params.json").write_text("{}")
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(cwd))
    return cwd


def write(cwd: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (cwd / "results.json").write_text(text)


@pytest.mark.parametrize(
    "value",
    [
        {"$multirun": 1},
        {"$multirun": "float"},
        {"$multirun": []},
        {"$multirun": [1, "nan"]},
        {"$multirun": [["float"], "nan"]},
        {"$multirun": {"float": "nan"}},
        {"$multirun": ["float", "nan"], "x": 1},
        {"multirun": ["float", "nan"], "$Multirun": ["float", "nan"]},
        {"text": '{"$multirun": ["float", "nan"]}'},
        [["float", "nan"], "NaN", "2025-01-01T00:00:00"],
    ],
)
def test_plain_json_means_what_it_says(cwd: Path, value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value).replace("$", "\\u0024")):
        write(cwd, text)
        assert load(cwd, allow_pickle=False) == value
        line = peek(cwd)
        assert line is not None
        assert from_peek(line) == value


def test_a_typed_value_may_be_written_by_any_program(cwd: Path) -> None:
    write(cwd, '[{"\\u0024mul\\u0074irun": ["float", "-inf"]}, {"$multirun": ["tuple", [1]]}]')
    assert load(cwd, allow_pickle=False) == [-math.inf, (1,)]
    assert from_peek(peek(cwd) or "") == [-math.inf, (1,)]


@pytest.mark.parametrize(
    "what",
    [
        ["later kind", 1], ["float"], ["float", 1.5], ["float", "1.5"], ["float", "nan", 1],
        ["complex", 1], ["complex", "1j", 0], ["tuple", 1], ["tuple", {}], ["tuple"],
        ["dict", {}], ["dict", [["a"]]], ["dict", ["ab"]], ["dict", [[[], 1]]],
        ["datetime", "yesterday"], ["datetime", 1], ["datetime", "2025-01-01", "No/Such", 0],
        ["datetime", "2025-01-01T00:00", "../../../etc/passwd", 0],
        ["date", "2025-13-01"], ["time", []], ["timedelta", "1"], ["timedelta", 10**12, 0, 0],
        ["numpy.float32", "x"], ["numpy.float64", None], ["numpy.float64", [1]],
        ["numpy.uint8", 300], ["numpy.int8", 1.5], ["numpy.int64"], ["numpy.object", 1],
        ["numpy.datetime64[s]", "x"],
        ["numpy.datetime64[zz]", "2025"], ["numpy.", 1], ["numpy.timedelta64[s]", "1.5"],
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_value_is_said(cwd: Path, what: list[Any]) -> None:
    write(cwd, {"x": [1, {"$multirun": what}]})
    with pytest.raises(ResultsError, match=r"results\.json") as caught:
        load(cwd, allow_pickle=False)
    assert repr(what[0]) in str(caught.value)
    with pytest.raises(ResultsError, match="journal"):
        from_peek(peek(cwd) or "")


def test_arrays_of_other_programs(cwd: Path) -> None:
    np.savez(cwd / "results.npz", u=np.arange(3), unused=np.zeros(2))
    write(cwd, {"u": {"$multirun": ["array", "u"]}, "n": 1})
    found = load(cwd, allow_pickle=False)
    assert found["u"].tolist() == [0, 1, 2]
    assert found["n"] == 1
    write(cwd, {"u": {"$multirun": ["array", "v"]}})
    with pytest.raises(ResultsError, match="'v'"):
        load(cwd, allow_pickle=False)
    write(cwd, {"u": {"$multirun": ["array", {"u": []}]}})
    with pytest.raises(ResultsError, match="'array'"):
        load(cwd, allow_pickle=False)


def test_arrays_that_nothing_refers_to_do_not_count(cwd: Path) -> None:
    postRunResults(np.arange(3))
    write(cwd, {"x": 1})
    (cwd / "results.npz").write_bytes(b"nonsense")
    assert load(cwd, allow_pickle=False) == {"x": 1}


def test_the_newer_post_counts_where_a_process_died_between_the_files(cwd: Path) -> None:
    postRunResults({"x": 1, "a": np.arange(2)})
    earlier = (cwd / "results.json").read_bytes()
    postRunResults({"y": 2, "b": {"a": np.arange(4)}})
    (cwd / "results.json").write_bytes(earlier)
    found = load(cwd, allow_pickle=False)
    assert found["y"] == 2
    assert found["b"]["a"].tolist() == [0, 1, 2, 3]


class Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def test_arrays_are_never_pickles(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cwd)
    np.savez(cwd / "results.npz", u=np.array([Harm()], dtype=object))
    write(cwd, {"u": {"$multirun": ["array", "u"]}})
    for allow_pickle in (False, True):
        with pytest.raises(ResultsError, match=r"results\.npz"):
            load(cwd, allow_pickle=allow_pickle)
    assert not (cwd / "harm").exists()


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "torn", "pickle", "no copy", "directory", "pipe"]
)
def test_damaged_arrays_name_the_file(cwd: Path, damage: str) -> None:
    postRunResults({"u": np.arange(1000)})
    path = cwd / "results.npz"
    data = path.read_bytes()
    path.unlink()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "torn":
            path.write_bytes(data[: len(data) // 2])
        case "pickle":
            path.write_bytes(pickle.dumps(1))
        case "no copy":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("results.json", b"{half")
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            pass
    with pytest.raises(ResultsError, match=r"results\.npz"):
        load(cwd, allow_pickle=True)


POST = """
import datetime, numpy, sys, multirun_core as m
n = m.getRunParams()["n"]
small = {"nan": float("nan"), "when": datetime.date(2025, 1, n), "mean": numpy.float32(n)}
m.postRunResults({**small, "field": numpy.arange(n)} if n % 2 else small)
"""


def test_a_sweep_of_such_results_needs_no_pickle(tmp_path: Path) -> None:
    multirun(
        runs=[{"n": n} for n in (1, 2, 3)],
        cmd=["python", "-c", POST],
        output_path=tmp_path / "study",
        progress=False,
    )
    sweep = Sweep.open(tmp_path / "study")
    assert [run.inline_result is not None for run in sweep.runs] == [False, True, False]
    for n, result in enumerate(sweep.results, 1):
        assert math.isnan(result["nan"])
        assert result["when"].day == n
        assert type(result["mean"]) is np.float32
    assert sweep.results[2]["field"].tolist() == [0, 1, 2]
    rows = [json.loads(row) for row in shown(tmp_path, "--format", "jsonl").splitlines()]
    assert [row["when"] for row in rows] == ["2025-01-01", "2025-01-02", "2025-01-03"]
    assert [row["field"] for row in rows] == [[0], None, [0, 1, 2]]
    assert [(row["nan"], row["mean"]) for row in rows] == [(None, 1), (None, 2), (None, 3)]
    (sweep.runs[1].cwd / "results.json").unlink()  # it is in the journal
    assert sweep.results[1]["mean"] == 2


def shown(directory: Path, *words: str) -> str:
    done = call("results", "study", *words, cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def test_a_large_array_is_shown_by_its_shape(tmp_path: Path) -> None:
    post = (
        "import multirun_core as m, numpy as n; "
        "m.postRunResults({'big': n.zeros((20, 30)), 'x': n.float32(.1)})"
    )
    multirun(runs=[{}], cmd=["python", "-c", post], output_path=tmp_path / "study", progress=False)
    table = shown(tmp_path)
    assert "array of 20 x 30" in table
    assert table.split()[-1] == "0.1"


def test_results_of_earlier_attempts_move_away_with_their_arrays(tmp_path: Path) -> None:
    post = (
        "import os, sys, numpy, multirun_core as m\n"
        "attempt = int(os.environ['MULTIRUN_ATTEMPT'])\n"
        "m.postRunResults({'attempt': attempt, **({} if attempt > 1 else {'a': numpy.ones(2)})})\n"
        "sys.exit(attempt == 1)"
    )
    sweep = multirun(
        runs=[{}], cmd=["python", "-c", post], retries=1, output_path=tmp_path / "s", progress=False
    )
    run = sweep.runs[0]
    assert run.result == {"attempt": 2}
    assert not (run.cwd / "results.npz").exists()
    first = load(run.cwd / ".multirun" / "attempts" / "1", allow_pickle=False)
    assert first["attempt"] == 1
    assert first["a"].tolist() == [1, 1]
