"""What holds for the tests of multirun_core: none of them sees the variables of a run around it."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def outside_of_any_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MULTIRUN_")]:
        monkeypatch.delenv(name)
