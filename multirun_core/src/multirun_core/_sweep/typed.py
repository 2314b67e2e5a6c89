"""Making values of the typed ones in `results.json`; `_model.typed` says what they are."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

from multirun_core._model.typed import MARK, NOT_FINITE, NUMPY_NUMBERS

_MARK = MARK.encode()
_NUMPY_TIME = re.compile(r"(datetime64|timedelta64)(\[[0-9]*[a-zA-Z]+\])?")
_SHOWN = 80


class MissingNumpyError(Exception):
    """Raised where a value cannot be made for want of numpy."""


def may_have_types(data: bytes) -> bool:
    """Whether JSON may hold a typed value; False is certain, as any letter may be escaped."""
    return _MARK in data or b"\\u00" in data


def kind_of(value: Mapping[str, Any]) -> str | None:
    """Return the kind of a typed value; None for an object that is just what it says."""
    if len(value) != 1 or MARK not in value:
        return None
    match value[MARK]:
        case [str(kind), *_]:
            return kind
        case _:
            return None


def maker(array: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    """Return an `object_hook` for `json.loads` that makes values of typed ones.

    For a typed value that is malformed, or of a kind that is not known here, the hook raises
    ValueError, and where numpy is needed and not installed MissingNumpyError.

    Args:
        array: gives the array of a name.
    """

    def make(value: dict[str, Any]) -> Any:
        kind = kind_of(value)
        if kind is None:
            return value
        what = value[MARK][1:]
        try:
            if kind in ("array", "scalar"):
                (name,) = what
                return array(name) if kind == "array" else array(name)[()]
            if kind.startswith("numpy."):
                return _of_numpy(kind.removeprefix("numpy."), *what)
            return _MAKERS[kind](*what)
        except (TypeError, ValueError, LookupError, OverflowError, OSError) as error:
            raise ValueError(
                f"{{{MARK!r}: {str(value[MARK])[:_SHOWN]}}} is malformed, or unknown to this "
                f"version ({type(error).__name__}: {error})"
            ) from error

    return make


def _float(word: Any) -> float:
    if word not in NOT_FINITE:
        raise ValueError(word)
    return float(word)


def _number(part: Any) -> Any:
    return _float(part) if isinstance(part, str) else part


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(_number(real), _number(imaginary))


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple(_list(items))


def _dict(pairs: list[Any]) -> dict[Any, Any]:
    return {name: item for name, item in map(_list, _list(pairs))}


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(value)
    return value  # pyright: ignore[reportUnknownVariableType]


def _datetime(text: str, zone: str | None = None, fold: int = 0) -> datetime.datetime:
    made = datetime.datetime.fromisoformat(text)
    if zone is None:
        return made
    return made.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)


_MAKERS: Mapping[str, Callable[..., Any]] = {
    "float": _float,
    "complex": _complex,
    "tuple": _tuple,
    "dict": _dict,
    "datetime": _datetime,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": datetime.timedelta,
}


def _of_numpy(name: str, *what: Any) -> Any:
    """Make a scalar of numpy; where numpy is not installed, a number or text of Python."""
    if name in NUMPY_NUMBERS:
        plain: Any = _complex(*what) if name.startswith("complex") else _number(*what)
        if type(plain) not in (bool, int, float, complex):
            raise TypeError(plain)
    else:
        (plain,) = map(str, what)
    try:
        import numpy as np
    except ImportError as error:
        if name in NUMPY_NUMBERS or name == "str":
            return plain
        raise MissingNumpyError(error) from error
    if name in NUMPY_NUMBERS:
        made: Any = np.dtype(name).type(plain)
        if made != plain and made == made:
            raise ValueError(plain)
        return made
    return np.str_(plain) if name == "str" else _numpy_time(np, name, plain)


def _numpy_time(np: Any, name: str, text: str) -> Any:
    if not _NUMPY_TIME.fullmatch(name):
        raise ValueError(name)
    unit = np.datetime_data(np.dtype(name))
    if name.startswith("datetime64"):
        return np.datetime64(text, unit)
    return np.timedelta64("NaT" if text == "NaT" else int(text), unit)
