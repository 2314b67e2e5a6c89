from __future__ import annotations

import json
from pathlib import Path

import pytest

from multirun_core import MultirunError, NotInRunError, ParamError, getRunParams

from .inrun_programs import environment, run, run_directory

PRINT_PARAMS = "import json, multirun_core as m; print(json.dumps(m.getRunParams()))"
PARAMS = {"mass": 1.5, "name": 'a "b"\n$c ü', "grid": [[1, 2], []], "none": None, "on": True}


def test_program_gets_its_parameters_in_their_order(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, PARAMS)
    out, err = run(PRINT_PARAMS, cwd=directory, env=environment(directory))
    assert json.loads(out) == PARAMS
    assert list(json.loads(out)) == list(PARAMS)
    assert err == ""


def test_works_after_changing_the_directory(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, PARAMS)
    out, _ = run(
        "import os; os.chdir('/'); " + PRINT_PARAMS, cwd=directory, env=environment(directory)
    )
    assert json.loads(out) == PARAMS


def test_works_in_a_child_of_the_program(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, PARAMS)
    program = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], cwd='/', "
        "check=True)"
    )
    out, _ = run(program, PRINT_PARAMS, cwd=directory, env=environment(directory))
    assert json.loads(out) == PARAMS


def test_by_hand_in_a_run_directory_even_if_it_is_left_later(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, PARAMS)
    program = (
        "import os, json; from multirun_core import getRunParams\n"
        "os.chdir('/'); print(json.dumps(getRunParams()))"
    )
    out, _ = run(program, cwd=directory, env=environment(None))
    assert json.loads(out) == PARAMS


def test_the_directory_may_be_given_relative_to_where_the_program_started(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, PARAMS)
    program = (
        "import os, json; from multirun_core import getRunParams\n"
        "os.chdir('/'); print(json.dumps(getRunParams()))"
    )
    env = environment(None, MULTIRUN_RUN_DIR=directory.name)
    assert json.loads(run(program, cwd=tmp_path, env=env)[0]) == PARAMS


def test_where_parameters_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = run_directory(tmp_path, {"from": "directory"})
    current = tmp_path / "current"
    current.mkdir()
    (current / "params.json").write_text('{"from": "current"}')
    monkeypatch.chdir(current)
    assert getRunParams() == {"from": "current"}
    monkeypatch.setenv("MULTIRUN_PARAMS", '{"from": "variable"}')
    assert getRunParams() == {"from": "variable"}
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(directory))
    assert getRunParams() == {"from": "directory"}
    monkeypatch.setenv("MULTIRUN_RUN_DIR", "")  # as unset
    assert getRunParams() == {"from": "variable"}


def test_each_call_gives_a_new_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(run_directory(tmp_path, {"list": []})))
    getRunParams()["list"].append(1)
    assert getRunParams() == {"list": []}


def test_a_byte_order_mark_of_a_file_made_by_hand_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.json").write_text('{"é": 1}', encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    assert getRunParams() == {"é": 1}


def test_outside_of_a_run_says_what_was_looked_for_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotInRunError) as caught:
        getRunParams()
    for part in ("MULTIRUN_RUN_DIR is not set", str(tmp_path), "params.json", "MULTIRUN_PARAMS="):
        assert part in str(caught.value)
    assert isinstance(caught.value, MultirunError)


def test_a_run_directory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.json").write_text("{}")
    monkeypatch.chdir(tmp_path)  # whose parameters are somebody else's
    missing = tmp_path / "no such"
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(missing))
    with pytest.raises(NotInRunError, match=r"no such.*not a directory"):
        getRunParams()
    missing.write_text("a file")
    with pytest.raises(NotInRunError, match=r"no such.*not a directory"):
        getRunParams()
    missing.unlink()
    missing.mkdir()
    with pytest.raises(NotInRunError, match=r"no such.*holds no params\.json"):
        getRunParams()


def test_in_a_directory_that_has_been_removed(tmp_path: Path) -> None:
    program = (
        "import os; os.rmdir(os.getcwd()); import multirun_core as m\n"
        "try: m.getRunParams()\nexcept m.NotInRunError as e: print(e)"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    assert "has been removed" in run(program, cwd=gone, env=environment(None))[0]


@pytest.mark.parametrize(
    "content", [b"", b'{"mass": 1', b"[1]", b"nonsense", b"\xff\xfe\xff", b'{"a": 1} {"b": 2}']
)
def test_torn_or_malformed_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    directory = run_directory(tmp_path)
    (directory / "params.json").write_bytes(content)
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(directory))
    with pytest.raises(ParamError) as caught:
        getRunParams()
    assert str(directory / "params.json") in str(caught.value)


def test_malformed_parameters_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIRUN_PARAMS", "mass=1")
    with pytest.raises(ParamError, match="MULTIRUN_PARAMS"):
        getRunParams()
