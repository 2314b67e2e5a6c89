from __future__ import annotations

import json
import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from multirun_core._sweep.results import PEEK_BYTES, load, peek

from multirun_core import ResultsError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    cwd = tmp_path / "a b'$;*\nü"
    cwd.mkdir()
    return cwd


def write(cwd: Path, content: str | bytes) -> None:
    raw = content.encode() if isinstance(content, str) else content
    (cwd / "results.json").write_bytes(raw)


def test_nothing_posted(cwd: Path) -> None:
    for directory in (cwd, cwd / "missing", Path(sys.executable)):
        assert peek(directory) is None
        assert load(directory, allow_pickle=True) is None
        assert load(directory, allow_pickle=False) is None


@settings(deadline=None)
@given(json_values)
def test_what_peek_gives_is_what_load_reads(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    cwd = tmp_path_factory.mktemp("run")
    write(cwd, json.dumps(value, indent=1, ensure_ascii=False))
    assert load(cwd, allow_pickle=False) == value
    line = peek(cwd)
    if (cwd / "results.json").stat().st_size > PEEK_BYTES:
        assert line is None
    else:
        assert line is not None
        assert line.splitlines() == [line]
        assert json.loads(line) == value


def test_peek_takes_small_files_alone(cwd: Path) -> None:
    write(cwd, json.dumps("x" * (PEEK_BYTES - 2)))
    assert peek(cwd) is not None
    write(cwd, json.dumps("x" * (PEEK_BYTES - 1)))
    assert peek(cwd) is None
    assert load(cwd, allow_pickle=False) == "x" * (PEEK_BYTES - 1)


@pytest.mark.parametrize(
    "content",
    ["", "{", "NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "[1] 2", b"\xff\xfe1\0",
     "[" * 4000, "[" * 101 + "]" * 101, '[{"a": ' * 51 + "1" + "}]" * 51, b'"\xff"', "\ufeff1"],
    ids=lambda content: ascii(content[:8]),
)  # fmt: skip
def test_peek_leaves_all_that_is_not_strict_to_load(cwd: Path, content: str | bytes) -> None:
    write(cwd, content)
    assert peek(cwd) is None


def test_peek_takes_what_is_wide_but_not_deep(cwd: Path) -> None:
    for content in ("[" * 100 + "]" * 100, json.dumps([[], {}] * 100), json.dumps(["[{"] * 200)):
        write(cwd, content)
        assert json.loads(peek(cwd) or "") == json.loads(content)


def test_json_of_other_languages(cwd: Path) -> None:
    write(cwd, '\ufeff {"ü": [1.5e3, "\\u00e9"]} \r\n')
    assert load(cwd, allow_pickle=False) == {"ü": [1500.0, "é"]}
    write(cwd, '{"a": 1, "a": 2}')
    assert load(cwd, allow_pickle=False) == {"a": 2}
    write(cwd, '{"n": NaN, "i": [Infinity, -Infinity, 1e999]}')
    found = load(cwd, allow_pickle=False)
    assert math.isnan(found["n"])
    assert found["i"] == [math.inf, -math.inf, math.inf]
    write(cwd, str(10**1000))
    assert load(cwd, allow_pickle=False) == 10**1000
    write(cwd, "null")
    assert load(cwd, allow_pickle=False) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ('{"a": 1,\n "b": ', "line 2 column 7"),
        ('{"a": 1} {"a": 2}', "column 10"),
        ("{'a': 1}", "column 2"),
        ('"a\nb"', "column 3"),
        ('"ü"'.encode("latin-1"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ("9" * 5000, "4300 digits"),
        ("[" * 100_000, "recursion"),
    ],
    ids=range(10),
)
def test_malformed_json_names_the_file_and_the_place(
    cwd: Path, content: str | bytes, said: str
) -> None:
    write(cwd, content)
    (cwd / "results.pkl").write_bytes(pickle.dumps("an earlier post, which does not count"))
    for allow_pickle in (False, True):
        with pytest.raises(ResultsError) as caught:
            load(cwd, allow_pickle=allow_pickle)
        assert str(cwd / "results.json") in str(caught.value)
        assert said in str(caught.value)


def test_json_counts_where_there_are_both(cwd: Path) -> None:
    (cwd / "results.pkl").write_bytes(pickle.dumps("pickle"))
    write(cwd, '"json"')
    assert load(cwd, allow_pickle=True) == "json"
    assert load(cwd, allow_pickle=False) == "json"
    assert peek(cwd) == '"json"'


def test_a_pickle_is_loaded_only_where_it_is_allowed(cwd: Path) -> None:
    ran = cwd / "ran"
    (cwd / "results.pkl").write_bytes(pickle.dumps(MakesDirectory(str(ran))))
    with pytest.raises(ResultsError, match="allow_pickle=True") as caught:
        load(cwd, allow_pickle=False)
    assert str(cwd / "results.pkl") in str(caught.value)
    assert peek(cwd) is None
    assert not ran.exists()
    load(cwd, allow_pickle=True)
    assert ran.exists()


class MakesDirectory:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


class Raises:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "EOFError"),
        (pickle.dumps([1, 2, 3], protocol=5)[:-3], "pickle"),
        (b"nonsense", "UnpicklingError"),
        (b"\x80\x63.", "protocol"),
        (b"cno_such_module\nThing\n.", "ModuleNotFoundError"),
        (b"c__main__\nNoSuchClassAnywhere\n.", "AttributeError"),
        (pickle.dumps(Raises("raise ZeroDivisionError('mine')")), "ZeroDivisionError: mine"),
        (pickle.dumps(Raises("raise OSError('mine')")), "OSError: mine"),
        (b"\x80\x05X\xff\xff\xff\x7f.", "pickle"),
    ],
    ids=range(9),
)
def test_a_pickle_that_cannot_be_loaded(cwd: Path, content: bytes, said: str) -> None:
    (cwd / "results.pkl").write_bytes(content)
    with pytest.raises(ResultsError) as caught:
        load(cwd, allow_pickle=True)
    assert str(cwd / "results.pkl") in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["results.json", "results.pkl"])
@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "loop"])
def test_what_is_no_file_is_said_and_never_waited_for(cwd: Path, name: str, kind: str) -> None:
    path = cwd / name
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(name)
    assert peek(cwd) is None
    with pytest.raises(ResultsError, match=name):
        load(cwd, allow_pickle=True)


def test_links_are_followed_and_dangling_ones_are_nothing(cwd: Path) -> None:
    (cwd / "results.json").symlink_to("out.json")
    assert peek(cwd) is None
    assert load(cwd, allow_pickle=True) is None
    (cwd / "out.json").write_text("[1]")
    assert peek(cwd) == "[1]"
    assert load(cwd, allow_pickle=True) == [1]
