from __future__ import annotations

import collections
import datetime
import enum
import json
import math
import pathlib
import re
import types
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from multirun_core._model.params import identity, to_json, to_text

from multirun_core import MultirunError, ParamError, UsageError


class Colour(enum.Enum):
    RED = "red"
    NESTED = (1, 2)


class Word(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    ONE = "one"


class Level(enum.IntEnum):
    HIGH = 3


class LoudText(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "LOUD"


class OddInt(int):
    def __int__(self) -> int:
        return 99


class OddFloat(float):
    def __float__(self) -> float:
        return 99.0


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()


def converted(value: Any) -> Any:
    return json.loads(to_json(0, {"p": value}))["p"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain))
def test_json_values_come_through_as_they_are(params: dict[str, Any]) -> None:
    found = json.loads(to_json(0, params))
    assert found == params
    assert repr(found) == repr(params)  # types, order of names and signs of zeros too


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, [3])), [1, [2, [3]]]),
        (Point(1, 2), [1, 2]),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (pathlib.Path("/a b/$c"), "/a b/$c"),
        (pathlib.PurePosixPath("x/y"), "x/y"),
        (datetime.datetime(2025, 1, 2, 3, 4, 5, 6), "2025-01-02T03:04:05.000006"),
        (datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC), "2025-01-02T00:00:00+00:00"),
        (datetime.date(2025, 1, 2), "2025-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (pd.Timestamp("2025-01-02T03:04:05Z"), "2025-01-02T03:04:05+00:00"),
        (Colour.RED, "red"),
        (Colour.NESTED, [1, 2]),
        (Word.ONE, "one"),
        (Level.HIGH, 3),
        (LoudText("quiet"), "quiet"),
        (OddInt(5), 5),
        (OddFloat(0.5), 0.5),
        (np.int64(-5), -5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.array(7), 7),
        (np.array([], dtype=int), []),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.array([1.5, None, "x"], dtype=object), [1.5, None, "x"]),
        (np.datetime64("2025-01-02"), "2025-01-02"),
        (np.datetime64("2025-01-02T03:04:05.000000006"), "2025-01-02T03:04:05.000000006"),
        (np.array(["2025-01-02"], dtype="M8[D]"), ["2025-01-02"]),
        ({"deep": [np.float64(1.0), {"x": pathlib.Path("f")}]}, {"deep": [1.0, {"x": "f"}]}),
        (2**4096 - 1, 2**4096 - 1),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_documented_conversions(value: Any, expected: Any) -> None:
    found = converted(value)
    assert found == expected
    assert repr(found) == repr(expected)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_numpy_numbers_keep_every_bit(real: float, whole: int) -> None:
    assert repr(converted(np.array([real]))) == repr([real])
    assert converted(np.int64(whole)) == whole


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "'nan'"),
        (math.inf, "'inf'"),
        ([1, [-math.inf]], "'-inf'"),
        (np.float64("nan"), "nan"),
        (np.array([1.0, np.nan]), "nan"),
        (1j, "complex"),
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        (object(), "object"),
        (lambda: 1, "function"),
        (range(3), "range"),
        (Decimal("0.1"), "decimal.Decimal"),
        (datetime.timedelta(1), "datetime.timedelta"),
        (np.timedelta64(5, "D"), "numpy.timedelta64"),
        (np.array([1, 2], dtype="m8[s]"), "numpy.ndarray"),
        (np.datetime64("NaT"), "NaT"),
        (np.array(["2025-01-01", "NaT"], dtype="M8[D]"), "NaT"),
        (pd.NaT, "NaT"),
        (np.complex128(1), "complex"),
        (np.longdouble(1), "longdouble"),
        (np.array([b"x"]), "bytes"),
        (pd.Series([1]), "Series"),
        ({1: "x"}, "the key 1"),
        ({"a": [{None: 1}]}, "the key None"),
        (2**4096, "4096 bits"),
        (OddInt(2**4096), "4096 bits"),
        (np, "module"),
    ],
    ids=lambda value: re.sub("0x[0-9a-f]+", "0x", ascii(value))[:40],
)
def test_what_is_refused_names_run_parameter_and_type(value: Any, said: str) -> None:
    with pytest.raises(ParamError) as caught:
        to_json(7, {"good": 1, "a 'b'\n": value})
    assert str(caught.value).startswith("run 7, parameter \"a 'b'\\n\": ")
    assert said in str(caught.value)
    assert isinstance(caught.value, (UsageError, MultirunError, ValueError))


def test_names_must_be_text() -> None:
    with pytest.raises(ParamError, match=r"run 3: the parameter name 1 is of type int"):
        to_json(3, {1: 2})  # type: ignore[dict-item]
    assert json.loads(to_json(0, {Word.ONE: 1})) == {"one": 1}
    assert json.loads(to_json(0, {"inner": {Word.ONE: 1}})) == {"inner": {"one": 1}}


@pytest.mark.parametrize("params", [None, [("a", 1)], "a=1", 5])
def test_parameters_must_be_a_mapping(params: Any) -> None:
    with pytest.raises(ParamError, match="run 2: parameters must be a mapping"):
        to_json(2, params)


def test_a_mapping_of_whatever_class() -> None:
    class Lazy(Mapping[str, int]):
        def __getitem__(self, name: str) -> int:
            return {"a": 1}[name]

        def __iter__(self) -> Any:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    assert to_json(0, Lazy()) == '{"a": 1}'


def test_depth_is_limited_and_cycles_end() -> None:
    deep: list[Any] = []
    for _ in range(60):
        deep = [deep]
    assert converted(deep) == deep
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (cycle, [[deep] * 2] * 3):
        with pytest.raises(ParamError, match="levels deep"):
            to_json(0, {"p": [[value]]})


def test_undecodable_paths_keep_their_bytes() -> None:
    path = pathlib.Path("/a/\udcff")
    assert converted(path) == "/a/\udcff"


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain, max_size=5), st.randoms(use_true_random=False))
def test_identity_does_not_depend_on_the_order_of_names(
    params: dict[str, Any], moments: Any
) -> None:
    names = list(params)
    moments.shuffle(names)
    shuffled = {name: params[name] for name in names}
    assert identity(to_json(0, params)) == identity(to_json(1, shuffled))


def test_identity_tells_values_apart() -> None:
    values: list[Any] = [1, 1.0, True, "1", [1], None, "", {}, [], 0, False, -0.0, 0.0, {"1": 1}]
    digests = {identity(to_json(0, {"p": value})) for value in values}
    assert len(digests) == len(values)
    assert {len(digest) for digest in digests} == {16}
    assert identity(to_json(0, {"p": [1, 2]})) != identity(to_json(0, {"p": [2, 1]}))
    assert identity(to_json(0, {"p": np.arange(2)})) == identity(to_json(0, {"p": (0, 1)}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        ("", ""),
        (1, "1"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        ([1, "x"], '[1, "x"]'),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_text_for_commands_and_environments(value: Any, text: str) -> None:
    assert to_text(value) == text
