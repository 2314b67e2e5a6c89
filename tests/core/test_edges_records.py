"""Journals, manifests and requests that hold what we never wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import control, resuming
from multirun_core._sweep.layout import JOURNAL, MANIFEST

from multirun_core import JournalError, Sweep, SweepError, multirun


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a sweep; $HOME 'ü'"
    multirun(runs=[{"n": 1}], cmd=["false"], output_path=root, progress=False)
    return root


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "[]",
        "[" * 100_000,
        '{"event": "end", "run": -1, "status": "success", "attempt": 1}',
        '{"event": "end", "run": 7, "status": "success", "attempt": 1}',
        '{"event": "end", "run": 0, "status": "bogus", "attempt": 1}',
        '{"event": "end", "run": 0, "status": "success", "attempt": null}',
        '{"event": "start", "run": 0, "attempt": "x", "time": 1}',
        '{"event": "run", "run": 1, "params": 5}',
        '{"event": "skipped", "runs": [[0]], "reason": "x"}',
        '{"event": "skipped", "runs": [[-1, 0]], "reason": "x"}',
        '{"event": "rerun", "runs": [-1]}',
        '{"event": "guardian", "process": []}',
        '{"event": "amend", "run": 0}',
    ],
)
def test_a_line_that_fits_nothing_is_an_error_that_names_the_journal(root: Path, line: str) -> None:
    path = root / JOURNAL / "0001.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], line, lines[-1], ""]))
    with pytest.raises(JournalError):
        Sweep.open(root)


@pytest.mark.parametrize("line", ["{}", '{"event": ["x"]}', '{"event": "of a later version"}'])
def test_an_event_that_is_unknown_is_passed_over(root: Path, line: str) -> None:
    path = root / JOURNAL / "0001.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], line, lines[-1], ""]))
    assert Sweep.open(root).statistics.failure_count == 1


def test_a_first_line_that_names_no_process_is_an_error(root: Path) -> None:
    path = root / JOURNAL / "0001.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(['{"event": "driver", "process": {}}', *lines[1:], ""]))
    with pytest.raises(JournalError, match=r"0001\.jsonl"):
        Sweep.open(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda _: 5,
        lambda fields: {**fields, "format": "1"},
        lambda fields: {**fields, "format": 99},
        lambda fields: {name: fields[name] for name in fields if name != "format"},
        lambda fields: {name: fields[name] for name in fields if name != "cmd"},
        lambda fields: {**fields, "of a later version": 1},
        lambda fields: {**fields, "cmd": 5},
        lambda fields: {**fields, "inputs": [{}]},
        lambda fields: {**fields, "inputs": [5]},
        lambda fields: {**fields, "runner": 5},
        lambda fields: {**fields, "runner": {"name": "local"}},
        lambda fields: {**fields, "limits": {}},
        lambda fields: {**fields, "env_names": 5},
    ],
)
def test_a_manifest_that_was_spoiled_is_an_error_that_names_it(
    root: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    path = root / MANIFEST
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    for act in (
        lambda: Sweep.open(root),
        lambda: resuming.resume(root, progress=False),
        lambda: multirun(
            runs=[{"n": 1}], cmd=["false"], output_path=root, resume=True, progress=False
        ),
    ):
        with pytest.raises(SweepError, match=r"multirun\.json"):
            act()


@pytest.mark.parametrize(
    "text",
    ['{"runs": 5}', '{"runs": ["x"]}', '{"runs": [1e400]}', "{}", "5", "", "[" * 100_000],
)
def test_a_request_that_makes_no_sense_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "cancel-1.json").write_text(text)
    (tmp_path / "cancel-2.json").write_text('{"runs": [3]}')
    assert control.take_requests(tmp_path) == [[3]]
