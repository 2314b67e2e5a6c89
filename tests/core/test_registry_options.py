from __future__ import annotations

import collections.abc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._convert import ConversionError, accepts, from_text
from multirun_core._options import options_of, parse_option_text
from multirun_core._registry import LOCAL
from multirun_core._runners.spec import RunnerSpec
from multirun_core.errors import RunnerOptionError
from registry_tools import Simple, simple

if TYPE_CHECKING:
    from decimal import Decimal

Port = NewType("Port", int)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "12", 12), (int, "-3", -3), (float, "2.5", 2.5), (float, "1e3", 1000.0),
        (str, "12", "12"), (str, "", ""), (str, "a=b,c", "a=b,c"),
        (bool, "true", True), (bool, "No", False), (bool, "1", True), (bool, "off", False),
        (None, "none", None), ((int | None), "none", None), (int | None, "7", 7),
        (float | None, "7", 7.0), (float | None, "null", None), (str | None, "x", "x"),
        (int | Literal["auto"], "auto", "auto"), (int | Literal["auto"], "8", 8),
        (Literal[1, 2], "2", 2), (bool | int, "2", 2), (bool | int, "true", True),
        (int | str, "x1", "x1"), (int | str, "1", 1), (int | float, "1", 1),
        (list[int], "1,2, 3", [1, 2, 3]), (list[str], "a,b", ["a", "b"]), (list[str], "", []),
        (list[str], '["a,b", "c"]', ["a,b", "c"]), (Sequence[str], "a", ["a"]),
        (tuple[int, ...], "1,2", (1, 2)), (set[int], "[1, 1]", {1}),
        (str | list[str], "a,b", "a,b"), (str | list[str], '["a"]', ["a"]),
        (list[str] | None, "none", None), (Path, "/a b", Path("/a b")),
        (Mapping[str, str], '{"A": "1"}', {"A": "1"}), (dict[str, int] | None, "null", None),
        (Any, "3", 3), (Any, "abc", "abc"), (Annotated[int, "x"], "3", 3), (Port, "22", 22),
        (Path | None, "x", Path("x")), (list[dict[str, int]], '[{"a": 1}]', [{"a": 1}]),
    ],
)  # fmt: skip
def test_text_is_converted_by_type(annotation: Any, text: str, value: Any) -> None:
    converted = from_text(annotation, text)
    assert converted == value
    assert type(converted) is type(value)
    assert accepts(annotation, converted)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "2.5"), (int, "x"), (int, ""), (float, "x"), (bool, "maybe"), (None, "0"),
        (Literal["auto"], "manual"), (int | Literal["auto"], "manual"), (list[int], "1,x"),
        (list[int], '["a"]'), (list[int], "[1"), (Mapping[str, str], "A=1"), (dict[str, str], "3"),
        (int | None, "x"), (tuple[int, int], "[1, 2, 3]"),
    ],
)  # fmt: skip
def test_text_that_does_not_fit_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(ConversionError):
        from_text(annotation, text)


KINDS: list[Any] = [int, float, bool, list[int], dict[str, int], int | None, Any, str]
KINDS += [int | Literal["auto"], list[str] | None, Path | None]


@given(st.text(), st.sampled_from(KINDS))
def test_any_text_is_converted_or_refused(text: str, annotation: Any) -> None:
    try:
        value = from_text(annotation, text)
    except ConversionError:
        return
    assert accepts(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (int, True, False), (int, 3, True), (int, 3.0, False), (float, 3, True),
        (float, "3", False),
        (bool, 1, False), (str, b"x", False), (list[str], "abc", False), (list[str], ["a"], True),
        (list[str], ("a",), True), (list[str], [1], False), (Sequence[str], {"a": 1}, False),
        (Mapping[str, str], {"a": "b"}, True), (Mapping[str, str], [], False), (Path, "x", True),
        (Path, 3, False), (Literal["a", 1], 1, True), (Literal["a", 1], True, False),
        (int | None, None, True), (Any, object(), True), (tuple[int, str], (1, "a"), True),
        (tuple[int, str], (1, 2), False), (collections.abc.Callable[[], None], 3, False),
        (collections.abc.Callable[[], None], print, True), (Mapping[str, float], {"a": "b"}, False),
        (Mapping[str, float], {1: 2.0}, False), (Mapping[str, float], {"a": 2}, True),
        (dict, {1: 2}, True), (Sequence[str], iter("ab"), False), (Iterable[str], iter("a"), True),
    ],
)  # fmt: skip
def test_what_a_type_accepts(annotation: Any, value: Any, fits: bool) -> None:
    assert accepts(annotation, value) is fits


def test_options_are_read_from_signature_and_docstring() -> None:
    options = options_of(Simple)
    assert not options.open
    hosts, depth, note = options.known.values()
    assert (hosts.name, hosts.annotation, hosts.type_text) == ("hosts", list[str], "list[str]")
    assert hosts.required
    assert hosts.help == "where to; one line and another one."
    assert (depth.default, depth.required, depth.help) == (1, False, "how deep.")
    assert note.help == ""


def test_options_of_the_local_runner_are_all_explained() -> None:
    options = options_of(LOCAL.load())
    assert [*options.known] == [
        "max_parallel", "timeout", "retries", "retry_delay", "env", "grace",
        "cpus_per_run", "pin", "gpus", "memory_per_run", "memory_limit", "warm", "preload",
    ]  # fmt: skip
    assert all(option.help for option in options.known.values())
    assert options.known["env"].annotation == Mapping[str, str] | None
    assert options.known["max_parallel"].annotation == int | Literal["auto"]


class Base(Simple):
    """Has options of its own and those of its base."""

    def __init__(self, *args: Any, extra: float = 0.5, **options: Any) -> None:
        """Make one.

        Args:
            extra: what is more.
            **options: see `Simple`.
        """
        super().__init__(**options)


def test_options_of_base_classes_count_where_they_are_passed_on() -> None:
    options = options_of(Base)
    assert [*options.known] == ["extra", "hosts", "depth", "note"]
    assert options.known["extra"].help == "what is more."
    assert not options.open


def test_a_function_that_takes_anything_is_open() -> None:
    def make(level: int = 1, unknown: Decimal | None = None, **more: Any) -> Simple:
        return Simple(hosts=[])

    options = options_of(make)
    assert options.open
    assert options.known["unknown"].annotation is Any
    assert options.known["unknown"].type_text == "Decimal | None"
    spec = RunnerSpec("open", make)
    assert parse_option_text(spec, "level=3") == ("level", 3)
    assert parse_option_text(spec, "other=[1]") == ("other", [1])


def test_option_texts_of_the_local_runner() -> None:
    assert parse_option_text(LOCAL, "max_parallel=auto") == ("max_parallel", "auto")
    assert parse_option_text(LOCAL, "max-parallel=8") == ("max_parallel", 8)
    assert parse_option_text(LOCAL, "timeout=none") == ("timeout", None)
    assert parse_option_text(LOCAL, 'env={"A": "x=y"}') == ("env", {"A": "x=y"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("depth", "must read NAME=VALUE"),
        ("=3", "must read NAME=VALUE"),
        ("dept=3", "no option 'dept'. Did you mean 'depth'"),
        ("depth=x", "'x' is not of the type int .write a whole number"),
    ],
)
def test_wrong_option_texts_are_explained(text: str, said: str) -> None:
    with pytest.raises(RunnerOptionError, match=said):
        parse_option_text(simple(), text)
