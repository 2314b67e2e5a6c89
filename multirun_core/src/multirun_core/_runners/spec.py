"""`RunnerSpec`: how a plugin describes a runner without importing it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multirun_core._runners.base import AbstractRunner

NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


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
    """

    name: str
    factory: str | Callable[..., AbstractRunner]
    summary: str = ""

    def load(self) -> Callable[..., AbstractRunner]:
        """Return the factory; imports it if need be, and raises whatever that raises."""
        if not isinstance(self.factory, str):
            return self.factory
        module, separator, attribute = self.factory.partition(":")
        if not separator or not attribute:
            raise ImportError(f'the factory {self.factory!r} must read "package.module:Class"')
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]
