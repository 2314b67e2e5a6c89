"""Describing what varies: grids, zipped columns, samples, seeds.

Each gives a `ParamSet`, which `multirun(runs=…)` takes as it is. `*` combines two of them: every
parameter set of the left with every one of the right, the right changing fastest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast, get_args, overload

from multirun_core.errors import UsageError

SampleMethod: TypeAlias = Literal["lhs", "sobol", "random"]


class ParamSet(Sequence[dict[str, Any]]):
    """Parameter sets that know their number and their axes, made one by one as they are asked for.

    Attributes:
        axes: the values of each parameter that varies by itself, in order; a parameter that
            varies together with others has no axis.
    """

    def __init__(
        self,
        length: int,
        item: Callable[[int], dict[str, Any]],
        names: Sequence[str],
        axes: Mapping[str, Sequence[Any]],
    ) -> None:
        """Use `grid`, `zipped`, `sample` or `seeds` to make one."""
        self._length = length
        self._item = item
        self.names = tuple(names)
        self.axes = dict(axes)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self._item(number) for number in range(self._length)[index]]
        if not -self._length <= index < self._length:
            raise IndexError(f"there are {self._length} parameter sets, and no number {index}")
        return self._item(index % self._length)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self._item, range(self._length))

    def __mul__(self, other: ParamSet) -> ParamSet:
        """Return every parameter set of this one with every one of the other.

        Raises:
            UsageError: a parameter is in both.
        """
        both = [name for name in self.names if name in other.names]
        if both:
            raise UsageError(f"the parameter {both[0]!r} is on both sides of *; rename one of them")
        size = len(other)
        return ParamSet(
            len(self) * size,
            lambda number: {**self[number // size], **other[number % size]},
            (*self.names, *other.names),
            {**self.axes, **other.axes},
        )

    def __repr__(self) -> str:
        shape = " x ".join(f"{name}: {len(values)}" for name, values in self.axes.items())
        return f"<{self._length} parameter sets{' of ' + shape if shape else ''}>"


def grid(**values: Iterable[Any]) -> ParamSet:
    """Return every combination of the values; the last parameter changes fastest.

    Args:
        values: the values of each parameter: `grid(mass=[1, 2], drag=[0.1, 0.2])`. Names that are
            no Python names go in by `**{"a name": […]}`.

    Raises:
        UsageError: the values of a parameter are no list.
    """
    axes = {name: _listed(name, given) for name, given in values.items()}
    sizes = [len(axis) for axis in axes.values()]

    def item(number: int) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        for name, size in zip(reversed(axes), reversed(sizes), strict=True):
            number, position = divmod(number, size)
            chosen[name] = axes[name][position]
        return {name: chosen[name] for name in axes}

    return ParamSet(math.prod(sizes) if axes else 0, item, list(axes), axes)


def zipped(**values: Iterable[Any]) -> ParamSet:
    """Return the first values of all parameters, then the second ones, and so on.

    Args:
        values: equally many values of each parameter: `zipped(mass=[1, 2], drag=[0.1, 0.2])`.

    Raises:
        UsageError: there are not equally many.
    """
    columns = {name: _listed(name, given) for name, given in values.items()}
    sizes = {len(column) for column in columns.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise UsageError(f"zipped needs equally many values of each parameter; there are {told}")
    return _of_columns(columns)


def seeds(n: int, seed: int = 0, name: str = "seed") -> ParamSet:
    """Return `n` seeds of independent random streams.

    They come from numpy's `SeedSequence`, whose streams do not overlap in practice, and are
    integers below 2**63, which any language can hold. More of them begin with the same ones: a
    sweep with `seeds(200)` resumes one with `seeds(100)`.

    Args:
        n: how many.
        seed: what they are derived from.
        name: the parameter that holds them.

    Raises:
        UsageError: numpy is not installed.
    """
    try:
        from numpy.random import SeedSequence
    except ImportError as error:
        raise UsageError(
            'seeds() needs numpy: pip install numpy (or "multirun-core[sampling]")'
        ) from error
    parent = SeedSequence(seed)
    values = [int(child.generate_state(1, "uint64")[0] >> 1) for child in parent.spawn(n)]
    return ParamSet(n, lambda number: {name: values[number]}, [name], {name: values})


def sample(
    n: int, seed: int, *, method: SampleMethod = "lhs", **space: tuple[float, float] | Sequence[Any]
) -> ParamSet:
    """Return `n` points of a space of parameters.

    The same arguments give the same points. With more of them, "sobol" and "random" begin with
    the same ones, and "lhs" does not.

    Args:
        n: how many points; "sobol" is balanced for powers of 2.
        seed: what the points are derived from.
        method: "lhs" for a Latin hypercube, "sobol" for a scrambled Sobol sequence (both by
            `scipy.stats.qmc`), "random" for independent points.
        space: for each parameter a range `(low, high)` of numbers, of which any may come, or a
            list (or `range`) of values to choose from.

    Raises:
        UsageError: a range or list makes no sense, or scipy is not installed.
    """
    return sample_space(n, seed, method, space)


def sample_space(
    n: int, seed: int, method: SampleMethod, space: Mapping[str, Sequence[Any]]
) -> ParamSet:
    """Do what `sample` does for parameters of any name.

    Raises:
        UsageError: a range or list makes no sense, or scipy is not installed.
    """
    if n < 0:
        raise UsageError(f"sample cannot make {n} points")
    scales = [_scale(name, given) for name, given in space.items()]
    rows: Sequence[Sequence[float]] = []
    if scales and n:
        rows = _unit_points(n, len(scales), seed, method)
    columns = {
        name: [scale(row[position]) for row in rows]
        for position, (name, scale) in enumerate(zip(space, scales, strict=True))
    }
    return _of_columns(columns)


def listed(rows: Sequence[Mapping[str, Any]]) -> ParamSet:
    """Return parameter sets that are there already, of a table say."""
    names = dict.fromkeys(name for row in rows for name in row)
    return ParamSet(len(rows), lambda number: dict(rows[number]), list(names), {})


def _of_columns(columns: Mapping[str, Sequence[Any]]) -> ParamSet:
    length = len(next(iter(columns.values()), ()))
    return ParamSet(
        length,
        lambda number: {name: column[number] for name, column in columns.items()},
        list(columns),
        columns if len(columns) == 1 else {},
    )


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    # A text would be taken apart into letters, and a dict lose its values: hardly what was meant.
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"the values of {name!r} are {values!r}; give a list of them, as in {name}=[{values!r}]"
        )
    return list(values)


def _scale(name: str, given: tuple[float, float] | Sequence[Any]) -> Callable[[float], Any]:
    """Return what makes a value of a number from 0 up to, but without, 1."""
    if isinstance(given, tuple):
        bounds: tuple[Any, ...] = given
        if len(bounds) != 2 or not all(_finite(bound) for bound in bounds):
            raise UsageError(
                f"{name}={given!r} must be a range (low, high) of two numbers, or a list of values"
            )
        low, high = float(bounds[0]), float(bounds[1])
        if low > high:
            raise UsageError(f"{name}={given!r} has its low end above its high end")
        return lambda unit: low + unit * (high - low)
    values = _listed(name, given)
    if not values:
        raise UsageError(f"{name}={given!r} has no value to choose")
    return lambda unit: values[min(int(unit * len(values)), len(values) - 1)]


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _unit_points(n: int, dimensions: int, seed: int, method: str) -> Sequence[Sequence[float]]:
    if method not in get_args(SampleMethod):
        raise UsageError(f"method is {method!r}; it must be 'lhs', 'sobol' or 'random'")
    if method == "random":
        chance = random.Random(seed)  # noqa: S311 - sampling, not cryptography
        return [[chance.random() for _ in range(dimensions)] for _ in range(n)]
    try:
        from numpy.random import default_rng
        from scipy.stats import qmc
    except ImportError as error:
        raise UsageError(
            f'sample(method={method!r}) needs scipy: pip install "multirun-core[sampling]"; '
            "method='random' needs nothing"
        ) from error
    if method == "lhs":
        points = qmc.LatinHypercube(dimensions, rng=default_rng(seed)).random(n)
    else:
        engine = qmc.Sobol(dimensions, rng=default_rng(seed))
        # All points up to the next power of 2: scipy warns of any other number.
        points = engine.random_base2(max(0, math.ceil(math.log2(n))))[:n]
    return cast("Sequence[Sequence[float]]", points.tolist())
