"""Sweep files: what `multirun run sweep.toml` reads; messages name key and line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args

from multirun_core._cli.common import seconds_of
from multirun_core._cli.params import Values, stepped
from multirun_core._cli.toml_lines import Key, line_of
from multirun_core._cli.varying import Varying
from multirun_core._model.sets import SampleMethod
from multirun_core._model.sets import zipped as zip_columns
from multirun_core._model.tables import read_table
from multirun_core.errors import MultirunError, UsageError

if TYPE_CHECKING:
    from multirun_core._model.files import FileResource


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be run, as a sweep file or the command line says.

    Attributes:
        cmd: the command; empty where none was given.
        inputs: the input files.
        output: the sweep's directory.
        varying: what varies.
        runner: the name of a runner.
        runner_options: its options.
        env: variables for the runs.
        rest: further arguments of `multirun`, by name.
    """

    cmd: list[str] = field(default_factory=list[str])
    inputs: list[FileResource] = field(default_factory=list["FileResource"])
    output: Path | None = None
    varying: Varying = field(default_factory=Varying)
    runner: str | None = None
    runner_options: dict[str, Any] = field(default_factory=dict[str, Any])
    env: dict[str, str] = field(default_factory=dict[str, str])
    rest: dict[str, Any] = field(default_factory=dict[str, Any])


def read_plan(path: Path, profile: str | None) -> Plan:
    """Read a sweep file.

    Args:
        path: the file; paths in it are relative to its directory.
        profile: which `[profile.NAME]` of it to lay over the rest.

    Raises:
        UsageError: the file cannot be read, or something in it makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"cannot read the sweep file {path}: {error}; multirun init writes one, and a command "
            "of that name goes after --"
        ) from error
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: it is no TOML: {error}") from error
    return _Reader(path, text, data).read(profile)


class _Reader:
    """Reads one file.

    It looks at the base and at all profiles, so that a slip in one that is not chosen now is found
    too.
    """

    def __init__(self, path: Path, text: str, data: dict[str, Any]) -> None:
        self._path = path
        self._text = text
        self._data = data
        self._at: Key = ()  # what keys are below: the whole file, or a profile
        self._partial = False  # whether the profile is looked at by itself

    def read(self, profile: str | None) -> Plan:
        profiles = self._table(self._data, ("profile",))
        base = {name: value for name, value in self._data.items() if name != "profile"}
        plan = self._plan(base)
        chosen: dict[str, Any] = {}
        for name in profiles:
            self._at = ("profile", name)
            self._partial = True
            layer = self._table(profiles, (name,))
            self._plan(layer)
            if name == profile:
                chosen = layer
        self._partial = False
        if profile is None:
            return plan
        if profile not in profiles:
            close = get_close_matches(profile, profiles, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            there = f"; it has {', '.join(profiles)}." if profiles else "; it has none."
            raise UsageError(f"{self._path} has no profile {profile!r}{there}{hint}")
        self._at = ("profile", profile)
        return self._plan(_laid_over(base, chosen))

    def fail(self, key: Key, problem: str) -> NoReturn:
        """Raise an error about a key, wherever it is: in the profile, or in what it lies over."""
        for whole in (self._at + key, key):
            line = line_of(self._text, whole)
            if line is not None:
                raise UsageError(f"{self._path}, line {line}: {_dotted(whole)}: {problem}")
        raise UsageError(f"{self._path}: {_dotted(key)}: {problem}")

    # The whole.

    def _plan(self, data: dict[str, Any]) -> Plan:
        self._only(data, (), [*_PASSED, *_OWN])
        plan = Plan(
            cmd=self._texts(data, ("cmd",)),
            inputs=self._inputs(data),
            varying=self._varying(data),
            env=self._env(data),
        )
        if "output" in data:
            plan.output = self._home / self._text_at(data, ("output",))
        if "runner" in data:
            plan.runner = self._text_at(data, ("runner",))
        plan.runner_options = self._runner_options(data, plan.runner)
        for name, check in _PASSED.items():
            if name in data:
                try:
                    plan.rest[name] = check(data[name])
                except ValueError as error:
                    self.fail((name,), str(error))
        return plan

    @property
    def _home(self) -> Path:
        return self._path.parent

    def _inputs(self, data: Mapping[str, Any]) -> list[FileResource]:
        from multirun_core._model.files import FileResource

        found: list[FileResource] = []
        for position, item in enumerate(self._list(data, ("inputs",))):
            key: Key = ("inputs", position)
            if isinstance(item, str):
                found.append(FileResource(self._home / item))
                continue
            if not isinstance(item, dict):
                self.fail(key, f"it is {item!r}; write a path, or {{ path = …, linkage = … }}")
            table = cast("dict[str, Any]", item)
            self._only(table, key, ["path", "linkage", "rename"])
            for name in table:
                self._text_at(table, (name,), key)
            if "path" not in table:
                self.fail(key, "it needs a path")
            try:
                found.append(
                    FileResource(
                        self._home / table["path"],
                        table.get("linkage", "shared"),
                        table.get("rename"),
                    )
                )
            except MultirunError as error:
                self.fail((*key, "linkage"), str(error))
        return found

    def _env(self, data: Mapping[str, Any]) -> dict[str, str]:
        table = self._table(data, ("env",))
        for name in table:
            self._text_at(table, (name,), ("env",))
        return cast("dict[str, str]", dict(table))

    def _runner_options(self, data: Mapping[str, Any], runner: str | None) -> dict[str, Any]:
        table = self._table(data, ("runner_options",))
        if not table:
            return {}
        from multirun_core._convert import ConversionError, accepts, from_text
        from multirun_core._options import options_of
        from multirun_core._registry import Registry

        name = runner or self._data.get("runner") or "local"
        try:
            options = options_of(Registry().factory(name))
        except MultirunError:
            return dict(table)  # it need not be installed here; choosing it says what is missing
        found: dict[str, Any] = {}
        for key, given in table.items():
            option, value = options.known.get(key), given
            if option is None:
                if not options.open:
                    self._unknown(("runner_options", key), options.known)
                found[key] = value
                continue
            wanted, why = option.type_text or "value for it", "it is of another type"
            if not accepts(option.annotation, value) and isinstance(value, str):
                try:
                    value = from_text(option.annotation, value)
                except ConversionError as error:
                    why = str(error)
            if not accepts(option.annotation, value):
                self.fail(("runner_options", key), f"{value!r} is no {wanted} ({why})")
            found[key] = value
        return found

    # What varies.

    def _varying(self, data: Mapping[str, Any]) -> Varying:
        varying = Varying()
        if "table" in data:
            try:
                varying.rows = read_table(self._home / self._text_at(data, ("table",)))
            except UsageError as error:
                self.fail(("table",), str(error))
        varying.zipped = {
            name: list(self._listed(("zip", name), values))
            for name, values in self._table(data, ("zip",)).items()
        }
        varying.grid = {
            name: self._listed(("parameters", name), values)
            for name, values in self._table(data, ("parameters",)).items()
        }
        self._sample(data, varying)
        if "seeds" in data:
            varying.repeats = self._count(data, ("seeds",))
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
                    self.fail((*above, name), f"the parameter is in {_dotted(places[name])} too")
                places[name] = above
        if varying.repeats is not None and varying.repeat_name in places:
            where = _dotted(places[varying.repeat_name])
            self.fail(("seeds",), f"they are the parameter seed, which is in {where} too")

    def _sample(self, data: Mapping[str, Any], varying: Varying) -> None:
        table = self._table(data, ("sample",))
        self._only(table, ("sample",), ["points", "method", "seed", "parameters"])
        if not table:
            return
        space = self._table(table, ("parameters",), ("sample",))
        varying.space = {
            name: self._space(("sample", "parameters", name), values)
            for name, values in space.items()
        }
        if not space and not self._partial:
            self.fail(("sample",), "it needs [sample.parameters], what to draw from")
        if "points" in table:
            varying.points = self._count(table, ("points",), ("sample",))
        elif not self._partial:
            self.fail(("sample",), "it needs points = N, the number of points to draw")
        if "seed" in table:
            varying.seed = self._count(table, ("seed",), ("sample",))
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
        self._only(table, key, ["from", "to", "step", "points"])
        for name, value in table.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.fail((*key, name), f"it is {value!r}, which is no number")
        return table

    def _numbers(self, key: Key, table: Mapping[str, Any]) -> list[Any]:
        start, stop = table["from"], table["to"]
        if "points" in table:
            count = self._count(table, ("points",), key)
            if count < 2 or "step" in table:
                self.fail((*key, "points"), "it must be 2 or more, and there must be no step")
            width = (stop - start) / (count - 1)
            return [*(start + width * number for number in range(count - 1)), stop]
        try:
            return stepped(repr(start), repr(stop), repr(table["step"]))
        except UsageError as error:
            self.fail(key, str(error))

    # Kinds of values.

    def _only(self, table: Mapping[str, Any], key: Key, known: list[str]) -> None:
        for name in table:
            if name not in known:
                self._unknown((*key, name), known)

    def _unknown(self, key: Key, known: Any) -> NoReturn:
        names = list(known)
        close = get_close_matches(str(key[-1]), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        self.fail(key, f"there is no such key.{hint} There are {', '.join(names)}")

    def _table(self, data: Mapping[str, Any], key: Key, above: Key = ()) -> dict[str, Any]:
        value = data.get(str(key[0]), {})
        if not isinstance(value, dict):
            self.fail((*above, *key), f"it is {value!r}; it must be a table, as in [{key[0]}]")
        return cast("dict[str, Any]", value)

    def _list(self, data: Mapping[str, Any], key: Key) -> list[Any]:
        value = data.get(str(key[0]), [])
        if not isinstance(value, list):
            self.fail(key, f"it is {value!r}; it must be a list, as in {key[0]} = [{value!r}]")
        return value  # pyright: ignore[reportUnknownVariableType]

    def _texts(self, data: Mapping[str, Any], key: Key) -> list[str]:
        values = self._list(data, key)
        for position, value in enumerate(values):
            if not isinstance(value, str):
                self.fail((*key, position), f"it holds {value!r}, which is no text; quote it")
        return values

    def _text_at(self, data: Mapping[str, Any], key: Key, above: Key = ()) -> str:
        value = data[str(key[0])]
        if not isinstance(value, str):
            self.fail((*above, *key), f"it is {value!r}; it must be text in quotes")
        return value

    def _count(self, data: Mapping[str, Any], key: Key, above: Key = ()) -> int:
        value = data[str(key[0])]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail((*above, *key), f"it is {value!r}; it must be a whole number from 0")
        return value


def _laid_over(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base with a profile on it: tables are merged, all else is replaced."""
    merged = dict(base)
    if layer.get("runner", base.get("runner")) != base.get("runner"):
        merged.pop("runner_options", None)  # they were another runner's
    for name, value in layer.items():
        below = merged.get(name)
        if isinstance(value, dict) and isinstance(below, dict):
            old, new = cast("dict[str, Any]", below), cast("dict[str, Any]", value)
            merged[name] = _laid_over(old, new) if name == "sample" else {**old, **new}
        else:
            merged[name] = value
    return merged


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _number_from(low: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"it is {value!r}; it must be a whole number from {low}")
        return value

    return check


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"it is {value!r}; write one of {', '.join(words)}")
        return str(value)

    return check


def _duration(value: Any) -> float | str:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return seconds_of(str(value))
    raise ValueError(f"it is {value!r}; write seconds, or text such as '1h30m'")


# What goes to `multirun` as it is, and what makes sure that it makes sense.
_PASSED: dict[str, Callable[[Any], Any]] = {
    "timeout": _duration,
    "retries": _number_from(0),
    "on_retry": _one_of("restore", "keep"),
    "max_failures": _number_from(0),
    "keep": _one_of("all", "failed", "results"),
}
_OWN = (
    "cmd", "inputs", "output", "table", "parameters", "zip", "sample", "seeds", "runner",
    "runner_options", "env", "profile",
)  # fmt: skip
