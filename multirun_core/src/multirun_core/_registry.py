"""Which runners there are: the local one, and what installed distributions provide.

Each entry point of the group `multirun` is loaded in a `try` of its own, so that a broken plugin
costs nobody else anything; what went wrong is kept and said when it matters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from multirun_core._loading import (
    GROUP,
    LOCAL,
    OWN,
    EntryPoint,
    InstalledRunner,
    Loaded,
    LoadFailure,
    Provider,
)
from multirun_core._runners.spec import RunnerSpec
from multirun_core.errors import (
    RunnerConflictError,
    RunnerError,
    RunnerNotFoundError,
    RunnerUnavailableError,
)

if TYPE_CHECKING:
    import pluggy

    from multirun_core._runners.base import AbstractRunner

OBSERVER = "observer"
STRICT = "MULTIRUN_STRICT_PLUGINS"
# Known by name without being installed, so that the advice can be exact.
KNOWN = {"ssh": "multirun-ssh", "slurm": "multirun-slurm"}


class Registry:
    """Finds runners by name.

    Plugins are looked for at the first name that is not built in, and once only.
    """

    def __init__(self, entry_points: Callable[[], Iterable[EntryPoint]] | None = None) -> None:
        """Make a registry.

        Args:
            entry_points: returns the entry points to load; by default those of the group
                `multirun` of all installed distributions.
        """
        self._entry_points = entry_points or _installed_entry_points

    def resolve(self, name: str) -> RunnerSpec:
        """Return the runner of this name; `local` without looking at any plugin.

        Raises:
            RunnerNotFoundError: there is none; says what there is and what could be installed.
            RunnerConflictError: two distributions provide it.
            RunnerUnavailableError: a plugin cannot be loaded, and MULTIRUN_STRICT_PLUGINS is set.
        """
        return LOCAL if name == LOCAL.name else self._find(name).spec

    def factory(self, name: str) -> Callable[..., AbstractRunner]:
        """Import the runner's factory and return it.

        Raises:
            RunnerLookupError: there is no such runner, or what provides it cannot be imported.
        """
        spec = self.resolve(name)
        try:
            return spec.load()
        except (Exception, SystemExit) as error:
            provider = OWN if name == LOCAL.name else str(self._find(name).provider)
            failure = LoadFailure(Provider(provider, "", ""), error)
            raise RunnerUnavailableError(
                f"runner {name!r} of {provider} cannot be used: {failure.why}\n"
                f"  Install what is missing, or report it to the authors of {provider}"
            ) from error

    def create(self, name: str, options: Mapping[str, Any]) -> AbstractRunner:
        """Make a runner.

        Raises:
            RunnerLookupError: there is no such runner, or what provides it cannot be imported.
            RunnerOptionError: an option is unknown, of another type, or missing.
            RunnerError: the factory returned no runner.
        """
        from multirun_core._options import check_options
        from multirun_core._runners.base import AbstractRunner

        factory = self.factory(name)
        check_options(name, factory, options)
        runner = cast("object", factory(**options))
        if not isinstance(runner, AbstractRunner):
            raise RunnerError(
                f"the factory of runner {name!r} returned {type(runner).__qualname__}, which is "
                "no AbstractRunner; report it to the authors of that runner"
            )
        return runner

    def installed(self) -> Sequence[InstalledRunner]:
        """Return all runners there are, `local` first; names that clash are there twice."""
        return self._loaded.runners

    def missing(self) -> Mapping[str, str]:
        """Return well-known runners that are not installed, with the distribution to install."""
        names = {one.spec.name for one in self.installed()}
        return {name: dist for name, dist in KNOWN.items() if name not in names}

    def failures(self) -> Sequence[LoadFailure]:
        """Return the plugins that could not be loaded, with the reasons."""
        return self._loaded.failures

    @property
    def plugins(self) -> pluggy.PluginManager:
        """All plugins that could be loaded, for calling the hooks that observe."""
        return self._loaded.manager

    def observers(self, given: Iterable[object]) -> tuple[Any, Sequence[LoadFailure]]:
        """Return who is to be told of a sweep: a plugin manager, or None for nobody; and failures.

        Loaded are entry points whose name begins with `observer`, and no others.

        Args:
            given: plugins of the caller's own, besides those that are installed.

        Raises:
            RunnerUnavailableError: one cannot be loaded, and MULTIRUN_STRICT_PLUGINS is set.
        """
        looked_up = self._entry_points is not _installed_entry_points or may_be_named(OBSERVER)
        installed = self._entry_points() if looked_up else ()
        found = [one for one in installed if one.name.startswith(OBSERVER)]
        plugins = list(given)
        if not found and not plugins:
            return None, ()
        loaded = Loaded()
        for entry_point in found:
            loaded.add(entry_point)
        _refuse_if_strict(loaded.failures)
        for plugin in plugins:
            loaded.manager.register(plugin)
            loaded.manager.check_pending()
        return loaded.manager, loaded.failures

    @cached_property
    def _loaded(self) -> Loaded:
        loaded = Loaded()
        for entry_point in self._entry_points():
            loaded.add(entry_point)
        _refuse_if_strict(loaded.failures)
        return loaded

    def _find(self, name: str) -> InstalledRunner:
        found = [one for one in self.installed() if one.spec.name == name]
        if not found:
            raise RunnerNotFoundError(self._not_found(name))
        if len(found) > 1:
            who = " and ".join(str(one.provider) for one in found)
            raise RunnerConflictError(
                f"the runner name {name!r} is provided by {who}; uninstall one of them, or pass "
                "an instance of the runner instead of its name"
            )
        return found[0]

    def _not_found(self, name: str) -> str:
        there = {one.spec.name: one for one in self.installed()}
        close = [] if name in KNOWN else get_close_matches(name, [*there, *KNOWN], n=1)
        lines = [f"no runner named {name!r}." + (f" Did you mean {close[0]!r}?" if close else "")]
        lines.append(
            "  installed:      "
            + ", ".join(f"{key} ({one.provider})" for key, one in there.items())
        )
        missing = self.missing()
        if missing:
            lines.append(
                "  not installed:  "
                + "; ".join(f"{key}: pip install {dist}" for key, dist in missing.items())
            )
        if self.failures():
            lines.append("  failed to load: " + _told(self.failures()))
        return "\n".join(lines)


def _refuse_if_strict(failures: Sequence[LoadFailure]) -> None:
    if failures and os.environ.get(STRICT, "") not in ("", "0"):
        raise RunnerUnavailableError(
            f"{STRICT} is set, and a plugin cannot be loaded: {_told(failures)}"
        ) from failures[0].error


def _told(failures: Sequence[LoadFailure]) -> str:
    return "; ".join(f"{one.provider.entry_point} ({one.provider}): {one.why}" for one in failures)


def may_be_named(word: str) -> bool:
    """Whether some installed distribution may have an entry point with this word in its name.

    Each sweep asks, and nearly always the answer is no; `importlib.metadata` takes 20 ms to be
    imported. Where distributions are found otherwise than in folders, the answer is yes.
    """
    if any(hasattr(one, "find_distributions") for one in sys.meta_path if one is not PathFinder):
        return True
    for folder in (str(folder) or "." for folder in sys.path):
        if folder.endswith(".egg") or os.path.isfile(folder):  # noqa: PTH113 - raises nothing
            return True
        with suppress(OSError, ValueError):  # `importlib.metadata` passes over it too
            for name in os.listdir(folder):  # noqa: PTH208 - there are many
                if name.endswith(".egg") or (
                    name.endswith((".dist-info", ".egg-info"))
                    and _has(f"{folder}/{name}/entry_points.txt", word.encode())
                ):
                    return True
    return False


def _has(file: str, word: bytes) -> bool:
    with suppress(OSError):
        return word in Path(file).read_bytes()
    return False


def _installed_entry_points() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return cast("Iterable[EntryPoint]", entry_points(group=GROUP))
