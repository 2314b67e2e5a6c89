"""What is published works by itself: the wheel in a clean environment, and the source archive."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from .clean import ROOT, Environment, about, build, check_contents, sources

PROJECT = ROOT / "multirun_core"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and the wheel from that, in a copy of the project."""
    return build(PROJECT, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_wheel_holds_the_package_whole(wheel: Path) -> None:
    entry_point = "local = multirun_core._runners.plugin"
    check_contents(wheel, PROJECT, entry_point, "_runners/launcher/server.py")


def test_wheel_says_what_it_is(wheel: Path) -> None:
    told = about(wheel)
    assert told["Name"] == "multirun-core"
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == ">=3.11.4"


def test_source_archive_holds_what_the_wheel_is_made_of(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in sources(PROJECT)} <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


@pytest.mark.long
@pytest.mark.timeout(300)
def test_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(wheel)
    place = environment.place
    assert environment.multirun("--version").startswith("multirun 0.")
    where = environment.execute("import multirun_core; print(multirun_core.__file__)")
    assert Path(where.strip()).is_relative_to(environment.programs.parent.resolve())

    (place / "double.py").write_text(
        "from multirun_core import getRunParams, postRunResults\n"
        "postRunResults({'y': 2 * getRunParams()['x']})\n"
    )
    sweep = place / "a sweep"
    words = ("run", "-p", "x=1,2,3", "-i", "double.py", "-o", sweep, "--", "python", "double.py")
    environment.multirun(*words)
    table = environment.multirun("results", sweep, "--format", "csv").splitlines()
    column = table[0].split(",").index("y")
    assert [line.split(",")[column] for line in table[1:]] == ["2", "4", "6"]
