"""Values that JSON has not, and how `results.json` carries them all the same.

Such a value is an object with the single name `$multirun`, which holds a list: what it is, and
what is needed to make it again.

| value | written as |
|---|---|
| NaN, infinities | `["float", "nan"]`, `"inf"`, `"-inf"` |
| complex number | `["complex", real, imaginary]`, each a number or one of these words |
| tuple | `["tuple", [item, …]]` |
| dict whose names are not all text, or that looks like a typed value | `["dict", [[k, v], …]]` |
| datetime, date, time | `["datetime", "2025-01-31T12:00:00+00:00"]`, and so on, as ISO 8601 |
| datetime in a zone of zoneinfo | `["datetime", text, "Europe/Zurich", fold]` |
| timedelta | `["timedelta", days, seconds, microseconds]` |
| numpy scalar | `["numpy.float32", 0.5]`; the word is numpy's name of the dtype, `str` for text |
| numpy array | `["array", "NAME"]`: the array NAME in `results.npz` |
| other numpy scalar | `["scalar", "NAME"]`: the only item of that array |

An instance of a dataclass is written as the object of its fields, and so comes back as a dict. All
else comes back equal and with its type. Tuples may be names of a dict where their items may.

An object with the name `$multirun` that holds anything but a list that begins with a text is just
what it says. `encode` never makes one: a dict that looks so is written as `["dict", …]`.

This runs in the user's job, on Python 3.8 and newer: it imports next to nothing, and numpy and
datetime never, since a program that posts their values has imported them. `_sweep.typed` reads
what this writes.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

MARK = "$multirun"
JSON_MEMBER = "results.json"  # the array of bytes in results.npz that holds the JSON

MAX_INT_BITS = 4096  # Python refuses to read integers of more than 4300 digits by default
MAX_DEPTH = 100  # a reader's stack is finite as well

NOT_FINITE = ("nan", "inf", "-inf")
NUMPY_NUMBERS = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_NAME_LENGTH = 100


class UnfitError(Exception):
    """Raised for a value that only a pickle can carry."""


def encode(value: Any) -> tuple[bytes, dict[str, Any]]:
    """Return a value as strict JSON in ASCII, and the arrays that it refers to by their names.

    Raises:
        UnfitError: the value, or a part of it, is of a kind that is not in the table above.
        Exception: a part of it misbehaves when it is looked at.
    """
    import json

    encoder = _Encoder()
    tree = encoder.tree(value, "", 0)
    return json.dumps(tree, allow_nan=False).encode("ascii") + b"\n", encoder.arrays


def save(text: bytes, arrays: dict[str, Any], file: BinaryIO) -> None:
    """Write arrays as .npz, and with them the JSON that refers to them."""
    import warnings

    import numpy

    members: Any = {JSON_MEMBER: numpy.frombuffer(text, "uint8"), **arrays}
    with warnings.catch_warnings():
        # Some names and numbers of columns take a format that numpy below 1.17 does not read.
        warnings.simplefilter("ignore", UserWarning)
        numpy.savez(file, **members)


class _Encoder:
    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self._within: set[int] = set()  # the containers that the present value is in
        self._numpy: Any = sys.modules.get("numpy")

    def tree(self, value: Any, path: str, depth: int) -> Any:
        """Return what stands for `value` in the JSON, `depth` levels down."""
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            return _unicode(value)
        if kind is float:
            return value if value - value == 0 else _typed("float", str(value))
        if kind is int:
            return _bounded(value)
        if kind is bool or value is None:
            return value
        if kind in (dict, list, tuple) or hasattr(kind, "__dataclass_fields__"):
            return self._container(value, kind, path, depth)
        if kind is complex:
            return _typed("complex", *_parts(value))
        numpy = self._numpy
        if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
            return self._of_numpy(value, kind, path)
        return _of_time(value, kind)

    def _container(self, value: Any, kind: Any, path: str, depth: int) -> Any:
        if depth >= MAX_DEPTH or id(value) in self._within:
            raise UnfitError
        self._within.add(id(value))
        try:
            if kind is list:
                return [
                    self.tree(item, f"{path}.{number}", depth + 1)
                    for number, item in enumerate(value)
                ]
            if kind is tuple:
                return _typed("tuple", self._items(value, path, depth + 3))
            return self._names(value if kind is dict else _fields(value, kind), path, depth)
        finally:
            self._within.remove(id(value))

    def _items(self, values: tuple[Any, ...], path: str, depth: int) -> list[Any]:
        return [self.tree(item, f"{path}.{number}", depth) for number, item in enumerate(values)]

    def _names(self, values: dict[Any, Any], path: str, depth: int) -> Any:
        if all(type(name) is str for name in values) and not (len(values) == 1 and MARK in values):
            return {
                _unicode(name): self.tree(item, f"{path}.{name}", depth + 1)
                for name, item in values.items()
            }
        if not all(map(_is_name, values)):
            raise UnfitError
        pairs = [
            [self.tree(name, "", depth + 4), self.tree(item, f"{path}.{name}", depth + 4)]
            for name, item in values.items()
        ]
        return _typed("dict", pairs)

    def _of_numpy(self, value: Any, kind: Any, path: str) -> Any:
        numpy = self._numpy
        if kind is numpy.ndarray:
            return _typed("array", self._stored(value, path))
        if kind is numpy.str_:
            return _typed("numpy.str", _unicode(str(value)))
        if kind is not value.dtype.type:
            raise UnfitError  # a class of one's own, or a second C type of the same size
        name = value.dtype.name
        if name in NUMPY_NUMBERS:
            plain = value.item()
            what = _parts(plain) if name.startswith("complex") else [_part(plain)]
            return _typed(f"numpy.{name}", *what)
        if kind in (numpy.datetime64, numpy.timedelta64):
            text = _of_numpy_time(numpy, value)
            if text is not None:
                return _typed(f"numpy.{name}", text)
        if kind is numpy.bytes_ and value[-1:] == b"\0":
            raise UnfitError  # an array takes it for padding
        return _typed("scalar", self._stored(numpy.asarray(value), path))

    def _stored(self, array: Any, path: str) -> str:
        if not _is_storable(self._numpy, array.dtype):
            raise UnfitError
        name = path[1:]
        # These become names of arguments and of members of a zip file.
        fine = name.isascii() and name.replace(".", "_").isidentifier()
        if not fine or len(name) > _NAME_LENGTH or name in ("file", "allow_pickle"):
            name = "array"
        plain, count = name, 1
        while name in self.arrays or name == JSON_MEMBER:
            count += 1
            name = f"{plain}_{count}"
        self.arrays[name] = array
        return name


def _typed(*what: Any) -> dict[str, Any]:
    return {MARK: list(what)}


def _unicode(text: str) -> str:
    """Refuse lone surrogates: JSON would join two of them to one character."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnfitError from None
    return text


def _bounded(number: int) -> int:
    if number.bit_length() > MAX_INT_BITS:
        raise UnfitError
    return number


def _part(number: Any) -> Any:
    return str(number) if type(number) is float and number - number != 0 else number


def _parts(number: complex) -> list[Any]:
    return [_part(number.real), _part(number.imag)]


def _of_numpy_time(numpy: Any, value: Any) -> str | None:
    """Return a datetime64 or timedelta64 as text; None where that would not bring it back."""
    if type(value) is numpy.timedelta64:
        return "NaT" if numpy.isnat(value) else str(int(value.astype("i8")))
    text = str(value)
    try:
        again = numpy.datetime64(text, numpy.datetime_data(value.dtype))
    except ValueError:  # some years are written but not read
        return None
    return text if again.tobytes() == value.tobytes() else None


def _is_name(name: Any) -> bool:
    """Whether a name of a dict comes back as one that is equal."""
    kind: Any = type(name)  # pyright: ignore[reportUnknownVariableType]
    if kind is tuple:
        return all(map(_is_name, name))
    return not hasattr(kind, "__dataclass_fields__")


def _fields(value: Any, kind: Any) -> dict[str, Any]:
    if issubclass(kind, (dict, list, tuple, set, frozenset, str, bytes, int, float, complex)):
        raise UnfitError  # more than its fields
    import dataclasses

    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _is_storable(numpy: Any, dtype: Any) -> bool:
    """Whether an array of this type comes back from a file that holds no pickle."""
    if dtype.hasobject or dtype.kind not in "biufcmMSUV" or dtype.metadata is not None:
        return False
    if dtype.subdtype is not None:
        return _is_storable(numpy, dtype.subdtype[0])
    if dtype.fields is None:
        return bool(numpy.dtype(dtype.str) == dtype)
    if not all(_is_storable(numpy, field[0]) for field in dtype.fields.values()):
        return False
    npy = numpy.lib.format
    return bool(npy.descr_to_dtype(npy.dtype_to_descr(dtype)) == dtype)


def _of_time(value: Any, kind: Any) -> dict[str, Any]:
    datetime = sys.modules.get("datetime")
    if datetime is None:
        raise UnfitError
    if kind is datetime.timedelta:
        return _typed("timedelta", value.days, value.seconds, value.microseconds)
    if kind is datetime.date:
        return _typed("date", value.isoformat())
    if kind not in (datetime.datetime, datetime.time):
        raise UnfitError
    what = [kind.__name__, value.isoformat()]
    zone = value.tzinfo
    if zone is not None and not _is_plain_offset(datetime, zone):
        zoneinfo = sys.modules.get("zoneinfo")
        if zoneinfo is None or type(zone) is not zoneinfo.ZoneInfo or kind is datetime.time:
            raise UnfitError
        if zone.key is None:
            raise UnfitError
        return _typed(*what, zone.key, value.fold)
    if value.fold:
        raise UnfitError
    return _typed(*what)


def _is_plain_offset(datetime: Any, zone: Any) -> bool:
    """Whether ISO 8601 says all of a time zone: it has a fixed offset and no name of its own."""
    fixed = datetime.timezone
    return type(zone) is fixed and repr(zone) == repr(fixed(zone.utcoffset(None)))
