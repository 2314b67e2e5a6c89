"""Rules by which results are taken from what a program wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep.collect import check_collect, collect

from multirun_core import ResultsError, UsageError


def collected(directory: Path, rule: Any) -> Any:
    collector = check_collect(rule)
    assert collector is not None
    return collect(collector, directory)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "stdout.txt").write_text("energy = 1.5\nnoise\nenergy = -2.5D-3 eV\nstep 7 ok\n")
    (tmp_path / "a b.log").write_text("E: 1e3\n")
    (tmp_path / "out.json").write_text('\ufeff{"x": [1, 2]}')
    (tmp_path / "torn.json").write_text('{"x": [1,')
    (tmp_path / "one.csv").write_text("mass, name\n1.5, ü x\n")
    (tmp_path / "more.csv").write_text("t,v\n0,1\n1,nan\n\n")
    (tmp_path / "bad.csv").write_text("t,v\n0\n")
    (tmp_path / "empty.csv").write_text("t,v\n")
    return tmp_path


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        (r"re:energy = (?P<energy>\S+)", {"energy": -0.0025}),
        (r"re:energy = (\S+)", -0.0025),
        (r"re:^step \d+", "step 7"),
        (r"re:(?P<step>\d+) (?P<how>ok|bad)(?P<why> because)?$",
         {"step": 7, "how": "ok", "why": None}),
        (r"a b.log:re:E: (.*)", 1000.0),
        (r"re:.*", "step 7 ok"),
        ("out.json", {"x": [1, 2]}),
        ("one.csv", {"mass": 1.5, "name": "ü x"}),
        (["one.csv", r"re:step (?P<step>\d+)"], {"mass": 1.5, "name": "ü x", "step": 7}),
        (["out.json"], {"x": [1, 2]}),
        (lambda folder: folder.name, None),
    ],
)  # fmt: skip
def test_rules(directory: Path, rule: Any, result: Any) -> None:
    expected = directory.name if callable(rule) else result
    assert collected(directory, rule) == expected


def test_a_table_of_several_lines_is_its_columns(directory: Path) -> None:
    columns = collected(directory, "more.csv")
    assert columns["t"] == [0, 1]
    assert columns["v"][0] == 1
    assert columns["v"][1] != columns["v"][1]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("re:no such thing", "'no such thing' is not in 'stdout.txt'"),
        ("none.log:re:x", "there is no 'none.log'"),
        ("none.json", "there is no 'none.json'"),
        ("torn.json", "'torn.json' is no JSON"),
        ("bad.csv", "line 2 of 'bad.csv' has 1 values under 2 names"),
        ("empty.csv", "no line of values"),
        ([r"re:energy", "out.json"], "name its group"),
        (lambda _: 1 // 0, "collecting failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_collected_is_said(directory: Path, rule: Any, told: str) -> None:
    with pytest.raises(ResultsError, match=told.replace("(", r"\(")):
        collected(directory, rule)


def test_no_output_at_all(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="is not in"):
        collected(tmp_path, "re:x")


@pytest.mark.parametrize("rule", ["out.txt", "re:(", [], ["out.json", "x"], ""])
def test_wrong_rules_are_refused_beforehand(rule: Any) -> None:
    with pytest.raises(UsageError, match="collect"):
        check_collect(rule)
