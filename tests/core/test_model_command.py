from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from multirun_core._model.command import check_command, check_filled, fill

from multirun_core import ParamError, UsageError

HOSTILE = "a b'c\"d$HOME;*?\n`e`\\ü"


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("{mass}", "1.5"),
        ("--mass={mass}", "--mass=1.5"),
        ("{mass}{mass}", "1.51.5"),
        ("{name}", HOSTILE),
        ("{list}", '[1, {"a": null}]'),
        ("{on}", "true"),
        ("{none}", "null"),
        ("{{mass}}", "{mass}"),
        ("{{mass}}={mass}", "{mass}=1.5"),
        ("{unknown}", "{unknown}"),
        ("{{unknown}}", "{{unknown}}"),
        ("{}", "{}"),
        ("{ mass }", "{ mass }"),
        ("{mass", "{mass"),
        ("mass}", "mass}"),
        ("${mass}", "$1.5"),
        ("awk '{print $1}'", "awk '{print $1}'"),
        ("{mass:.2f}", "{mass:.2f}"),
        ("{mass_2}", "two"),
        ("{a.b}{axb}", "dot{axb}"),
        ("{odd name}", "spaced"),
        ("{text}", "{mass}"),  # what has been put in is not filled in again
        ("", ""),
    ],
)
def test_fill(word: str, filled: str) -> None:
    params: dict[str, Any] = {
        "mass": 1.5,
        "mass_2": "two",
        "name": HOSTILE,
        "list": [1, {"a": None}],
        "on": True,
        "none": None,
        "a.b": "dot",
        "odd name": "spaced",
        "text": "{mass}",
    }
    assert fill(["program", word], params) == ["program", filled]


def test_without_parameters_nothing_changes() -> None:
    assert fill(["{a}", "{{a}}"], {}) == ["{a}", "{{a}}"]
    assert fill(("a", "b"), {"a": 1}) == ["a", "b"]


@settings(deadline=None)
@given(
    st.text(alphabet="{}ab $", max_size=30),
    st.dictionaries(st.text(alphabet="ab{}", max_size=3), st.text(alphabet="{}ab", max_size=4)),
)
def test_fill_ends_and_leaves_other_text_alone(word: str, params: dict[str, Any]) -> None:
    [filled] = fill([word], params)
    if not any("{" + name + "}" in word for name in params):
        assert filled == word


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_is_put_in_as_it_is(text: str) -> None:
    assert fill(["x{p}y"], {"p": text}) == [f"x{text}y"]
    check_filled(0, ["x{p}y"], {"p": text})


def test_a_program_gets_the_very_text(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.buffer.write(sys.argv[1].encode())"
    cmd = fill([sys.executable, "-c", code, "{p}"], {"p": HOSTILE})
    done = subprocess.run(cmd, capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout.decode() == HOSTILE


def test_check_command_takes_words_and_paths() -> None:
    assert check_command(["python", Path("a b.py"), ""]) == ["python", "a b.py", ""]
    assert check_command(("true",)) == ["true"]
    assert check_command(["prog", "\udcff"]) == ["prog", "\udcff"]  # a byte that is no UTF-8


@pytest.mark.parametrize(
    ("cmd", "said"),
    [
        ("python simulate.py", "must be a list"),
        (b"true", "must be a list"),
        (None, "NoneType"),
        (Path("true"), "must be a list"),
        ({"python": 1}, "dict"),
        (iter(["true"]), "list_iterator"),
        ([], "empty"),
        ([""], "empty"),
        (["sleep", 1], r"cmd\[1\] is 1 of type int"),
        (["sleep", None], r"cmd\[1\] is None"),
        (["sleep", b"1"], r"cmd\[1\] is b'1'"),
        (["a", "b\0"], r"cmd\[1\].*NUL"),
        (["a", "\ud800"], r"cmd\[1\].*no command line can"),
    ],
    ids=range(13),
)
def test_check_command_refuses(cmd: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_command(cmd)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", ["\0\ud800"]])
def test_check_filled_names_the_parameter(bad: Any) -> None:
    params = {"unused": "\0", "fine": "x", "bad one": bad}
    if isinstance(bad, list):
        check_filled(4, ["prog", "{bad one}"], params)  # as JSON it is escaped
        return
    with pytest.raises(ParamError, match="run 4, parameter 'bad one'"):
        check_filled(4, ["prog", "{fine}", "--x={bad one}"], params)
    check_filled(4, ["prog", "{fine}", "{{unused}}"], params)
