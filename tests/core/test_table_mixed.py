"""Tables of runs with whatever parameters and results, next to a table made in the plainest way."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._sweep import results
from multirun_core._sweep.table import build_columns, write_csv

from multirun_core import ResultsError, Run

from .table_runs import make_runs

FACTS = ["status", "reason", "exit_code", "attempts", "host", "started", "duration"]
FACTS += ["cpu_seconds", "max_rss_bytes"]


class Marked(dict[Any, Any]):
    """A dict of another type."""


names = st.sampled_from(["x", "y", "x.y", "index", "host", "result", "param.x"])
leaves = st.none() | st.integers() | st.booleans() | st.text(max_size=2) | st.just([1, {"x": 2}])
parts = st.recursive(
    leaves,
    lambda inner: st.dictionaries(
        names | st.sampled_from([1, ("x", "y")]), inner, max_size=3
    ).flatmap(lambda one: st.sampled_from([one, Marked(one)])),
    max_leaves=6,
)
pairs = st.lists(
    st.tuples(
        st.dictionaries(names, leaves, max_size=3),
        parts | st.just(ResultsError("unreadable")),
    ),
    max_size=8,
)


def spread(result: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(result, dict) and (result or not above):
        for key, part in result.items():
            yield from spread(part, (*above, key))
    elif above or result is not None:
        yield above, result


def plain_table(pairs: list[tuple[dict[str, Any], Any]]) -> dict[str, list[Any]]:
    """Make the parts of the table that are not facts, cell by cell."""
    taken = {"index", *FACTS, "result_error"}
    kinds: dict[str, list[dict[tuple[Any, ...], Any]]] = {
        "param": [{(key,): value for key, value in params.items()} for params, _ in pairs],
        "result": [dict(() if isinstance(r, Exception) else spread(r)) for _, r in pairs],
    }
    table: dict[str, list[Any]] = {}
    for kind, rows in kinds.items():
        for keys in dict.fromkeys(keys for row in rows for keys in row):
            name = ".".join(map(str, keys)) or "result"
            while name in taken:
                name = f"{kind}.{name}"
            taken.add(name)
            table[name] = [row.get(keys) for row in rows]
    return table


@given(pairs=pairs)
def test_runs_of_whatever_shapes(pairs: list[tuple[dict[str, Any], Any]]) -> None:
    runs = make_runs(*pairs)
    expected = plain_table(pairs)
    columns = build_columns(runs)
    own = ["index", *FACTS, "result_error"]
    found = {name: cells for name, cells in columns.items() if name not in own}
    assert repr(found) == repr(expected)  # as 1 == True
    assert columns["index"] == list(range(len(pairs)))
    assert columns["attempts"] == [0] * len(pairs)
    wrong = [str(result) if isinstance(result, Exception) else None for _, result in pairs]
    assert columns["result_error"] == wrong
    count = len({name for params, _ in pairs for name in params})
    assert list(columns) == ["index", *[*expected][:count], *FACTS, *[*expected][count:], own[-1]]
    assert {len(cells) for cells in columns.values()} == {len(pairs)}
    file = io.StringIO()
    write_csv(runs, file)
    file.seek(0)
    assert next(csv.reader(file)) == list(columns)


@pytest.mark.parametrize("other", [np.timedelta64(1, "s"), np.int64(1), 2**70, Decimal(1)])
@pytest.mark.parametrize("one", [("a", "b"), np.timedelta64(2, "s"), np.int64(2)])
def test_keys_that_cannot_be_compared_have_columns_of_their_own(one: Any, other: Any) -> None:
    columns = build_columns(make_runs(({}, {one: 0.5}), ({}, {other: 1.5}), ({}, {one: 2.5})))
    assert columns[str(one)] == [0.5, None, 2.5]
    assert columns[str(other)] == [None, 1.5, None]


def test_the_result_is_looked_at_before_the_facts() -> None:
    runs = make_runs(({}, None), ({}, None))

    class Ending:
        """A keeper whose runs end while their results are looked at."""

        def result(self, run: Run) -> None:
            run.restore("success")

    for run in runs:
        run.keeper = Ending()  # type: ignore[assignment]
    assert build_columns(runs)["status"] == ["success", "success"]
    for run in runs:
        run.restore("running")
    file = io.StringIO()
    write_csv(runs, file)
    assert file.getvalue().count("success") == 2


@given(st.dictionaries(st.text(max_size=3) | st.just("$multirun"), st.integers() | st.text()))
def test_a_result_in_the_journal_is_that_of_the_file(result: dict[str, Any]) -> None:
    line = json.dumps(result)
    assert results.from_peek(line) == result
    assert results.from_peek(line.replace("m", "\\u006d")) == result


def test_typed_values_in_the_journal_are_made() -> None:
    for name in ("$multirun", "$\\u006dultirun"):
        assert results.from_peek(f'{{"z": {{"{name}": ["tuple", [1, 2]]}}}}') == {"z": (1, 2)}
