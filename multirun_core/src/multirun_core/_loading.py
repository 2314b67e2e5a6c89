"""Loading what installed distributions provide, each entry point in a `try` of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from multirun_core._runners.spec import NAME, RunnerSpec
from multirun_core._version import VERSION

GROUP = "multirun"
OWN = "multirun-core"
LOCAL = RunnerSpec(
    "local",
    "multirun_core._runners.local:ParallelLocalRunner",
    "Run on the cores of this machine",
)


class Distribution(Protocol):
    """What is needed of an installed distribution."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> str:
        """Its version."""
        ...


class EntryPoint(Protocol):
    """What is needed of an entry point; `importlib.metadata.EntryPoint` is one."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def dist(self) -> Distribution | None:
        """The distribution that it belongs to."""
        ...

    def load(self) -> Any:
        """Import what it names."""
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """The distribution that a plugin comes from.

    Attributes:
        distribution: its name.
        version: its version; "" where unknown.
        entry_point: the name of the entry point.
    """

    distribution: str
    version: str
    entry_point: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class InstalledRunner:
    """A runner and the distribution that provides it."""

    spec: RunnerSpec
    provider: Provider


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A plugin that could not be loaded, and why."""

    provider: Provider
    error: BaseException

    @property
    def why(self) -> str:
        """The error in one line."""
        text = " ".join(str(self.error).split())
        return f"{type(self.error).__name__}: {text}" if text else type(self.error).__name__


class Loaded:
    """What the entry points gave."""

    def __init__(self) -> None:
        import pluggy

        from multirun_core import plugins

        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(plugins)
        self.runners = [InstalledRunner(LOCAL, Provider(OWN, VERSION, LOCAL.name))]
        self.failures: list[LoadFailure] = []

    def add(self, entry_point: EntryPoint) -> None:
        """Load one entry point; whatever goes wrong is its own failure."""
        dist = entry_point.dist
        provider = Provider(
            dist.name if dist is not None else "an unknown distribution",
            dist.version if dist is not None else "",
            entry_point.name,
        )
        try:
            plugin = entry_point.load()
            self._register(plugin, f"{provider.distribution}:{provider.entry_point}")
            specs = self._ask(plugin)
        except (Exception, SystemExit) as error:
            self.failures.append(LoadFailure(provider, error))
            return
        for spec in specs:
            self._take(spec, provider)

    def _register(self, plugin: Any, name: str) -> None:
        try:
            self.manager.register(plugin, name)
            # Without this a misspelt hook would never be called and nobody would know.
            self.manager.check_pending()
        except BaseException:
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            raise

    def _ask(self, plugin: Any) -> list[Any]:
        others = [one for one in self.manager.get_plugins() if one is not plugin]
        hook = self.manager.subset_hook_caller("multirun_register_runners", others)
        answers: list[Iterable[Any] | None] = hook()
        return [spec for answer in answers if answer is not None for spec in answer]

    def _take(self, spec: Any, provider: Provider) -> None:
        problem = ""
        if not isinstance(spec, RunnerSpec):
            problem = f"it registers {spec!r}, which is no RunnerSpec"
        elif not NAME.match(spec.name):
            problem = f"the runner name {spec.name!r} must match [a-z][a-z0-9_-]*"
        elif spec.name == LOCAL.name:
            if spec.factory == LOCAL.factory:
                return  # our own plugin
            problem = f"the runner name 'local' belongs to {OWN}"
        if problem:
            self.failures.append(LoadFailure(provider, ValueError(problem)))
        else:
            self.runners.append(InstalledRunner(spec, provider))
