"""`Varying`: what varies from run to run, as the command line and sweep files describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import mul
from typing import Any

from multirun_core._cli.params import Values
from multirun_core._model.sets import ParamSet, SampleMethod, grid, listed, sample_space, seeds
from multirun_core._model.sets import zipped as zip_columns
from multirun_core.errors import UsageError


@dataclass(slots=True, kw_only=True)
class Varying:
    """What varies. The parts are combined: the first changes slowest, the last fastest.

    Attributes:
        rows: a table with one row a run; None where there is none.
        zipped: columns that go side by side.
        space: what points are drawn from, if `points` says how many.
        points: how many; None where nothing is drawn.
        method: how they are drawn.
        grid: values of which every combination is taken.
        repeats: how many seeds each of all this gets; None for no seeds.
        repeat_name: the parameter that holds them.
        seed: what points and seeds are derived from.
    """

    rows: list[dict[str, Any]] | None = None
    zipped: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    space: dict[str, Values] = field(default_factory=dict[str, Values])
    points: int | None = None
    method: SampleMethod | None = None
    grid: dict[str, Values] = field(default_factory=dict[str, Values])
    repeats: int | None = None
    repeat_name: str = "seed"
    seed: int | None = None

    def override(self, params: Mapping[str, Values], *, draw: bool) -> None:
        """Take over parameters; one that is known already changes where it is.

        Args:
            params: their values.
            draw: whether new ones are to be drawn from, not only ranges.

        Raises:
            UsageError: it is in the table or goes side by side with others.
        """
        for name, values in params.items():
            if name in self.zipped:
                raise UsageError(
                    f"-p {name} is in [zip] of the sweep file, side by side with others; change it "
                    "there"
                )
            known = self.space if name in self.space else self.grid
            drawn = draw or (self.points is not None and isinstance(values, tuple))
            if name not in known and drawn:
                known = self.space
            known[name] = values

    def draw(self, points: int | None, method: SampleMethod | None, seed: int | None) -> None:
        """Draw so many points; where nothing was drawn yet, from all that made the grid."""
        if points is not None and self.points is None:
            self.space, self.grid = self.grid, {}
        if points is not None:
            self.points = points
        if method is not None:
            self.method = method
        if seed is not None:
            self.seed = seed

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return self.rows is None and not (self.zipped or self.space or self.grid or self.repeats)

    def build(self) -> ParamSet:
        """Return the parameter sets.

        Raises:
            UsageError: something makes no sense, or a parameter is in two parts.
        """
        self._check()
        parts: list[ParamSet] = []
        if self.rows is not None:
            parts.append(listed(self.rows))
        if self.zipped:
            parts.append(zip_columns(**self.zipped))
        if self.points is not None:
            parts.append(
                sample_space(self.points, self.seed or 0, self.method or "lhs", self.space)
            )
        if self.grid:
            parts.append(grid(**{name: list(values) for name, values in self.grid.items()}))
        if self.repeats is not None:
            parts.append(seeds(self.repeats, self.seed or 0, self.repeat_name))
        return reduce(mul, parts)

    def _check(self) -> None:
        if self.points is None:
            for name, values in self.grid.items():
                if isinstance(values, tuple):
                    low, high = values
                    raise UsageError(
                        f"{name}={low}..{high} is a range to draw from, which --sample N does; "
                        f"equal steps are written {name}=START:STOP:STEP"
                    )
            if self.method is not None:
                raise UsageError("--method is for --sample N, which is not given")
            if self.seed is not None and self.repeats is None:
                raise UsageError("--seed is for --sample N or --seeds N; neither is given")
        elif not self.space:
            raise UsageError("--sample needs what to draw from, as in -p mass=0.5..5 -p mode=a,b")
        for name, values in self.grid.items():
            if isinstance(values, tuple):
                raise UsageError(
                    f"{name} is a range to draw from; it belongs in [sample.parameters]"
                )
        self._check_names()

    def _check_names(self) -> None:
        places: dict[str, str] = {}
        parts: list[tuple[str, Sequence[str]]] = [
            ("the table of runs", list(dict.fromkeys(n for row in self.rows or () for n in row))),
            ("the columns side by side", list(self.zipped)),
            ("the sample", list(self.space)),
            ("the grid", list(self.grid)),
            ("the seeds", [self.repeat_name] if self.repeats is not None else []),
        ]
        for place, names in parts:
            for name in names:
                if name in places:
                    raise UsageError(
                        f"the parameter {name} is in {places[name]} and in {place} too; drop one"
                    )
                places[name] = place
