"""`multirun status --watch`: the status again and again, until the sweep has ended.

It looks at the sweep's directory alone, so it works from any terminal on any host that sees it, and
disturbs nobody.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from multirun_core._cli.status import as_line, as_text, is_over, tell_status
from multirun_core._display.stream import SafeStream, place_of

_Show: TypeAlias = Callable[[dict[str, Any]], None]

_PAUSE_SECONDS = 1.0
_SHARE = 10  # of the time: reading a large sweep should not become the main occupation
_UP_AND_CLEAR = "\x1b[{}A\x1b[J"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


def watch_status(path: Path, *, as_json: bool) -> None:
    """Show the status of a sweep until nobody works on it any more, or is to.

    Raises:
        SweepNotFoundError: there is no sweep.
        KeyboardInterrupt: by Ctrl-C; the terminal is as it was.
    """
    from multirun_core._sweep.sweep import Sweep

    show: _Show
    if as_json:
        show = _at_changes(json.dumps)
    elif place_of(SafeStream(sys.stdout)) == "terminal":
        show = _redrawing()
    else:
        show = _at_changes(as_line)
    was_over = False
    while True:
        began = time.monotonic()
        told = tell_status(Sweep.open(path), time.time())
        show(told)
        over = is_over(told)
        if over and was_over:
            return
        was_over = over
        if not over:  # else one last look: it may have ended after its journal was read
            time.sleep(max(_PAUSE_SECONDS, _SHARE * (time.monotonic() - began)))


def _at_changes(text_of: Callable[[dict[str, Any]], str]) -> _Show:
    """Return what writes a line where something else than the time has changed."""
    last: list[dict[str, Any]] = [{}]

    def show(told: dict[str, Any]) -> None:
        lasting = {
            name: value
            for name, value in told.items()
            if name not in ("runs_per_second", "seconds_left")
        }
        if lasting != last[0]:
            last[0] = lasting
            click.echo(text_of(told))
            sys.stdout.flush()

    return show


def _redrawing() -> _Show:
    """Return what draws over what it drew before, in one go and without hiding the cursor.

    So whatever ends it, and when, the terminal needs no repair.
    """
    height = [0]

    def show(told: dict[str, Any]) -> None:
        text = as_text(told)
        back = _UP_AND_CLEAR.format(height[0]) if height[0] else ""
        height[0] = text.count("\n") + 1
        sys.stdout.write(f"{back}{_NO_WRAP}{text}\n{_WRAP}")
        sys.stdout.flush()

    return show
