"""What holds for the tests of multirun_core: none of them sees the variables of a run around it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .inrun_programs import run_directory


@pytest.fixture(autouse=True)
def outside_of_any_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MULTIRUN_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run that this process is part of."""
    directory = run_directory(tmp_path)
    monkeypatch.setenv("MULTIRUN_RUN_DIR", str(directory))
    return directory
