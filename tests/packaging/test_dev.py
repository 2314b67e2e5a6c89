"""The first command of the README, in a fresh clone whose directory has an odd name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .clean import ROOT, run


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_demo_in_a_directory_of_any_name(tmp_path: Path) -> None:
    clone = tmp_path / 'it\'s a "clone"; $HOME ü*'
    clone.mkdir()
    shutil.copy2(ROOT / "dev", clone)
    shutil.copy2(ROOT / "requirements-dev.txt", clone)
    for project in ROOT.glob("multirun_*"):
        skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(project, clone / project.name, ignore=skipped)
    told = run("./dev", "demo", cwd=clone, seconds=540)
    assert "All of it is in multirun-demo" in told
    assert (clone / "multirun-demo" / "runs" / "000199" / "results.json").is_file()
    assert os.access(clone / ".venv" / "bin" / "python", os.X_OK)
