"""`Warmth`: which runs are forked from a warm interpreter over there, and what it is made from.

There is one interpreter for a job that carries out several runs, or for a host: that of the first
run that fits. Whatever differs from that run in more than it must is started plainly, as is what no
interpreter can be had for.
"""

from __future__ import annotations

import marshal
import os
import shlex
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._runners.warm import check_preload, fits, script_at
from multirun_core._runners.warm_python.loading import imports_of
from multirun_core._transport.shell import exports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multirun_core._runners.scheduler.submission import Work
    from multirun_core._transport.wrapper import Order

COLD = b"warm\t"
"""How a line of a log begins that says why there is no warm interpreter."""

_FORMAT = 2  # of marshal: over there it may be another version of Python
_FOLDER = "warm_python"
_FILES = (
    "__init__",
    "begin",
    "ending",
    "forking",
    "loading",
    "packed",
    "randomness",
    "source",
    "title",
)


@cache
def parts() -> dict[str, bytes]:
    """Return the files that must lie together over there, by name."""
    runners = files("multirun_core") / "_runners"
    own = {f"{_FOLDER}/{n}.py": (runners / _FOLDER / f"{n}.py").read_bytes() for n in _FILES}
    return {**own, "warm.sh": (runners / "warm.sh").read_bytes()}


class Warmth:
    """What is to be warm."""

    def __init__(self, preload: Sequence[str]) -> None:
        """Prepare.

        Args:
            preload: the modules to import; none for those that the scripts import.

        Raises:
            UsageError: one is no name of a module.
        """
        self._names = check_preload(preload)

    def choose(self) -> Chosen:
        """Return what becomes the interpreter of one place; nothing as yet."""
        return Chosen(None if self._names is None else list(self._names))

    def prepare(self, orders: dict[Work, Order]) -> dict[str, bytes]:
        """Let those orders of a submission that fit be for the interpreter of its jobs.

        Args:
            orders: of all runs of a submission; some are replaced.

        Returns:
            The files that its directory must hold, by name.
        """
        chosen = self.choose()
        for work, order in orders.items():
            orders[work] = chosen.take(order, work.directory)
        return {"warm": chosen.command(), **parts()} if chosen.made else {}


class Chosen:
    """One interpreter: that of the first run that fits."""

    def __init__(self, names: list[str] | None) -> None:
        self._names = names
        self._key: object = None
        self._first: tuple[Order, int, dict[str, str], str | None, Path]

    @property
    def made(self) -> bool:
        """Whether a run that fits has come."""
        return self._key is not None

    def take(self, order: Order, directory: Path) -> Order:
        """Return the order of a run so that it is forked where it can be, or the order itself.

        Args:
            order: the order.
            directory: the directory of the run.
        """
        at = script_at(order.cmd)
        own = {n: v for n, v in order.env.items() if not n.startswith(RUN_VARIABLES)}
        if at is None or not fits(own) or any("MULTIRUN_" in line for line in order.setup):
            return order
        module = order.cmd[at + 1] if order.cmd[at] == "-m" else None
        script = order.cmd[at] if order.cmd[at] not in ("-m", "-c") else None
        what = (script, module) if self._names is None else module is None
        key = (tuple(order.cmd[:at]), what, frozenset(own.items()), tuple(order.setup))
        if self._key is None:
            self._key, self._first = key, (order, at, own, script, directory)
        if key != self._key:
            return order
        extra = {
            os.fsencode(name): os.fsencode(value)
            for name, value in order.env.items()
            if name not in own
        }
        return replace(order, warm=_packed([_bytes(order.cmd), at, extra]))

    def command(self, *, elsewhere: bool = False) -> bytes:
        """Return shell text that becomes the interpreter, told two directories: `parts`, its pipes.

        Args:
            elsewhere: whether run directories lie at other paths over there, so that what scripts
                import is looked up here.
        """
        order, at, own, script, directory = self._first
        module = order.cmd[at + 1] if order.cmd[at] == "-m" else None
        file: bytes | str | None = None if script is None else os.fsencode(directory / script)
        if elsewhere and script is not None and not script.startswith("/"):
            file = imports_of(str(directory / script)) if self._names is None else ""
        python = order.cmd[:at]
        variables, words = exports(own)
        setup = "".join(f"{line}\n" for line in order.setup)
        command = shlex.join(["env", *words, *python] if words else python)
        told = _packed([_bytes(python), self._names, file, module]).hex()
        lines = (
            "unset MULTIRUN_NODE MULTIRUN_BOOTED\n",
            "cd / && cd /\n",  # so that a shell's own variables are there as in a run
            variables,
            setup,
            f'exec {command} "$1/{_FOLDER}/begin.py" "$2" {told}\n',
        )
        return "".join(lines).encode("utf-8", "surrogateescape")


def _bytes(words: Sequence[str]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def _packed(message: list[Any]) -> bytes:
    return marshal.dumps(message, _FORMAT)
