"""Parameters on the command line: `-p NAME=VALUES`.

A value is a number, `true`, `false` or `null` as in JSON (`.5` and `1.` are numbers too), JSON in
whole where it starts with `"`, `[` or `{`, and text otherwise. So `-p 'name="a,b"'` is one text
with a comma, and `-p 'id="1"'` is the text 1. `START:STOP:STEP`, three numbers, is every number
from START to STOP, counted in decimal arithmetic; STOP is one of them where it is hit.
`LOW..HIGH`, two numbers and nothing else, is all numbers between, of which a sample is drawn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from multirun_core._model.tables import NUMBER, plain_value
from multirun_core.errors import UsageError

Values: TypeAlias = list[Any] | tuple[float, float]
"""A list of values, or the two ends of a range to draw from."""

_IS_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_IS_RANGE = re.compile(rf"({NUMBER}):({NUMBER}):({NUMBER})")
_IS_SPAN = re.compile(rf"\s*({NUMBER})\.\.({NUMBER})\s*")
_DECODER = json.JSONDecoder()
_MAX_RANGE = 10_000_000


def parse_values(text: str) -> Values:
    """Return the values of one `-p`.

    Raises:
        UsageError: a value is empty or half JSON, or a range leads nowhere.
    """
    if span := _IS_SPAN.fullmatch(text):
        return plain_value(span[1]), plain_value(span[2])
    values: list[Any] = []
    position = 0
    while True:
        item, end = _next_item(text, position)
        values += item
        if end >= len(text):
            return values
        position = end + 1


def parse_param(text: str) -> tuple[str, Values]:
    """Split `NAME=VALUES` and convert the values.

    Raises:
        UsageError: it does not read so.
    """
    name, separator, values = text.partition("=")
    if not separator or not name.strip():
        raise UsageError(f"-p {text!r} must read NAME=VALUES, as in -p mass=1,2,5")
    try:
        return name.strip(), parse_values(values)
    except UsageError as problem:
        raise UsageError(f"-p {text!r}: {problem}") from None


def _next_item(text: str, position: int) -> tuple[list[Any], int]:
    """Return the values of the item at a position, and where its comma or the end is."""
    while position < len(text) and text[position].isspace():
        position += 1
    if text[position : position + 1] in ('"', "[", "{"):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            raise UsageError(
                f"{text[position:]!r} starts like JSON but is none; a text that starts so is "
                "written as a JSON string, as in 'name=\"[abc]\"'"
            ) from None
        while end < len(text) and text[end].isspace():
            end += 1
        if end < len(text) and text[end] != ",":
            raise UsageError(f"a comma must follow {text[position:end]!r}, not {text[end:]!r}")
        return [value], end
    comma = text.find(",", position)
    end = len(text) if comma < 0 else comma
    item = text[position:end].strip()
    if not item:
        raise UsageError('a value is empty; an empty text is written "", as in \'name=""\'')
    if _IS_SPAN.fullmatch(item):
        raise UsageError(
            f"{item} is a range to draw from, which stands alone; a text that looks like this is "
            f"written '\"{item}\"'"
        )
    match = _IS_RANGE.fullmatch(item)
    if match is None:
        return [plain_value(item)], end
    advice = f"; a text that looks like this is written '\"{item}\"'"
    return stepped(match[1], match[2], match[3], advice), end


def stepped(start_text: str, stop_text: str, step_text: str, advice: str = "") -> list[Any]:
    """Return all numbers from a start to a stop, counted in decimal arithmetic.

    Raises:
        UsageError: they lead nowhere; ends with the advice.
    """
    texts = (start_text, stop_text, step_text)
    item = ":".join(texts)
    start, stop, step = (Decimal(text) for text in texts)
    if not step:
        raise UsageError(f"the range {item} has the step 0{advice}")
    if (stop - start) * step < 0:
        raise UsageError(f"the range {item} leads away from its end{advice}")
    count = int((stop - start) / step) + 1
    if count > _MAX_RANGE:
        raise UsageError(f"the range {item} has {count} values; at most {_MAX_RANGE} will do")
    values = (start + step * number for number in range(count))
    if all(_IS_INTEGER.fullmatch(text) for text in texts):
        return [int(value) for value in values]
    return [float(value) for value in values]


def parse_params(texts: Sequence[str]) -> dict[str, Values]:
    """Convert all `-p` in their order.

    Raises:
        UsageError: one is wrong, or a name is given twice.
    """
    found: dict[str, Values] = {}
    for text in texts:
        name, values = parse_param(text)
        if name in found:
            raise UsageError(f"-p {name} is given twice; write its values in one, as {name}=1,2")
        found[name] = values
    return found
