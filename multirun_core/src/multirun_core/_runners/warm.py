"""Which runs are forked from a warm interpreter, and from which.

There is one for each interpreter with its options, for all variables that runs do not differ in by
nature, and, unless `preload` says what to import, for each script. Whatever does not fit is started
plainly: it differs in nothing but speed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.pace import Pace
from multirun_core.errors import BackendError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multirun_core._model.run import ExitStatus
    from multirun_core._runners.launcher.threads import ThreadLauncher

_log = logging.getLogger("multirun.runner")

_PYTHON = re.compile(r"python(\d(\.\d+)?)?\Z")
_FLAGS = re.compile(r"-[bBdEIOPqRsSu]+\Z")
_X_OPTIONS = re.compile(r"(utf8|dev|faulthandler|no_debug_ranges|int_max_str_digits)(=|\Z)")
# With these, an interpreter does something before or after the script.
_UNFIT = ("PYTHONINSPECT", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME", "PYTHONDUMPREFS")
# Python starts within 0.03 s, with what is usually imported within half a second; what runs longer
# gains little, and of fewer runs nobody waits for the end.
_WORTH_SECONDS = 0.5
_WORTH_RUNS = 20
_MOST = 16
_MOST_TRIES = 3
# What is imported may be large, and its file system slow.
_BOUND = 600.0


def check_preload(preload: Sequence[str]) -> tuple[str, ...] | None:
    """Return the modules to import; None where that is up to the scripts.

    Raises:
        UsageError: one is no name of a module.
    """
    if isinstance(preload, str):
        raise UsageError(f"preload is the text {preload!r}; write a list, as in [{preload!r}]")
    for name in preload:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"preload names {name!r}, which is no name of a module")
    return tuple(preload) or None


def script_at(cmd: Sequence[str]) -> int | None:
    """Return where in a command of Python the script, "-m" or "-c" is; None where there is none."""
    folder, _, name = cmd[0].rpartition("/")
    if not _PYTHON.match(name) or (folder and not folder.startswith("/")):
        return None
    at = 1
    while at < len(cmd):
        word = cmd[at]
        if word in ("-m", "-c"):
            return at if at + 1 < len(cmd) else None
        if not word.startswith("-"):
            return at if word else None
        if word[:2] in ("-W", "-X"):
            value = word[2:] or (cmd[at + 1] if at + 1 < len(cmd) else "")
            if not value or (word[1] == "X" and not _X_OPTIONS.match(value)):
                return None
            at += 1 if word[2:] else 2
        elif _FLAGS.match(word):
            at += 1
        else:
            return None
    return None


def fits(own: Mapping[str, str], base: Mapping[str, str] | None = None) -> bool:
    """Whether an interpreter with these variables of runs, and those of all, can be warm."""

    def value(name: str) -> str:
        return own.get(name, (base or {}).get(name, ""))

    folders = value("PYTHONPATH")
    return not any(value(name) for name in _UNFIT) and (
        not folders or all(one.startswith("/") for one in folders.split(os.pathsep))
    )


class Hint:
    """Looks for short runs of Python, where nobody has said whether they shall be warm."""

    def __init__(self) -> None:
        self._count = 0
        self._pace = Pace()

    def note(
        self,
        launcher: Launcher | ThreadLauncher,
        cmd: Sequence[str],
        env: Mapping[str, str],
        end: ExitStatus,
    ) -> None:
        """Take note of a run that has ended, if it is of a kind that can be forked."""
        at = script_at(cmd) if end.ok and isinstance(launcher, Launcher) else None
        if at is None or cmd[at] == "-c" or not fits(env, os.environ):
            return
        if end.started is not None and end.ended is not None:
            self._count += 1
            self._pace.add(end.ended - end.started)

    def remarks(self) -> list[str]:
        """Return what to say at the end of a sweep, and forget its runs."""
        count, median = self._count, self._pace.median
        self._count, self._pace = 0, Pace()
        if count < _WORTH_RUNS or median is None or median >= _WORTH_SECONDS:
            return []
        return [
            f"half of the {count} runs of Python took less than {median:.2g} s, much of it for its "
            "start: warm=True (-R warm=true) starts it once, warm=False leaves this line out; see "
            "'Start many short Python runs faster' in the documentation"
        ]


class Warming:
    """The warm interpreters that belong to a launcher.

    Attributes:
        base_env: the environment that all runs have.
    """

    def __init__(self, preload: tuple[str, ...] | None) -> None:
        self.base_env: Mapping[str, str] = {}
        self._preload = preload
        self._launcher: Launcher | None = None
        self._open: dict[object, tuple[int, asyncio.Future[str | None]]] = {}
        self._tries: dict[object, int] = {}

    async def place(
        self,
        launcher: Launcher | ThreadLauncher,
        cmd: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
    ) -> tuple[int, int] | None:
        """Return the number of the interpreter to fork from, and where the script is in `cmd`.

        The first run waits for the interpreter. None is for a plain start.

        Raises:
            BackendError: what was to be imported cannot be, or no fork would be like a fresh
                process then.
        """
        if not isinstance(launcher, Launcher):
            return None  # runs are the driver's own children then
        at = script_at(cmd)
        own = {name: text for name, text in env.items() if not name.startswith(RUN_VARIABLES)}
        if at is None or not fits(own, self.base_env):
            return None
        if self._launcher is not launcher:
            self._launcher = launcher
            self._open.clear()
            self._tries.clear()
        module = cmd[at + 1] if cmd[at] == "-m" else None
        script = cmd[at] if cmd[at] not in ("-m", "-c") else None
        what = (script, module) if self._preload is None else module is None
        key = (tuple(cmd[:at]), what, frozenset(own.items()))
        one = self._open.get(key)
        if one is None or one[0] in launcher.cold:
            if one is not None:
                self._tries[key] = self._tries.get(key, 1) + 1
                _log.warning("a warm interpreter ended: %s", launcher.cold[one[0]])
            if self._tries.get(key, 1) > _MOST_TRIES or (one is None and len(self._open) >= _MOST):
                return None
            file = None if script is None else os.fsencode(Path(cwd, script))
            names = None if self._preload is None else list(self._preload)
            one = self._open[key] = launcher.warm(cmd[:at], own, (names, file, module))
        number, future = one
        if not future.done():
            await asyncio.wait((future,), timeout=_BOUND)
        why = future.result() if future.done() else f"it is not ready after {_BOUND:g} seconds"
        if why is not None:
            raise BackendError(f"no warm Python: {why}")
        return number, at
