"""What is published works by itself: the wheel in a clean environment, and the source archive."""

from __future__ import annotations

import email
import tarfile
import zipfile
from pathlib import Path

import pytest

from .clean import ROOT, Environment, build

PROJECT = ROOT / "multirun_core"
SOURCES = PROJECT / "src"


def sources() -> set[str]:
    """Return the package's files as they are in the tree, relative to `src`."""
    return {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and the wheel from that, in a copy of the project."""
    return build(PROJECT, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_wheel_holds_the_package_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        package = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
        assert package == sources()
        assert {"multirun_core/py.typed", "multirun_core/_runners/launcher/server.py"} <= names
        (licence,) = (name for name in names if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        (entries,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        about = email.message_from_bytes(archive.read(metadata))
        points = archive.read(entries).decode()
    assert about["Name"] == "multirun-core"
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.11.4"
    assert "multirun = multirun_core._cli:main" in points
    needs = {one.split(";")[0].split(">")[0] for one in about.get_all("Requires-Dist", [])}
    assert {"click", "pluggy", "rich"} <= needs


def test_source_archive_holds_what_the_wheel_is_made_of(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in sources()} <= names
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
