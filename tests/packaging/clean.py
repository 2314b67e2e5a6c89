"""Building what is published, and clean environments to install it in."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


def attempt(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command without what would make this process's Python, or sweep, known to it."""
    known = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MULTIRUN_", "COVERAGE_"))
    }
    return subprocess.run(
        words,
        cwd=cwd,
        env=known | dict(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def run(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 240
) -> str:
    """Run a command that must succeed and return what it prints."""
    done = attempt(*words, cwd=cwd, env=env, seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(project: Path, place: Path) -> Path:
    """Build the source archive, and the wheel from that, in a copy of the project."""
    copied = place / project.name
    shutil.copytree(project, copied, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", cwd=copied)
    return place / "dist"


def build_wheel(project: Path, place: Path) -> Path:
    """Build a project and return its wheel."""
    (wheel,) = build(project, place).glob("*.whl")
    return wheel


def sources(project: Path) -> set[str]:
    """Return the files of a project's package as they are in the tree, relative to `src`."""
    return {
        path.relative_to(project / "src").as_posix()
        for path in (project / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def about(wheel: Path) -> Message:
    """Return what a wheel says of its distribution."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.message_from_bytes(archive.read(metadata))


def check_contents(wheel: Path, project: Path, entry_point: str, *files: str) -> None:
    """Make sure that a wheel holds all sources of its project, some of them by name, and no more.

    Args:
        wheel: to look at.
        project: what it was built from.
        entry_point: the one of the group `multirun`.
        files: paths in the package that it cannot do without.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entries,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert f"[multirun]\n{entry_point}" in archive.read(entries).decode()
        (licence,) = (name for name in names if name.endswith("/licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    package = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert package == sources(project)
    assert {f"{project.name}/{file}" for file in ("py.typed", *files)} <= package


def needs(wheel: Path) -> list[str]:
    """Return the distributions that a wheel needs, extras left out."""
    found = about(wheel).get_all("Requires-Dist", [])
    return sorted(re.split(r"[^\w-]", one)[0] for one in found if "extra ==" not in one)


def check_extra(core: Path, wheel: Path, extra: str) -> None:
    """Make sure that an extra of core, and `all`, bring a distribution in its present version."""
    mine = [
        one
        for one in about(core).get_all("Requires-Dist", [])
        if one.startswith(str(about(wheel)["Name"]))
    ]
    assert {re.sub(r".*extra == .(\w+).", r"\1", one) for one in mine} == {extra, "all"}
    assert all(f">={about(wheel)['Version']}" in one for one in mine)


class Environment:
    """An environment of its own, in a directory whose name has a blank.

    Attributes:
        place: an empty directory beside it, to work in.
        python: its Python.
    """

    def __init__(self, parent: Path) -> None:
        """Make it; nothing is installed but pip."""
        venv.create(parent / "an environment", with_pip=True)
        self.programs = parent / "an environment" / "bin"
        self.python = self.programs / "python"
        self.place = parent / "work"
        self.place.mkdir()

    def install(self, *what: str | Path) -> None:
        """Install wheels, and what they need from the index."""
        run(self.python, *PIP, "install", *what, cwd=self.place)

    def uninstall(self, name: str) -> None:
        """Uninstall a distribution that is there."""
        run(self.python, *PIP, "uninstall", "--yes", name, cwd=self.place)

    def multirun(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run the program and return what it prints."""
        return run(self.programs / "multirun", *words, cwd=self.place, env=env)

    def execute(self, code: str, env: Mapping[str, str] | None = None) -> str:
        """Run Python code and return what it prints."""
        return run(self.python, "-W", "error", "-c", code, cwd=self.place, env=env)

    def fails(self, code: str, env: Mapping[str, str] | None = None) -> str:
        """Run Python code that must end with an exception; return that, without the traceback."""
        done = attempt(self.python, "-W", "error", "-c", code, cwd=self.place, env=env)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr[done.stderr.index("\nmultirun_core.errors.") + 1 :]


def write_wheel(place: Path, name: str, entry_point: str, **modules: str) -> Path:
    """Write the wheel of a distribution of one entry point, without building it.

    Args:
        place: where to put it.
        name: of the distribution, whose version is 9.9.
        entry_point: one of the group `multirun`, such as "mine = module".
        modules: the source of each module by its name.
    """
    stem = f"{name.replace('-', '_')}-9.9"
    files = {f"{module}.py": source for module, source in modules.items()}
    files[f"{stem}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n"
    files[f"{stem}.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{stem}.dist-info/entry_points.txt"] = f"[multirun]\n{entry_point}\n"
    record = f"{stem}.dist-info/RECORD"
    files[record] = "".join(f"{path},,\n" for path in [*files, record])
    wheel = place / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
