"""`RunnerSpec`: how a plugin describes a runner without importing it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multirun_core._runners.base import AbstractRunner

NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class HostReport:
    """What a runner has found out about one machine of its; what `multirun hosts check` shows.

    Attributes:
        name: the machine, for people.
        facts: what is known of it by a word each: JSON values. Those whose word ends with `_bytes`
            or `_seconds` are shown with units.
        problems: what would fail, and what to do about it; empty where the machine is ready.
        notes: what may surprise.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """A runner that a distribution provides.

    Attributes:
        name: what `multirun(runner=…)` knows it by: small letters, digits, `_` and `-`.
        factory: what makes one, a class as a rule: text such as "package.module:Class", which is
            imported when the runner is asked for, or the callable itself. Its keyword arguments
            are the runner's options; their annotations and the "Args:" of its docstring are
            what `multirun runners NAME` shows.
        summary: one line for people.
        check: what looks at the machines of the runner, for `multirun hosts check`: like the
            factory a dotted path, or a coroutine function, which takes the same keyword
            arguments. None where the runner has no machines to look at.
    """

    name: str
    factory: str | Callable[..., AbstractRunner]
    summary: str = ""
    check: str | Callable[..., Awaitable[Sequence[HostReport]]] | None = None

    def load(self) -> Callable[..., AbstractRunner]:
        """Return the factory; imports it if need be, and raises whatever that raises."""
        if not isinstance(self.factory, str):
            return self.factory
        return _imported(self.factory, "factory")  # type: ignore[no-any-return]

    def load_check(self) -> Callable[..., Awaitable[Sequence[HostReport]]] | None:
        """Return what looks at the machines, if there is anything; imports it if need be."""
        if self.check is None or not isinstance(self.check, str):
            return self.check
        return _imported(self.check, "check")  # type: ignore[no-any-return]


def _imported(path: str, what: str) -> Any:
    module, separator, attribute = path.partition(":")
    if not separator or not attribute:
        raise ImportError(f'the {what} {path!r} must read "package.module:Class"')
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
