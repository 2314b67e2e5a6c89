"""What each host is given besides the runs: scripts, and what programs import in a run."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from multirun_core._runners import warmth
from multirun_core._staging import luggage as core
from multirun_core._transport.wrapper import wrapper_text

PYTHON = core.PYTHON


@cache
def luggage(*, warm: bool = False) -> dict[str, bytes]:
    """Return the files by their names.

    Args:
        warm: whether runs may be forked from a warm interpreter.
    """
    far = (files("multirun_ssh") / "far.sh").read_bytes()
    more = warmth.parts() if warm else {}
    return {"wrapper.sh": wrapper_text(), "far.sh": far, **core.luggage(), **more}
