"""From text to a value of an annotated type, and whether a value is of one."""

from __future__ import annotations

import collections.abc
import inspect
import json
import os
import types
import typing
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin

_WORDS = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_NONE = ("none", "null")
_SEQUENCES = (
    list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable,
    collections.abc.Collection, collections.abc.Set, collections.abc.MutableSequence,
)  # fmt: skip
_CALLABLE: Any = collections.abc.Callable
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class ConversionError(ValueError):
    """Raised when a text cannot be converted; says what would do."""


def from_text(annotation: Any, text: str) -> Any:
    """Convert text to a type.

    Text, numbers, booleans (true, false, yes, no, on, off, 1, 0), "none", paths and the members of
    a `Literal` are written as they are; sequences with commas between, or as JSON; all else as
    JSON. Of a union, the first kind that fits is taken: none, literals, booleans, numbers,
    JSON, text.

    Raises:
        ConversionError: the text does not fit.
    """
    annotation = _plain(annotation)
    origin = get_origin(annotation) or annotation
    if annotation is Any or annotation is object:
        return _json_or_text(text)
    if origin in (Union, types.UnionType):
        return _from_union(get_args(annotation), text)
    if origin is Literal:
        return _from_literal(get_args(annotation), text)
    if annotation is None or annotation is type(None):
        if text.strip().lower() in _NONE:
            return None
        raise ConversionError("write none")
    if annotation is bool:
        return _from_bool(text)
    if annotation is int or annotation is float:
        return _from_number(annotation, text)
    if annotation is str:
        return text
    if inspect.isclass(annotation) and issubclass(annotation, PurePath):
        return annotation(text)
    if annotation is os.PathLike or origin is os.PathLike:
        return text
    if origin in _SEQUENCES:
        return _from_sequence(origin, get_args(annotation), text)
    value = _from_json(text)
    if not accepts(annotation, value):
        raise ConversionError("it is JSON of another kind")
    return value


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value is of a type, as far as that can be told; an unknown type takes anything."""
    annotation = _plain(annotation)
    origin = get_origin(annotation) or annotation
    arguments = get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(accepts(one, value) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return not isinstance(value, bool) and hasattr(value, "__index__")
    if annotation is float:
        return not isinstance(value, (bool, str)) and hasattr(value, "__float__")
    if annotation is str:
        return isinstance(value, str)
    if inspect.isclass(annotation) and issubclass(annotation, PurePath):
        return isinstance(value, (str, os.PathLike))
    if origin in _SEQUENCES:
        # What can be read only once is empty for the next who reads it.
        several = isinstance(value, collections.abc.Collection)
        return (several or origin is collections.abc.Iterable) and _is_sequence(arguments, value)
    if origin in _MAPPINGS:
        return _is_mapping(arguments, value)
    if origin is _CALLABLE:
        return callable(value)
    return True


def type_text(annotation: Any) -> str:
    """Return a type as one would write it."""
    if annotation is type(None):
        return "None"
    if inspect.isclass(annotation) and not get_args(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")


def _plain(annotation: Any) -> Any:
    """Take `Annotated`, `Final` and names of types away."""
    while True:
        if get_origin(annotation) is typing.Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _rank(annotation: Any) -> int:
    origin = get_origin(annotation) or annotation
    order: list[Any] = [type(None), None, Literal, bool, int, float]
    if origin in order:
        return order.index(origin)
    if origin in _MAPPINGS:
        return 7
    if origin is str:
        return 11
    if origin in _SEQUENCES:
        return 8
    return 10 if inspect.isclass(origin) and issubclass(origin, PurePath) else 9


def _from_union(members: tuple[Any, ...], text: str) -> Any:
    members = tuple(_plain(member) for member in members)
    for member in sorted(members, key=_rank):
        if (get_origin(member) or member) in _SEQUENCES and str in members and text[:1] != "[":
            continue  # a comma in a text makes no list of it
        try:
            return from_text(member, text)
        except ConversionError:
            continue
    raise ConversionError("it fits none of these")


def _from_literal(members: tuple[Any, ...], text: str) -> Any:
    for member in members:
        if text == str(member):
            return member
    raise ConversionError("write one of " + ", ".join(str(member) for member in members))


def _from_bool(text: str) -> bool:
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise ConversionError("write true or false") from None


def _from_number(kind: type[int] | type[float], text: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConversionError(f"write {what}") from None


def _from_sequence(origin: Any, arguments: tuple[Any, ...], text: str) -> Any:
    item: Any = arguments[0] if arguments else Any
    if text.lstrip().startswith("["):
        values = _from_json(text)
        if not isinstance(values, list) or not _is_sequence(arguments, values):
            raise ConversionError("its items are of another kind")
    else:
        values = [from_text(item, part.strip()) for part in text.split(",")] if text else []
    make: Any = origin if origin in (tuple, set, frozenset) else list
    return make(values)


def _is_sequence(arguments: tuple[Any, ...], value: Any) -> bool:
    if isinstance(value, (str, bytes, collections.abc.Mapping)):
        return False
    if not isinstance(value, collections.abc.Iterable):
        return False
    if not arguments or not isinstance(value, collections.abc.Collection):
        return True
    items: collections.abc.Collection[Any] = value  # pyright: ignore
    first: Any = arguments[0]
    if len(arguments) > 1 and arguments[-1] is not Ellipsis:
        return len(items) == len(arguments) and all(map(accepts, arguments, items))
    return all(accepts(first, one) for one in items)


def _is_mapping(arguments: tuple[Any, ...], value: Any) -> bool:
    if not isinstance(value, collections.abc.Mapping):
        return False
    items: collections.abc.Mapping[Any, Any] = value  # pyright: ignore
    return len(arguments) != 2 or all(
        accepts(arguments[0], key) and accepts(arguments[1], one) for key, one in items.items()
    )


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ConversionError("write it as JSON") from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
