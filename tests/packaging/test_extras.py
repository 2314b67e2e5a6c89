"""Core alone: it needs little, and says what to install for what it does not bring."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .clean import PIP, ROOT, Environment, about, build_wheel, needs, run


@pytest.fixture(scope="module")
def alone(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("alone"))
    environment.install(core)
    return environment


def test_core_needs_three_distributions(core: Path) -> None:
    assert needs(core) == ["click", "pluggy", "rich"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_core_alone_brings_little_along(alone: Environment) -> None:
    code = "from importlib.metadata import distributions as d; print(*(one.name for one in d()))"
    installed = {name.lower() for name in alone.execute(code).split()}
    # What rich needs, besides: the two that render markdown and colour code.
    assert installed - {"pip", "setuptools"} == {
        "click",
        "markdown-it-py",
        "mdurl",
        "multirun-core",
        "pluggy",
        "pygments",
        "rich",
    }


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["ssh", "slurm"])
def test_a_known_runner_that_is_not_there_can_be_installed(alone: Environment, name: str) -> None:
    call = "from multirun_core import multirun; multirun(runs=[{}], cmd=['true'], runner=%r)"
    told = alone.fails(call % name)
    first = f"multirun_core.errors.RunnerNotFoundError: no runner named {name!r}."
    assert told.splitlines()[0] == first
    assert "installed:      local (multirun-core 0." in told
    assert f"{name}: pip install multirun-{name}" in told
    assert re.search(rf"^{name} +not installed +pip install", alone.multirun("runners"), re.M)
    assert not list(alone.place.iterdir())


@pytest.mark.long
@pytest.mark.timeout(300)
def test_without_pandas_the_table_says_what_to_install(alone: Environment) -> None:
    told = alone.fails(
        "from multirun_core import multirun\n"
        "sweep = multirun(runs=[{}], cmd=['true'], output_path='swept', progress=False)\n"
        "sweep.to_csv('table.csv')\n"
        "sweep.to_dataframe()\n"
    )
    assert 'pip install "multirun-core[pandas]"' in told
    assert (alone.place / "table.csv").read_text().count("\n") == 2


@pytest.mark.long
@pytest.mark.timeout(300)
def test_extras_resolve(core: Path, alone: Environment, tmp_path: Path) -> None:
    """With each other, and with the distributions of this workspace that they name."""
    extras = about(core).get_all("Provides-Extra", [])
    assert {"ssh", "slurm", "all", "pandas", "testing"} <= set(extras)
    for number, project in enumerate(sorted(ROOT.glob("multirun_*/pyproject.toml"))):
        built = build_wheel(project.parent, tmp_path / str(number))
        built.rename(tmp_path / built.name)
    wanted = f"multirun-core[{','.join(extras)}]"
    words = ("install", "--dry-run", "--ignore-installed", "--find-links", tmp_path, wanted)
    run(alone.python, *PIP, *words, cwd=alone.place)
