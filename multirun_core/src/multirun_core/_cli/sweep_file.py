"""Sweep files: what `multirun run sweep.toml` reads; messages name key and line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from multirun_core._cli.common import seconds_of
from multirun_core._cli.file_varying import VaryingReader
from multirun_core._cli.toml_lines import Key
from multirun_core._cli.varying import Varying
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
    text = text.replace("\r\n", "\n") + "\n"  # without it, errors in the last line name no line
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: it is no TOML: {error}") from error
    return _Reader(path, text, data).read(profile)


class _Reader(VaryingReader):
    """Reads one file.

    It looks at the base and at all profiles, so that a slip in one that is not chosen now is found
    too.
    """

    def __init__(self, path: Path, text: str, data: dict[str, Any]) -> None:
        super().__init__(path, text)
        self._data = data

    def read(self, profile: str | None) -> Plan:
        profiles = self.table(self._data, ("profile",))
        base = {name: value for name, value in self._data.items() if name != "profile"}
        plan = self._plan(base)
        chosen: dict[str, Any] = {}
        for name in profiles:
            self.at = ("profile",)
            layer = self.table(profiles, (name,))
            self.at, self.partial = ("profile", name), True
            self._plan(layer)
            if name == profile:
                chosen = layer
        self.partial = False
        if profile is None:
            return plan
        if profile not in profiles:
            close = get_close_matches(profile, profiles, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            there = f"; it has {', '.join(profiles)}." if profiles else "; it has none."
            raise UsageError(f"{self.path} has no profile {profile!r}{there}{hint}")
        self.at = ("profile", profile)
        return self._plan(_laid_over(base, chosen))

    def _plan(self, data: dict[str, Any]) -> Plan:
        self.only(data, (), [*_PASSED, *_OWN, *([] if self.at else ["profile"])])
        plan = Plan(
            cmd=self.texts(data, ("cmd",)),
            inputs=self._inputs(data),
            varying=self.varying(data),
            env=self._env(data),
        )
        if "output" in data:
            plan.output = self.place(self.text_at(data, ("output",)))
        if "runner" in data:
            plan.runner = self.text_at(data, ("runner",))
        plan.runner_options = self._runner_options(data, plan.runner)
        for name, check in _PASSED.items():
            if name in data:
                try:
                    plan.rest[name] = check(data[name])
                except ValueError as error:
                    self.fail((name,), str(error))
        return plan

    def _inputs(self, data: Mapping[str, Any]) -> list[FileResource]:
        from multirun_core._model.files import FileResource

        found: list[FileResource] = []
        for position, item in enumerate(self.list_at(data, ("inputs",))):
            key: Key = ("inputs", position)
            if isinstance(item, str):
                found.append(FileResource(self.place(item)))
                continue
            if not isinstance(item, dict):
                self.fail(key, f"it is {item!r}; write a path, or {{ path = …, linkage = … }}")
            table = cast("dict[str, Any]", item)
            self.only(table, key, ["path", "linkage", "rename"])
            for name in table:
                self.text_at(table, (name,), key)
            if "path" not in table:
                self.fail(key, "it needs a path")
            try:
                found.append(
                    FileResource(
                        self.place(table["path"]),
                        table.get("linkage", "shared"),
                        table.get("rename"),
                    )
                )
            except MultirunError as error:
                self.fail((*key, "linkage"), str(error))
        return found

    def _env(self, data: Mapping[str, Any]) -> dict[str, str]:
        table = self.table(data, ("env",))
        for name in table:
            self.text_at(table, (name,), ("env",))
        return cast("dict[str, str]", dict(table))

    def _runner_options(self, data: Mapping[str, Any], runner: str | None) -> dict[str, Any]:
        table = self.table(data, ("runner_options",))
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
                    self.unknown(("runner_options", key), options.known)
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


def _rules(value: Any) -> Any:
    from multirun_core._sweep.collect import check_collect

    if not isinstance(value, str) and not (
        isinstance(value, list) and all(isinstance(one, str) for one in value)  # pyright: ignore[reportUnknownVariableType]
    ):
        raise ValueError(f"it is {value!r}; write a rule, or a list of rules, as text")
    check_collect(value)  # pyright: ignore[reportUnknownArgumentType]
    return value  # pyright: ignore[reportUnknownVariableType]


def _checkpoints(value: Any) -> Any:
    from multirun_core._sweep.call import check_checkpoints

    texts = isinstance(value, (str, list))
    if not texts:
        raise ValueError(f"it is {value!r}; write a name, or a list of names, as text")
    check_checkpoints(cast("str | list[Any]", value))
    return value  # pyright: ignore[reportUnknownVariableType]


# What goes to `multirun` as it is, and what makes sure that it makes sense.
_PASSED: dict[str, Callable[[Any], Any]] = {
    "timeout": _duration,
    "retries": _number_from(0),
    "on_retry": _one_of("restore", "keep"),
    "checkpoints": _checkpoints,
    "max_failures": _number_from(0),
    "keep": _one_of("all", "failed", "results"),
    "collect": _rules,
}
_OWN = (
    "cmd", "inputs", "output", "table", "parameters", "zip", "sample", "seeds", "runner",
    "runner_options", "env",
)  # fmt: skip
