"""Reading values of a TOML file, each of its kind; an error names key and line."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, cast

from multirun_core._cli.toml_lines import Key, line_of
from multirun_core.errors import UsageError


class TomlReader:
    """What readers of a file have in common.

    Attributes:
        path: the file.
        text: what is in it.
        at: what the keys that are read are below: nothing, or a profile.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.at: Key = ()

    def place(self, text: str) -> Path:
        """Return a path, which is relative to the directory of the file."""
        return self.path.parent / Path(text).expanduser()

    def fail(self, key: Key, problem: str) -> NoReturn:
        """Raise an error about a key, wherever it is: in the profile, or in what it lies over."""
        for whole in (self.at + key, key):
            line = line_of(self.text, whole)
            if line is not None:
                raise UsageError(f"{self.path}, line {line}: {dotted(whole)}: {problem}")
        raise UsageError(f"{self.path}: {dotted(key)}: {problem}")

    def only(self, table: Mapping[str, Any], key: Key, known: list[str]) -> None:
        """Refuse keys of a table that are not known."""
        for name in table:
            if name not in known:
                self.unknown((*key, name), known)

    def unknown(self, key: Key, known: Any) -> NoReturn:
        """Raise an error about a key, and say which one may be meant."""
        names = list(known)
        close = get_close_matches(str(key[-1]), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        self.fail(key, f"there is no such key.{hint} There are {', '.join(names)}")

    def table(self, data: Mapping[str, Any], key: Key, above: Key = ()) -> dict[str, Any]:
        """Return a table; an empty one where there is none."""
        value = data.get(str(key[0]), {})
        if not isinstance(value, dict):
            self.fail((*above, *key), f"it is {value!r}; it must be a table, as in [{key[0]}]")
        return cast("dict[str, Any]", value)

    def list_at(self, data: Mapping[str, Any], key: Key) -> list[Any]:
        """Return a list; an empty one where there is none."""
        value = data.get(str(key[0]), [])
        if not isinstance(value, list):
            self.fail(key, f"it is {value!r}; it must be a list, as in {key[0]} = [{value!r}]")
        return value  # pyright: ignore[reportUnknownVariableType]

    def texts(self, data: Mapping[str, Any], key: Key) -> list[str]:
        """Return a list of texts."""
        values = self.list_at(data, key)
        for position, value in enumerate(values):
            if not isinstance(value, str):
                self.fail((*key, position), f"it holds {value!r}, which is no text; quote it")
        return values

    def text_at(self, data: Mapping[str, Any], key: Key, above: Key = ()) -> str:
        """Return a text, which is there."""
        value = data[str(key[0])]
        if not isinstance(value, str):
            self.fail((*above, *key), f"it is {value!r}; it must be text in quotes")
        return value

    def count(self, data: Mapping[str, Any], key: Key, above: Key = ()) -> int:
        """Return a whole number from 0, which is there."""
        value = data[str(key[0])]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail((*above, *key), f"it is {value!r}; it must be a whole number from 0")
        return value


def dotted(key: Key) -> str:
    """Return a key as one would write it."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
