"""`Warmth`: which runs of a job are forked from a warm interpreter, and what the job needs for it.

There is one interpreter for a submission: that of its first run that fits. Whatever differs from
that run in more than it must is started plainly, as is what no interpreter can be had for.
"""

from __future__ import annotations

import marshal
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from multirun_core._model.environment import RUN_VARIABLES
from multirun_core._runners.warm import check_preload, fits, script_at
from multirun_core._transport.shell import exports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multirun_core._runners.scheduler.submission import Work
    from multirun_core._transport.wrapper import Order

_FORMAT = 2  # of marshal: over there it may be another version of Python
_FOLDER = "warm_python"
_FILES = ("__init__", "begin", "ending", "forking", "loading", "packed", "title")


class Warmth:
    """Prepares submissions whose jobs carry out several runs."""

    def __init__(self, preload: Sequence[str]) -> None:
        """Prepare.

        Args:
            preload: the modules to import; none for those that the scripts import.

        Raises:
            UsageError: one is no name of a module.
        """
        names = check_preload(preload)
        self._names = None if names is None else list(names)

    def prepare(self, orders: dict[Work, Order]) -> dict[str, bytes]:
        """Let those orders that fit be for a warm interpreter.

        Args:
            orders: of all runs of a submission; some are replaced.

        Returns:
            The files that its directory must hold, by name.
        """
        chosen: object = None
        text = b""
        for work, order in orders.items():
            at = script_at(order.cmd)
            own = {n: v for n, v in order.env.items() if not n.startswith(RUN_VARIABLES)}
            if at is None or not fits(own) or any("MULTIRUN_" in line for line in order.setup):
                continue
            module = order.cmd[at + 1] if order.cmd[at] == "-m" else None
            script = order.cmd[at] if order.cmd[at] not in ("-m", "-c") else None
            what = (script, module) if self._names is None else module is None
            key = (tuple(order.cmd[:at]), what, frozenset(own.items()), tuple(order.setup))
            if chosen is None:
                chosen = key
                file = None if script is None else os.fsencode(work.directory / script)
                text = _start(order, at, own, [self._names, file, module])
            if key == chosen:
                extra = {
                    os.fsencode(name): os.fsencode(value)
                    for name, value in order.env.items()
                    if name not in own
                }
                orders[work] = replace(order, warm=_packed([_bytes(order.cmd), at, extra]))
        return {"warm": text, **_parts()} if text else {}


def _start(order: Order, at: int, own: Mapping[str, str], wanted: list[Any]) -> bytes:
    """Return shell text that becomes the interpreter: `sh warm DIR PIPES`."""
    variables, words = exports(own)
    setup = "".join(f"{line}\n" for line in order.setup)
    python = order.cmd[:at]
    command = shlex.join(["env", *words, *python] if words else python)
    arguments = f'"$1/{_FOLDER}/begin.py" "$2" {_packed([_bytes(python), *wanted]).hex()}'
    lines = (
        "unset MULTIRUN_NODE MULTIRUN_BOOTED\n",
        "cd / && cd /\n",  # so that a shell's own variables are there as in a run
        variables,
        setup,
        f"exec {command} {arguments}\n",
    )
    return "".join(lines).encode("utf-8", "surrogateescape")


@cache
def _parts() -> dict[str, bytes]:
    runners = files("multirun_core") / "_runners"
    parts = {f"{_FOLDER}/{n}.py": (runners / _FOLDER / f"{n}.py").read_bytes() for n in _FILES}
    return {**parts, "warm.sh": (runners / "scheduler" / "warm.sh").read_bytes()}


def _bytes(words: Sequence[str]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def _packed(message: list[Any]) -> bytes:
    return marshal.dumps(message, _FORMAT)
