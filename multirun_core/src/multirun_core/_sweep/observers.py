"""Calling the plugins that observe sweeps; one that raises is told once and disturbs nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pluggy

    from multirun_core._model.run import Run
    from multirun_core._model.status import RunStatus
    from multirun_core._sweep.sweep import Sweep

_log = logging.getLogger("multirun.observers")

_CHANGED = "multirun_run_changed"


class Observers:
    """Who is told of a sweep.

    Each plugin is called by itself: pluggy's own call would end at the first that raises.
    """

    def __init__(self, plugins: pluggy.PluginManager | None, say: Callable[[str], None]) -> None:
        """Tell these plugins, and people, by `say`, of the first fault of each."""
        self._plugins = plugins
        self._say = say
        self._told: set[str] = set()
        self._on_change = self._hooks(_CHANGED)

    def started(self, sweep: Sweep) -> None:
        """Tell that a sweep starts."""
        for hook in self._hooks("multirun_sweep_started"):
            self._call(hook, sweep=sweep)

    def changed(self, sweep: Sweep, run: Run, previous: RunStatus) -> None:
        """Tell that a run's status has changed."""
        for hook in self._on_change:
            self._call(hook, sweep=sweep, run=run, previous=previous)

    def finished(self, sweep: Sweep) -> None:
        """Tell that a sweep is over."""
        for hook in self._hooks("multirun_sweep_finished"):
            self._call(hook, sweep=sweep)

    def _hooks(self, name: str) -> list[pluggy.HookImpl]:
        if self._plugins is None:
            return []
        return list(getattr(self._plugins.hook, name).get_hookimpls())

    def _call(self, hook: pluggy.HookImpl, **facts: Any) -> None:
        try:
            hook.function(*(facts[name] for name in hook.argnames))
        except Exception as error:
            _log.debug("observer %s failed", hook.plugin_name, exc_info=True)
            if hook.plugin_name not in self._told:
                self._told.add(hook.plugin_name)
                self._say(
                    f"the observer {hook.plugin_name} failed in {hook.function.__name__}: "
                    f"{type(error).__name__}: {error} (said once; the sweep goes on)"
                )
