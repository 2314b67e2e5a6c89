"""Where a sweep comes from, as `multirun.json` says it: a real git, and what takes its place."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import manifest
from multirun_core._version import VERSION

from multirun_core import multirun


def git(*words: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(
        ["git", *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def told(root: Path) -> Any:
    sweep = multirun(runs=[{}], cmd=["true"], output_path=root, progress=False)
    return sweep.manifest["origin"]["git"]


def test_the_commit_of_the_working_directory_and_whether_it_is_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a checkout; 'é'"
    (place / "deep").mkdir(parents=True)
    monkeypatch.chdir(place)
    assert told(tmp_path / "outside") is None
    git("init", "-q")
    assert told(tmp_path / "without a commit") is None
    (place / "simulate.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert told(tmp_path / "clean") == {"commit": commit, "dirty": False}
    monkeypatch.chdir(place / "deep")
    (place / "new.py").write_text("not known to git")
    assert told(tmp_path / "below") == {"commit": commit, "dirty": False}
    (place / "simulate.py").write_text("2")
    assert told(tmp_path / "dirty") == {"commit": commit, "dirty": True}


def test_a_git_that_is_missing_or_hangs_costs_a_moment_and_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(manifest, "_GIT_SECONDS", 0.3)
    assert manifest.origin()["git"] is None
    program = tmp_path / "bin" / "git"
    program.write_text("#!/bin/sh\nexec /bin/sleep 300\n")
    program.chmod(0o755)
    assert manifest.origin()["git"] is None


def test_the_version_is_known_where_the_package_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as one that is imported from its sources by PYTHONPATH."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert manifest.origin()["versions"]["multirun-core"] == VERSION
