"""What pytest prints at the end: how many checks were passed, and which do not apply and why.

A plugin of pytest that the first check registers, so that it costs nobody else anything. Where the
checks are made in other processes, as by pytest-xdist, name it: `-p multirun_core.testing.report`.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

_MARK = "multirun_conformance"


def note(request: pytest.FixtureRequest) -> None:
    """Count the present test as a check of the kit."""
    owner = type(request.instance).__name__
    request.node.user_properties.append((_MARK, owner))
    manager = request.config.pluginmanager
    if not manager.has_plugin(__name__):
        manager.register(sys.modules[__name__], __name__)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was checked, and what was not, and why not."""
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    skipped: dict[str, list[str]] = {}
    for outcome in ("passed", "failed", "skipped"):
        for seen in terminalreporter.stats.get(outcome, ()):
            owner = dict(seen.user_properties).get(_MARK)
            if owner is None or (seen.when != "call" and outcome == "passed"):
                continue
            total[owner] += 1
            passed[owner] += outcome == "passed"
            if outcome == "skipped":
                reason = seen.longrepr[2].removeprefix("Skipped: ")
                skipped.setdefault(owner, []).append(f"{seen.head_line}: {reason}")
    for owner, count in total.items():
        absent = skipped.get(owner, [])
        line = f"multirun conformance of {owner}: {count} checks, {passed[owner]} passed"
        if absent:
            line += f", {len(absent)} do not apply:"
        terminalreporter.write_line(line)
        for text in absent:
            terminalreporter.write_line(f"  {text}")
