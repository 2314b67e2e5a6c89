"""Values that JSON has not come back from `results.json` and `results.npz` as they were."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import json
import math
import sys
import warnings
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from multirun_core._sweep.results import ARRAYS_NAME, from_peek, load, peek

from multirun_core import ResultsError, postRunResults

from .inrun_programs import environment, names, run, run_directory

ZONE = zoneinfo.ZoneInfo("Europe/Zurich")
UTC = datetime.UTC


def strict(directory: Path) -> Any:
    """Read results.json as a parser that holds to RFC 8259 does."""

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    return json.loads((directory / "results.json").read_bytes(), parse_constant=refuse)


def assert_alike(one: Any, other: Any) -> None:
    """Fail unless two values are the same: types, order of names, dtypes, shapes."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(map(repr, one)) == list(map(repr, other))
        assert list(map(type, one)) == list(map(type, other))
        one, other = list(one.values()), list(other.values())
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_alike(a, b)
    elif isinstance(one, (np.ndarray, np.generic)):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert repr(one.tolist()) == repr(other.tolist())
        if one.dtype.kind not in "fcV":  # where NaN has more than one form
            assert one.tobytes() == other.tobytes()
    else:
        assert repr(one) == repr(other)
        if isinstance(one, datetime.datetime):
            assert type(one.tzinfo) is type(other.tzinfo)
            assert one.fold == other.fold


TYPED = [
    math.nan,
    math.inf,
    {"deep": [math.nan, {"x": -math.inf}]},
    1j,
    complex(math.nan, -math.inf),
    complex(-0.0, 5e-324),
    (),
    (1, "two", (3.0, None)),
    [1, (2,)],
    {1: "a", "1": "b", None: "c", 2.5: "d", (1, "x"): "e"},
    {True: 1, 0: 2},
    {math.inf: [1]},
    {datetime.date(2025, 1, 1): 1, np.int8(5): 2, np.str_("s"): 3},
    {"$multirun": 1},
    {"$multirun": ["float", "nan"]},
    {"$multirun": {"$multirun": ["tuple", []]}},
    [{"$multirun": ["array", "x"]}],
    {"$multirun": 1, "more": (2,)},
    {"$multirun": math.nan},
    datetime.datetime(2025, 1, 31, 12, 30),
    datetime.datetime(2025, 1, 31, 12, 30, 1, 5, tzinfo=UTC),
    datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3, seconds=7))),
    datetime.datetime(2025, 10, 26, 2, 30, tzinfo=ZONE),
    datetime.datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=ZONE),
    datetime.date(9999, 12, 31),
    datetime.time(1, 2, 3, 4),
    datetime.time(1, 2, tzinfo=UTC),
    datetime.timedelta(days=-1, microseconds=1),
    datetime.timedelta.max,
    *(kind(1) for kind in (np.int8, np.int16, np.int32, np.int64)),
    *(kind(1) for kind in (np.uint8, np.uint16, np.uint32, np.uint64)),
    np.uint64(2**64 - 1),
    *(kind(0.1) for kind in (np.float16, np.float32, np.float64)),
    np.float32("nan"),
    np.float64("-inf"),
    np.float64(-0.0),
    np.complex64(0.1 - 1j),
    np.complex128(complex(math.nan, 1)),
    np.bool_(True),
    np.str_("text ü"),
    np.datetime64("2025-01-31T12:00:00.123456789"),
    np.datetime64("2025-01"),
    np.datetime64("NaT"),
    np.datetime64("NaT", "us"),
    np.datetime64(10**14, "D"),
    np.datetime64(5, "25s"),
    np.timedelta64(5, "ms"),
    np.timedelta64(-5),
    np.timedelta64("NaT", "7D"),
]

STORED = [
    np.arange(3),
    np.array(1.5),
    np.zeros((0, 3)),
    np.arange(12).reshape(3, 4)[::2, 1:],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([1 + 2j, math.nan]),
    np.array([True, False]),
    np.array(["text", "ü"]),
    np.array([b"x", b"yz"]),
    np.array(["2025-01-01", "NaT"], dtype="datetime64[ns]"),
    np.array([1, 2], dtype="timedelta64[25s]"),
    np.array([1, 2], dtype=">i4"),
    np.array([0.1], dtype=np.longdouble),
    np.array(
        [(1, 2.5, "a", [1, 2])], dtype=[("n", "i4"), ("x", "f8"), ("s", "U3"), ("v", "u1", 2)]
    ),
    np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    np.zeros(2, dtype=[(f"a column with a long name {number}", "f8") for number in range(500)]),
    np.longdouble("0.1"),
    np.clongdouble(1j),
    np.bytes_(b"bytes"),
    np.void(b"\1\0\2"),
    np.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")])[0],
    {"a": np.arange(2), "b": [np.arange(3), {"c": np.float32(1), "d": (np.ones(1),)}]},
    {1: np.arange(2)},
]


@pytest.mark.parametrize("value", TYPED, ids=ascii)
def test_values_without_arrays_are_one_file_of_strict_json(directory: Path, value: Any) -> None:
    postRunResults(value)
    assert names(directory) == {"results.json"}
    strict(directory)
    assert_alike(load(directory, allow_pickle=False), value)


@pytest.mark.parametrize("value", TYPED, ids=ascii)
def test_values_without_arrays_ride_in_the_journal(directory: Path, value: Any) -> None:
    postRunResults({"typed": value, "plain": [1]})
    line = peek(directory)
    assert line is not None
    assert line.splitlines() == [line]
    # As it is read from the journal, and kept in memory.
    assert_alike(from_peek(json.dumps(json.loads(line))), {"typed": value, "plain": [1]})


@pytest.mark.parametrize("value", STORED, ids=lambda value: ascii(value)[:60])
def test_arrays_are_in_a_second_file(directory: Path, value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        postRunResults(value)
    assert names(directory) == {"results.json", "results.npz"}
    strict(directory)
    assert peek(directory) is None
    assert_alike(load(directory, allow_pickle=False), value)


class Own(np.ndarray[Any, Any]):
    pass


class Pair(NamedTuple):
    x: int


class Later(datetime.datetime):
    pass


class OwnZone(datetime.tzinfo):
    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(0)


@dataclasses.dataclass
class Fields(collections.UserDict[str, int]):
    more: int = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int = 1


@dataclasses.dataclass
class IsList(list[int]):
    x: int = 1


PICKLED = [
    np.array([None, 1]),
    np.array([{}], dtype=object)[0:0],
    np.array([(1, None)], dtype=[("n", "i4"), ("o", "O")]),
    np.zeros(2, dtype=np.dtype("f8", metadata={"unit": "m"})),
    np.zeros(2).view(Own),
    np.ma.masked_array([1, 2], [True, False]),
    np.array(["a"], dtype=np.dtypes.StringDType()),
    np.bytes_(b"padding\0"),
    Pair(1),
    Later(2025, 1, 1),
    datetime.datetime(2025, 1, 1, fold=1),
    datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0), "mine")),
    datetime.datetime(2025, 1, 1, tzinfo=OwnZone()),
    datetime.time(1, tzinfo=ZONE),
    {Frozen(): 1},
    {(1, Frozen()): 1},
    IsList([1]),
    slice(1, math.nan),
]


@pytest.mark.parametrize("value", PICKLED, ids=lambda value: ascii(value)[:60])
def test_what_would_not_come_back_as_it_was_is_a_pickle(directory: Path, value: Any) -> None:
    postRunResults(value)
    assert names(directory) == {"results.pkl"}
    with pytest.raises(ResultsError, match="allow_pickle"):
        load(directory, allow_pickle=False)


@dataclasses.dataclass
class Inner:
    name: str
    field: Any = None


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    many: list[Inner]
    when: datetime.date = datetime.date(2025, 1, 1)
    hidden: int = dataclasses.field(default=3, repr=False)


def test_dataclasses_come_back_as_dicts(directory: Path) -> None:
    postRunResults({"outer": Outer(Inner("a", np.arange(2)), [Inner("b", math.inf)])})
    found = load(directory, allow_pickle=False)
    assert found["outer"]["inner"]["field"].tolist() == [0, 1]
    del found["outer"]["inner"]["field"]
    assert found == {
        "outer": {
            "inner": {"name": "a"},
            "many": [{"name": "b", "field": math.inf}],
            "when": datetime.date(2025, 1, 1),
            "hidden": 3,
        }
    }


def test_a_dataclass_of_the_script_itself_comes_back(tmp_path: Path) -> None:
    program = (
        "import dataclasses, multirun_core as m\n"
        "@dataclasses.dataclass\nclass Ends: speed: float; steps: int\n"
        "m.postRunResults(Ends(1.5, 3))"
    )
    directory = run_directory(tmp_path)
    run(program, cwd=directory, env=environment(directory))
    assert load(directory, allow_pickle=False) == {"speed": 1.5, "steps": 3}
    assert strict(directory) == {"speed": 1.5, "steps": 3}


def test_the_arrays_have_telling_names_for_other_programs(directory: Path) -> None:
    postRunResults(
        {
            "field": np.arange(2),
            "stats": {"hist": np.arange(3), "bins": [np.arange(4)]},
            "stats.hist": np.arange(5),
            "results": {"json": np.arange(6)},
            "file": np.arange(7),
            "../a b/\n": np.arange(8),
            "ü" * 300: np.arange(9),
            "self": np.arange(10),
        }
    )
    with np.load(directory / ARRAYS_NAME, allow_pickle=False) as arrays:
        sizes = {name: len(arrays[name]) for name in arrays.files if name != "results.json"}
        copy = arrays["results.json"].tobytes()
    assert sizes == {
        "field": 2,
        "stats.hist": 3,
        "stats.bins.0": 4,
        "stats.hist_2": 5,
        "results.json_2": 6,
        "array": 7,
        "array_2": 8,
        "array_3": 9,
        "self": 10,
    }
    assert copy == (directory / "results.json").read_bytes()
    assert strict(directory)["stats"]["hist"] == {"$multirun": ["array", "stats.hist"]}


arrays = hnp.arrays(
    dtype=st.one_of(
        hnp.boolean_dtypes(), hnp.integer_dtypes(endianness="?"), hnp.floating_dtypes(),
        hnp.complex_number_dtypes(), hnp.unicode_string_dtypes(max_len=3), hnp.datetime64_dtypes(),
        hnp.timedelta64_dtypes(), hnp.array_dtypes(max_size=3, allow_subarrays=True),
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.dates()
    | st.times().map(lambda time: time.replace(fold=0))
    | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.just(UTC)).map(lambda time: time.replace(fold=0))
    | hnp.from_dtype(np.dtype("f4"))
    | hnp.from_dtype(np.dtype("c16"))
    | hnp.from_dtype(np.dtype("M8[ns]"))
    | hnp.from_dtype(np.dtype("m8[h]"))
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.just("$multirun")
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(st.integers() | keys | st.tuples(keys), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100)
@given(values)
def test_whatever_is_posted_comes_back_without_a_pickle(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    directory = run_directory(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIRUN_RUN_DIR", str(directory))
        postRunResults(value)
    assert "results.pkl" not in names(directory)
    strict(directory)
    assert_alike(load(directory, allow_pickle=False), value)


def test_deep_and_cyclic_values_end(directory: Path) -> None:
    cycle: list[Any] = [math.nan]
    cycle += [cycle, {"again": cycle}]
    postRunResults(cycle)
    assert load(directory, allow_pickle=True)[1][2]["again"][0] != 0
    for levels, name in ((30, "results.json"), (40, "results.pkl")):
        deep: tuple[Any, ...] = ()
        for _ in range(levels):
            deep = (deep,)
        (directory / "results.json").unlink(missing_ok=True)
        postRunResults(deep)
        assert name in names(directory)
        assert load(directory, allow_pickle=True) == deep


@dataclasses.dataclass
class Hostile:
    x: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            raise ZeroDivisionError
        return super().__getattribute__(name)


def test_a_value_that_misbehaves_is_for_pickle_to_judge(directory: Path) -> None:
    postRunResults([Hostile()])
    assert names(directory) == {"results.pkl"}


def test_a_program_without_numpy_does_not_import_it(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    program = (
        "import sys, multirun_core as m; m.postRunResults([(1,), float('nan')]); "
        "assert 'numpy' not in sys.modules; "
        "assert 'datetime' not in sys.modules; "
        "assert 'zipfile' not in sys.modules"
    )
    run(program, cwd=directory, env=environment(directory))
    assert names(directory) == {"results.json"}


def test_plain_results_import_nothing_of_this(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    program = (
        "import sys, multirun_core as m; m.getRunParams(); m.postRunResults({'x': [1.5, 'a']}); "
        "assert 'multirun_core._model' not in sys.modules"
    )
    run(program, cwd=directory, env=environment(directory))


def test_without_numpy_its_numbers_are_numbers(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postRunResults([np.float32(0.5), np.int64(3), np.str_("a"), np.complex64(1), np.bool_(True)])
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert_alike(load(directory, allow_pickle=False), [0.5, 3, "a", 1 + 0j, True])


@pytest.mark.parametrize("value", [np.arange(3), np.datetime64("2025-01-01")], ids=repr)
def test_without_numpy_arrays_say_that_it_is_needed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    postRunResults(value)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ResultsError, match="pip install numpy"):
        load(directory, allow_pickle=False)
