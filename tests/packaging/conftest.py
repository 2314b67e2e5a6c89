"""The wheels of all three distributions, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .clean import ROOT, build_wheel


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "multirun_core", tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="session")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "multirun_ssh", tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "multirun_slurm", tmp_path_factory.mktemp("slurm"))
