"""A journal is decoded in portions; that tells the same as one line after the other."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multirun_core._sweep import segment
from multirun_core._sweep.history import History

from multirun_core import JournalError


def one_by_one(path: Path) -> Iterator[Any]:
    """Read a segment as simply as can be."""
    *ended, torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(ended, 1):
        try:
            event = json.JSONDecoder().decode((line + b"\n").decode())
            if not isinstance(event, dict):
                raise ValueError("it is no JSON object")  # noqa: TRY004 - like the others
        except (ValueError, RecursionError) as error:
            if number == len(ended) and not torn:
                return
            raise JournalError(f"{path}, line {number} is damaged ({error})") from None
        yield event


def told(events: Iterable[Any]) -> tuple[list[str], str | None]:
    """Return the events, and what is said of the line where they end."""
    seen: list[str] = []
    try:
        for event in events:
            whole = {
                name: json.loads(value.json) if isinstance(value, segment.Text) else value
                for name, value in event.items()
            }
            seen.append(json.dumps(whole))
    except JournalError as error:
        return seen, str(error).partition(". If you know")[0]
    return seen, None


json_values = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("result"), inner),
    max_leaves=5,
)
objects = st.dictionaries(st.text() | st.sampled_from(["event", "params", "result"]), json_values)
# What only looks like a line, some of them only in company.
PARTS = [
    b'{"a": 1, "result": 22',
    b"", b" ", b"{}", b"{},{}", b'{"a": [{}', b"{}]}", b'{"a": [{', b'{"a": 1', b"}", b"1", b"[]",
    b"null", b"\0\0", b"\xff", b"\xef\xbb\xbf{}", b"\r", b'{"a": "', b'"}', b"{} {}", b" {} ",
    b'{"a": 1}, {"b": 2}', b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"a": ' + b"1" * 5000 + b"}", b'{, "result": 1}',
    b'{"a": 1, "result": 1, "result": {"b": 2}}', b'{"a": 1,, "result": 1}',
    b'{"a": {"b": 1, "result": 2}}', b'[{"a": 1, "result": 2}]', b'{"a": 1, "result": 2}]',
    b'{"a": 1, "result": {}},{"a": 1, "result": {}}', b'{"a": 1, "result": 1, "b": 2}',
    b'{"a": 1, "result": }', b'{"a": 1, "result": 1, 2}', b'{"a": 1}, {"b": 1, "result": 2}',
    b'{"a": 1, "result": 2} ', b'{"a": 1, "result": 2}}', b'{"a": ", \\"result\\": 1}"}',
    b'{"event": "run", "params": [{}], "params": {}}', b'{"event": "run", , "params": {}}',
    b'{"event": "run", "run": 0, "params": {"a": 1, "params": {}}}',
    b'{"event": "run", "run": 0, "params": {"a": 1}, "x": 2}',
    b'{"event": "run", "run": 0, "params": {}, "params": {"a": 1}}',
    b'{"event": "run", "run": 0, "params": {',
]  # fmt: skip
lines = (
    objects.map(lambda event: json.dumps(event).encode())
    | st.tuples(objects, json_values).map(
        lambda both: json.dumps({"event": "end", **both[0], "result": both[1]}).encode()
    )
    | objects.map(lambda params: json.dumps({"event": "run", "run": 0, "params": params}).encode())
    | st.sampled_from(PARTS)
    | st.binary(max_size=8)
)


@pytest.mark.parametrize("texts", [False, True])
@given(content=st.lists(lines).map(b"\n".join), portion=st.sampled_from([1, 90, 2**16]))
@example(content=b'{"a": [{}\n{}]}\n{},{}\n', portion=2**16)
@example(content=b'{"a": [{}\n{}]}\n{},{},{}\n', portion=2**16)
@example(content=b'{"a": 1}\n{, "result": 1}\n{}\n', portion=2**16)
@example(content=b'{"a": 1, "result": [1\n{"a": 1, "result": 1]}\n{}\n', portion=2**16)
@example(content=b"{}\n{}\n{}\n1\n{}\n", portion=1)
@example(content=b"{}\n{}\n\xff\n", portion=4)
@example(content=b'{"a": 1, "result": 2}', portion=2**16)
def test_portions_tell_the_same_as_single_lines(
    *, content: bytes, portion: int, texts: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("portions") / "0001.jsonl"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "_PORTION_BYTES", portion)
        assert told(segment.read(path, texts=texts)) == told(one_by_one(path))


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_a_strange_line_among_good_ones(number: int, tmp_path: Path) -> None:
    path = tmp_path / "0001.jsonl"
    good = b'{"event": "run", "run": 0, "params": {"a": 1}}\n{"event": "end", "result": {"b": 2}}\n'
    for other in PARTS:
        path.write_bytes(good + PARTS[number] + b"\n" + other + b"\n" + good)
        for texts in (False, True):
            assert told(segment.read(path, texts=texts)) == told(one_by_one(path))


class Growing(io.RawIOBase):
    """A file to which somebody writes while it is read: what each read(2) returns."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self.parts.pop(0) if self.parts else b""
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("portion", [1, 60, 2**16])
def test_a_line_that_is_being_written_is_left_for_the_next_time(
    portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "_PORTION_BYTES", portion)
    written = [b'{"event": "run", "run": %d, "params": {"x": 1}}\n' % run for run in range(5)]
    whole = b"".join(written)
    second = len(written[0]) + len(written[1])
    for cut in range(len(written[0]) + 1, second):  # the last one lacks the newline alone
        parts = [whole[:cut], b"", whole[cut:]]
        path: Any = SimpleNamespace(open=lambda _, parts=parts: io.BufferedReader(Growing(parts)))
        for event in segment.read(path):
            assert event["run"] == 0, cut


def test_what_drivers_write_is_read_in_portions_and_kept_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("it was read line by line")

    monkeypatch.setattr(segment, "_one_by_one", refuse)
    params, result = (
        '{"result": 1, "x": {"params": {}, "result": "ü\\u00fc"}}',
        '[1.50,{"result":2}]',
    )
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "0001.jsonl").write_text(
        '{"event": "driver"}\n'
        f'{{"event": "run", "run": 0, "params": {params}}}\n'
        '{"event": "start", "run": 0, "attempt": 1, "time": 1.5}\n'
        '{"event": "end", "run": 0, "attempt": 1, "status": "success", "message": "\\"result\\": ",'
        f' "result": {result}}}\n',
        "utf-8",
    )
    (run,) = History.read(tmp_path).runs
    assert (run.params_json, run.inline_result) == (params, result)
    assert run.params is not run.params


def test_an_event_that_fits_nothing_is_shown_whole(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "0001.jsonl").write_text('{"event": "end", "run": 5, "result": {"a": null}}\n')
    with pytest.raises(JournalError, match=r"'run': 5, 'result': \{'a': None\}\}"):
        History.read(tmp_path)
