from __future__ import annotations

import collections
import enum
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from multirun_core._sweep.results import load

from multirun_core import NotInRunError, ResultsError, postRunResults

from .inrun_programs import environment, names, run, run_directory

POST_ARGUMENT = "import json, sys, multirun_core as m; m.postRunResults(json.loads(sys.argv[1]))"


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same to the bit, types and order of names included."""
    return pickle.dumps(one) == pickle.dumps(other) or (type(one), repr(one)) == (
        type(other),
        repr(other),
    )


class Text(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


CARRIED = [
    None,
    True,
    0,
    -(2**1000),
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    "",
    'text "quoted"\n\0 é \U0001f600',
    [],
    {},
    {"b": [1, 2.0, [None]], "a": {"": "x"}},
]

PICKLED = [
    {"set": {1}},
    [frozenset()],
    b"bytes",
    Text("subclass"),
    {Text("subclass"): 1},
    {b"x": 1},
    Colour.RED,
    collections.OrderedDict(a=1),
    collections.Counter("aab"),
    2**5000,
    (2**5000,),
    "lone \ud800 surrogate",
    ("lone \ud800 surrogate",),
    "two \ud83d\ude00 halves".replace("\U0001f600", "\ud83d" + "\ude00"),
    {"\udcff": 1},
    {1: "\udcff"},
    Path("/a"),
    {"array": np.zeros(2), "beside": {1}},
]


@pytest.mark.parametrize("value", CARRIED, ids=repr)
def test_what_json_carries_exactly_is_json(directory: Path, value: Any) -> None:
    postRunResults(value)
    assert names(directory) == {"results.json"}
    assert alike(load(directory, allow_pickle=False), value)


@pytest.mark.parametrize("value", PICKLED, ids=ascii)
def test_all_else_is_a_pickle_and_comes_back_as_it_was(directory: Path, value: Any) -> None:
    postRunResults(value)
    assert names(directory) == {"results.pkl"}
    assert alike(load(directory, allow_pickle=True), value)
    assert (directory / "results.pkl").read_bytes()[:2] == b"\x80\x05"  # protocol 5


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=3)
    | st.binary(max_size=3)
    | st.complex_numbers(allow_nan=False)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(values)
def test_whatever_is_posted_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    directory = run_directory(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIRUN_RUN_DIR", str(directory))
        postRunResults(value)
    found = load(directory, allow_pickle=True)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_cyclic_and_deep_values(directory: Path) -> None:
    cycle: list[Any] = [1]
    cycle += [cycle, cycle]
    postRunResults(cycle)
    found = load(directory, allow_pickle=True)
    assert found[1] is found
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    postRunResults(deep)
    assert load(directory, allow_pickle=True) == deep
    assert names(directory) == {"results.pkl"}


def test_posting_again_replaces_also_across_kinds(directory: Path) -> None:
    for value in ({"x": 1}, {"x": 2}, {3}, {4}, {"x": 5}, (5,), {6}, (7,)):
        postRunResults(value)
        assert load(directory, allow_pickle=True) == value


@pytest.mark.parametrize("earlier", [{"x": 1}, {1}])
@pytest.mark.parametrize("hopeless", [threading.Lock(), {"f": lambda: 1}, (i for i in "a")])
def test_what_cannot_be_pickled_is_said_and_changes_nothing(
    directory: Path, earlier: Any, hopeless: Any
) -> None:
    postRunResults(earlier)
    before = names(directory)
    with pytest.raises(ResultsError) as caught:
        postRunResults(hopeless)
    assert type(hopeless).__qualname__ in str(caught.value)
    assert names(directory) == before
    assert load(directory, allow_pickle=True) == earlier


class Hostile:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError("gone")])
def test_what_interrupts_pickling_passes_and_leaves_nothing(
    directory: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        postRunResults([b"x" * 100_000, Hostile(error)])
    assert names(directory) == set()


def test_permissions_are_those_that_the_umask_leaves(directory: Path) -> None:
    old = os.umask(0o027)
    try:
        postRunResults(1)
    finally:
        os.umask(old)
    assert (directory / "results.json").stat().st_mode & 0o777 == 0o640


def test_after_chdir_and_in_a_child(directory: Path) -> None:
    program = (
        "import os, subprocess, sys; os.chdir('/'); "
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
    )
    env = environment(directory)
    _, err = run(program, POST_ARGUMENT, '{"x": [1]}', cwd=directory, env=env)
    assert load(directory, allow_pickle=False) == {"x": [1]}
    assert err == ""


def test_by_hand_in_a_run_directory_that_is_left_later(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    program = "from multirun_core import postRunResults as p; import os; os.chdir('/'); p(1)"
    run(program, cwd=directory, env=environment(None))
    assert names(directory) == {"results.json"}


def test_with_parameters_by_variable_the_results_go_to_the_current_directory(
    tmp_path: Path,
) -> None:
    env = environment(None, MULTIRUN_PARAMS="{}")
    _, err = run(POST_ARGUMENT, "[1]", cwd=tmp_path, env=env)
    assert json.loads((tmp_path / "results.json").read_text()) == [1]
    assert str(tmp_path) in err


def test_outside_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotInRunError, match="MULTIRUN_RUN_DIR is not set"):
        postRunResults(1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(tmp_path / "no such"))
    with pytest.raises(NotInRunError, match="no such"):
        postRunResults(1)


def test_without_stderr_nothing_breaks(tmp_path: Path) -> None:
    env = environment(None, MULTIRUN_PARAMS="{}")
    run("import sys; sys.stderr = None; " + POST_ARGUMENT, "1", cwd=tmp_path, env=env)
    assert (tmp_path / "results.json").exists()
