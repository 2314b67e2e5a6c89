"""Parameter values: what is taken, how it is converted, and what makes two runs the same.

Any JSON value is taken as it is. Converted are: numpy scalars (`item()`) and arrays (nested
lists), `numpy.datetime64` and `datetime`, `date`, `time` (ISO 8601 text), paths (text), `Enum`
members (their value), tuples (lists), and subclasses of `str`, `int`, `float` (their plain value).
Refused is all else, also durations (their unit would be lost), NaN, NaT and infinities, which JSON
(RFC 8259) cannot carry, and integers of more than 4096 bits, which many programs cannot read.
"""

from __future__ import annotations

import datetime
import enum
import json
import math
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias, cast

from multirun_core.errors import ParamError

ParamValue: TypeAlias = (
    bool | int | float | str | Sequence["ParamValue"] | Mapping[str, "ParamValue"] | None
)
ParamMap: TypeAlias = Mapping[str, ParamValue]

_MAX_DEPTH = 64
_MAX_INT_BITS = 4096  # Python itself refuses to read more than 4300 digits by default


class _RefusedError(Exception):
    """Carries why a value is refused up to where the run and the parameter are known."""


def to_json(index: int, params: Mapping[str, Any]) -> str:
    """Return the parameters of run `index` as JSON text, in the order given.

    Raises:
        ParamError: a name is not text, or a value is none of the kinds listed above.
    """
    if not isinstance(params, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ParamError(
            f"run {index}: parameters must be a mapping of names to values, "
            f"not {_type_name(params)}"
        )
    plain: dict[str, ParamValue] = {}
    for name, value in params.items():
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ParamError(
                f"run {index}: the parameter name {name!r} is {_type_name(name)}; it must be text"
            )
        try:
            # A subclass, an Enum say, may have a `str()` of its own.
            plain[str.__str__(name)] = _convert(value, 0)
        except _RefusedError as refused:
            raise ParamError(f"run {index}, parameter {name!r}: {refused}") from None
    return json.dumps(plain)


def identity(params_json: str) -> bytes:
    """Return a digest (16 bytes) that is the same for equal parameters in any order of names."""
    canonical = json.dumps(json.loads(params_json), sort_keys=True, separators=(",", ":"))
    return blake2b(canonical.encode(), digest_size=16).digest()


def to_text(value: ParamValue) -> str:
    """Return a value as commands and environments have it: text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)  # as json has it, in a tenth of the time
    return json.dumps(value)


def _convert(value: Any, depth: int) -> ParamValue:
    kind = cast("type[object]", type(value))
    if value is None or kind is bool or kind is str:
        return cast(ParamValue, value)
    if kind is int:
        if value.bit_length() > _MAX_INT_BITS:
            raise _RefusedError(f"it is an integer of more than {_MAX_INT_BITS} bits")
        return cast(int, value)
    if kind is float:
        if not math.isfinite(value):
            raise _RefusedError(
                f"{value} is not a JSON number; pass None or a text such as {str(value)!r} instead"
            )
        return cast(float, value)
    if depth >= _MAX_DEPTH:
        raise _RefusedError(f"it is nested more than {_MAX_DEPTH} levels deep")
    if kind is list or kind is tuple:
        return [_convert(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return _convert_mapping(cast(Any, value), depth)
    return _convert_other(value, depth)


def _convert_mapping(value: Mapping[Any, Any], depth: int) -> ParamValue:
    for name in value:
        if not isinstance(name, str):
            raise _RefusedError(f"the key {name!r} inside it is {_type_name(name)}, not text")
    return {str.__str__(name): _convert(item, depth + 1) for name, item in value.items()}


def _convert_other(value: Any, depth: int) -> ParamValue:
    if isinstance(value, enum.Enum):
        return _convert(value.value, depth + 1)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        if value != value:  # pandas.NaT is a datetime
            raise _RefusedError(f"{value} is no point in time; pass None or a text instead")
        return value.isoformat()
    if isinstance(value, os.PathLike):
        path: str | bytes = os.fspath(cast("os.PathLike[str] | os.PathLike[bytes]", value))
        return os.fsdecode(path)
    if type(value).__module__.partition(".")[0] == "numpy":
        return _convert_numpy(value, depth)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _convert(int.__int__(value), depth + 1)
    if isinstance(value, float):
        return _convert(float.__float__(value), depth + 1)
    if isinstance(value, (list, tuple)):
        return [_convert(item, depth + 1) for item in cast("Sequence[Any]", value)]
    raise _RefusedError(
        f"{_type_name(value)} cannot be stored as JSON; pass text, numbers, booleans, None, "
        "lists or mappings of these"
    )


def _convert_numpy(value: Any, depth: int) -> ParamValue:
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind == "M":
        if (value != value).any():
            raise _RefusedError("NaT is no point in time; pass None or a text instead")
        # `item()` of a nanosecond date is a bare integer; its text says what it is.
        return _convert(value.astype(str).tolist(), depth + 1)
    # `item()` of a duration in nanoseconds is a bare integer as well.
    if kind != "m" and hasattr(value, "tolist"):
        plain = value.tolist()
        if type(plain).__module__.partition(".")[0] != "numpy":
            return _convert(plain, depth + 1)
    raise _RefusedError(f"{_type_name(value)} cannot be stored as JSON")


def _type_name(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
    return f"of type {module}{kind.__qualname__}"
