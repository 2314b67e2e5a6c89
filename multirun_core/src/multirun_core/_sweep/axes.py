"""The axes that the parameters of a sweep span, and where on them each run lies."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

_SPARSE = 4  # a grid with more points than so many for each run is none


class Dimension(Enum):
    """A dimension that is no parameter."""

    RUN = "run"
    REPEAT = "repeat"


Axis: TypeAlias = str | Dimension


class Axes(NamedTuple):
    """How runs lie.

    Attributes:
        sizes: the length of each dimension: of the parameters that span a grid, and of `REPEAT`
            where some runs have equal parameters; or of `RUN` alone.
        labels: for each parameter that varies, the dimension that it varies along, and its values
            there; None where a run has it not.
        constants: the parameters that all runs have alike.
        places: where each run lies: an index along each dimension.
    """

    sizes: dict[Axis, int]
    labels: dict[str, tuple[Axis, list[Any]]]
    constants: dict[str, Any]
    places: list[tuple[int, ...]]


def find_axes(params: Sequence[Mapping[str, Any]]) -> Axes:
    """Find the axes of parameter sets.

    Parameters with more than one value span a grid, if every set has them and the grid has not
    many more points than there are sets. A parameter that follows from another is no axis of its
    own but has its values along that one's: the wind that belongs to each case. Where all follow
    from one, and where there is no grid, there is one dimension, `Dimension.RUN`.
    """
    names = list(dict.fromkeys(name for one in params for name in one))
    codes = {name: _codes(name, params) for name in names}
    varying = [name for name in names if len(set(codes[name])) > 1]
    constants = {name: params[0][name] for name in names if name not in varying}
    leaders = _leaders(varying, codes)
    own = [name for name in varying if leaders[name] == name]
    everywhere = all(name in one for name in varying for one in params)
    if own and everywhere and (len(own) > 1 or own == varying):
        grid = _grid(own, leaders, params, codes)
        if math.prod(grid.sizes.values()) <= _SPARSE * len(params):
            return grid._replace(constants=constants)
    labels: dict[str, tuple[Axis, list[Any]]] = {
        name: (Dimension.RUN, [one.get(name) for one in params]) for name in varying
    }
    return Axes({Dimension.RUN: len(params)}, labels, constants, [(n,) for n in range(len(params))])


def _codes(name: str, params: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return a number for each value of a parameter, equal for equal ones, from 0."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(_key(one, name), len(seen)) for one in params]


def _key(one: Mapping[str, Any], name: str) -> Hashable:
    if name not in one:
        return None
    value = one[name]
    if _is_number(value):
        return ("number", value)  # 1 and 1.0 are one place on an axis
    return json.dumps(value, sort_keys=True)


def _leaders(varying: Sequence[str], codes: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Return for each parameter the one that it follows from; itself where there is none."""
    counts = {name: len(set(codes[name])) for name in varying}
    # What follows has no more values than what it follows from; of two that follow from each
    # other, the first one leads.
    ordered = sorted(varying, key=lambda name: -counts[name])
    own: list[str] = []
    leaders: dict[str, str] = {}
    for name in ordered:
        leaders[name] = name
        for leader in own:
            if len(set(zip(codes[leader], codes[name], strict=True))) == counts[leader]:
                leaders[name] = leader
                break
        else:
            own.append(name)
    return leaders


def _grid(
    own: Sequence[str],
    leaders: Mapping[str, str],
    params: Sequence[Mapping[str, Any]],
    codes: Mapping[str, Sequence[int]],
) -> Axes:
    sizes: dict[Axis, int] = {}
    labels: dict[str, tuple[Axis, list[Any]]] = {}
    along: list[list[int]] = []
    for axis in own:
        example: dict[int, Mapping[str, Any]] = {}  # a parameter set for each value
        for code, one in zip(codes[axis], params, strict=True):
            example.setdefault(code, one)
        order = list(example)
        if all(_is_number(one[axis]) for one in example.values()):
            order.sort(key=lambda code: example[code][axis])
        rank = {code: place for place, code in enumerate(order)}
        along.append([rank[code] for code in codes[axis]])
        sizes[axis] = len(order)
        for name, leader in leaders.items():
            if leader == axis:
                labels[name] = (axis, [example[code][name] for code in order])
    places = list(zip(*along, strict=True))
    times: Counter[tuple[int, ...]] = Counter()
    repeats: list[int] = []
    for place in places:
        repeats.append(times[place])
        times[place] += 1
    if any(repeats):
        sizes[Dimension.REPEAT] = max(repeats) + 1
        places = [(*place, repeat) for place, repeat in zip(places, repeats, strict=True)]
    return Axes(sizes, labels, {}, places)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
