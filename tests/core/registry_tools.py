"""Entry points and plugins for the tests of the registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from multirun_core._model.run import Run
from multirun_core._model.status import RunStatistics
from multirun_core._registry import Registry
from multirun_core._runners.base import AbstractRunner
from multirun_core.plugins import RunnerSpec, hookimpl


class Simple(AbstractRunner):
    """A runner that does nothing.

    Args:
        hosts: where to; one line
            and another one.
        depth (int): how deep.
    """

    def __init__(self, *, hosts: list[str], depth: int = 1, note: Any = None) -> None:
        self.options = {"hosts": hosts, "depth": depth, "note": note}

    def computeStatistics(self) -> RunStatistics:
        return RunStatistics()

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        return Run(cmd=cmd, cwd=cwd)

    async def gather(self) -> None:
        return None


@dataclass
class FakeEntryPoint:
    """An entry point of a distribution that need not be installed."""

    name: str
    plugin: Any
    distribution: str = "acme"
    loaded: list[str] = field(default_factory=list[str])

    @property
    def dist(self) -> Any:
        return SimpleNamespace(name=self.distribution, version="1.2")

    def load(self) -> Any:
        self.loaded.append(self.name)
        if isinstance(self.plugin, BaseException):
            raise self.plugin
        return self.plugin


def plugin(*specs: Any) -> Any:
    class Plugin:
        @hookimpl
        def multirun_register_runners(self) -> list[Any]:
            return list(specs)

    return Plugin()


def simple(name: str = "simple", factory: Any = Simple) -> RunnerSpec:
    return RunnerSpec(name, factory, "Does nothing")


def registry(*points: FakeEntryPoint) -> Registry:
    return Registry(lambda: points)
