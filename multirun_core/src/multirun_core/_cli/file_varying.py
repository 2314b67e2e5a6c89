"""What varies, in a sweep file: `table`, `[parameters]`, `[zip]`, `[sample]`, `seeds`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from multirun_core._cli.params import Values, stepped
from multirun_core._cli.toml_lines import Key
from multirun_core._cli.toml_reader import TomlReader, dotted
from multirun_core._cli.varying import Varying
from multirun_core._model.sets import SampleMethod
from multirun_core._model.sets import zipped as zip_columns
from multirun_core._model.tables import read_table
from multirun_core.errors import UsageError


class VaryingReader(TomlReader):
    """Reads what varies.

    Attributes:
        partial: whether a profile is looked at by itself, which need not say all.
    """

    partial = False

    def varying(self, data: Mapping[str, Any]) -> Varying:
        """Return what varies."""
        varying = Varying()
        if "table" in data:
            try:
                varying.rows = read_table(self.place(self.text_at(data, ("table",))))
            except UsageError as error:
                self.fail(("table",), str(error))
        varying.zipped = {
            name: list(self._listed(("zip", name), values))
            for name, values in self.table(data, ("zip",)).items()
        }
        varying.grid = {
            name: self._listed(("parameters", name), values)
            for name, values in self.table(data, ("parameters",)).items()
        }
        self._sample(data, varying)
        if "seeds" in data:
            varying.repeats = self.count(data, ("seeds",))
        self._check_names(varying)
        try:
            zip_columns(**varying.zipped)
        except UsageError as error:
            self.fail(("zip",), str(error))
        return varying

    def _check_names(self, varying: Varying) -> None:
        places: dict[str, Key] = {}
        columns = dict.fromkeys(name for row in varying.rows or () for name in row)
        for above, names in (
            (("table",), columns),
            (("zip",), varying.zipped),
            (("sample", "parameters"), varying.space),
            (("parameters",), varying.grid),
        ):
            for name in names:
                if name in places:
                    self.fail((*above, name), f"the parameter is in {dotted(places[name])} too")
                places[name] = above
        if varying.repeats is not None and varying.repeat_name in places:
            where = dotted(places[varying.repeat_name])
            self.fail(("seeds",), f"they are the parameter seed, which is in {where} too")

    def _sample(self, data: Mapping[str, Any], varying: Varying) -> None:
        table = self.table(data, ("sample",))
        self.only(table, ("sample",), ["points", "method", "seed", "parameters"])
        if not table:
            return
        space = self.table(table, ("parameters",), ("sample",))
        varying.space = {
            name: self._space(("sample", "parameters", name), values)
            for name, values in space.items()
        }
        if not space and not self.partial:
            self.fail(("sample",), "it needs [sample.parameters], what to draw from")
        if "points" in table:
            varying.points = self.count(table, ("points",), ("sample",))
        elif not self.partial:
            self.fail(("sample",), "it needs points = N, the number of points to draw")
        if "seed" in table:
            varying.seed = self.count(table, ("seed",), ("sample",))
        method = table.get("method")
        if method is not None and method not in get_args(SampleMethod):
            self.fail(("sample", "method"), f"it is {method!r}; write lhs, sobol or random")
        varying.method = method

    def _listed(self, key: Key, values: Any) -> Values:
        """Return the values of a parameter: one, a list of them, or numbers in equal steps."""
        if not isinstance(values, dict):
            return self._values(key, values)
        table = self._ends(key, values)
        if "step" not in table and "points" not in table:
            self.fail(key, "it needs a step, or points, the number of points from end to end")
        return self._numbers(key, table)

    def _space(self, key: Key, values: Any) -> Values:
        """Return what to draw a parameter from."""
        if not isinstance(values, dict):
            return self._values(key, values)
        table = self._ends(key, values)
        if "step" in table or "points" in table:
            return self._numbers(key, table)
        if table["from"] > table["to"]:
            self.fail(key, "its low end is above its high end")
        return table["from"], table["to"]

    def _values(self, key: Key, values: Any) -> list[Any]:
        found: list[Any] = values if isinstance(values, list) else [values]  # pyright: ignore[reportUnknownVariableType]
        if not found:
            self.fail(key, "it has no value")
        return found

    def _ends(self, key: Key, values: Any) -> dict[str, Any]:
        table = cast("dict[str, Any]", values)
        if not {"from", "to"} <= set(table):
            self.fail(
                key,
                "a table stands for numbers, as in { from = 0, to = 1, step = 0.1 }; a value that "
                "is a table itself goes in a list, as in [{ … }]",
            )
        self.only(table, key, ["from", "to", "step", "points"])
        for name, value in table.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.fail((*key, name), f"it is {value!r}, which is no number")
        return table

    def _numbers(self, key: Key, table: Mapping[str, Any]) -> list[Any]:
        start, stop = table["from"], table["to"]
        if "points" in table:
            count = self.count(table, ("points",), key)
            if count < 2 or "step" in table:
                self.fail((*key, "points"), "it must be 2 or more, and there must be no step")
            width = (stop - start) / (count - 1)
            return [*(start + width * number for number in range(count - 1)), stop]
        try:
            return stepped(repr(start), repr(stop), repr(table["step"]))
        except UsageError as error:
            self.fail(key, str(error))
