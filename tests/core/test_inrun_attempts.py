from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multirun_core._sweep.results import load

from multirun_core import _inrun, postRunResults


def begin_attempt(directory: Path, number: int) -> None:
    """Do what is done before a further attempt: everything that is there moves away."""
    old = directory / ".multirun" / "attempts" / str(number - 1)
    old.mkdir(parents=True)
    (directory / ".multirun" / "attempt").write_text(f"{number}\n")
    for path in directory.iterdir():
        if path.name not in (".multirun", "params.json"):
            path.rename(old / path.name)


@pytest.mark.parametrize("value", [{"x": 1}, {1}])
def test_an_orphan_posts_aside(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: Any
) -> None:
    begin_attempt(directory, 2)
    monkeypatch.setenv("MULTIRUN_ATTEMPT", "2")
    postRunResults("of attempt 2")
    monkeypatch.setenv("MULTIRUN_ATTEMPT", "1")
    postRunResults(value)
    postRunResults([value])
    assert load(directory, allow_pickle=True) == "of attempt 2"
    own = directory / ".multirun" / "attempts" / "1"
    assert load(own, allow_pickle=True) == [value]
    assert sorted(path.name for path in directory.iterdir()) == [
        ".multirun",
        "params.json",
        "results.json",
    ]
    err = capsys.readouterr().err
    assert "attempt 1" in err
    assert "attempt 2" in err
    assert str(own) in err


def test_an_orphan_whose_attempt_has_no_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_attempt(directory, 3)  # which made that of attempt 2
    monkeypatch.setenv("MULTIRUN_ATTEMPT", "1")
    postRunResults(1)
    assert load(directory / ".multirun" / "attempts" / "1", allow_pickle=False) == 1


@pytest.mark.parametrize("own", ["1", "2", "3", "", "nonsense", None])
def test_others_are_no_orphans(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own: str | None,
) -> None:
    # Without the variable a program was started by hand, or by one that empties the environment.
    if own is not None:
        monkeypatch.setenv("MULTIRUN_ATTEMPT", own)
    if own != "1":
        begin_attempt(directory, 2)
    postRunResults(1)
    assert load(directory, allow_pickle=False) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_an_attempt_that_cannot_be_read_makes_no_orphans(
    directory: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("MULTIRUN_ATTEMPT", "1")
    (directory / ".multirun").mkdir()
    (directory / ".multirun" / "attempt").write_text(content)
    postRunResults(1)
    assert load(directory, allow_pickle=False) == 1


@pytest.mark.parametrize(
    ("moment", "step"), [("open", 1), ("open", 2), ("replace", 1), ("replace", 2)]
)
def test_the_next_attempt_begins_while_the_last_one_posts(
    directory: Path, monkeypatch: pytest.MonkeyPatch, moment: str, step: int
) -> None:
    monkeypatch.setenv("MULTIRUN_ATTEMPT", "1")
    real = getattr(os, moment)
    calls: list[int] = []

    def begin_first(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == step:
            begin_attempt(directory, 2)
        return real(*args, **kwargs)

    monkeypatch.setattr(_inrun.os, moment, begin_first)
    postRunResults({"x": "of the orphan", "y": np.arange(3)})
    assert len(calls) >= step
    assert load(directory, allow_pickle=False) is None
    assert {path.name for path in directory.iterdir()} == {".multirun", "params.json"}
    own = directory / ".multirun" / "attempts" / "1"
    found = load(own, allow_pickle=False)
    assert found["x"] == "of the orphan"
    assert found["y"].tolist() == [0, 1, 2]
