"""The public names, what importing them costs, and which part of the package imports which."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from multirun_core._staging.luggage import luggage

import multirun_core

PACKAGE = "multirun_core"
ROOT = Path(multirun_core.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A module imports from its own room and from those before it.
ROOMS = [
    ["errors"],
    ["_version"],
    ["_threads"],
    ["_waiting"],
    ["_model"],
    ["_inrun"],
    ["_transport"],
    ["_staging"],
    ["_runners"],
    ["plugins", "backends", "_registry", "_loading", "_options", "_convert"],
    ["_display"],
    ["_sweep"],
    ["_cli"],
    ["testing"],
]
HEIGHT = {name: height for height, names in enumerate(ROOMS) for name in names}
# The contract for plugins names what its hooks are given.
NAMES_ANYTHING_FOR_TYPES = ("errors", "__init__", "plugins")
# The runners of this distribution are a plugin like any other.
PLUGIN = ("_runners/plugin.py", "multirun_core.plugins.hookimpl")


class Import(NamedTuple):
    name: str
    line: int
    for_types: bool


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[Import]:
    """Yield what a module imports, at whatever depth, by full names."""
    tree = tree_of(path)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    here = [PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*here[: len(here) - node.level], node.module or ""]).strip(".")
            origin = base if node.level else node.module or ""
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, node.lineno, id(node) in for_types)


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def wrong_directions(path: Path) -> Iterator[str]:
    own = room(path)
    for found in imports(path):
        package, _, inside = found.name.partition(".")
        if package != PACKAGE or (path.relative_to(ROOT).as_posix(), found.name) == PLUGIN:
            continue
        other = inside.partition(".")[0]
        if other in multirun_core.__all__ or other in ("", "__version__"):
            if own not in ("_cli", "testing"):
                yield f"{path}:{found.line}: {found.name} is not imported from where it is defined"
        elif own == "__init__" or (found.for_types and own in NAMES_ANYTHING_FOR_TYPES):
            continue
        elif HEIGHT[other] > HEIGHT[own]:
            yield f"{path}:{found.line}: {own} must not import {found.name}"


def test_every_module_belongs_to_a_room() -> None:
    assert {room(path) for path in MODULES} - {"__init__", "__main__"} <= set(HEIGHT)


def test_rooms_import_only_what_stands_before_them() -> None:
    wrong = [
        line for path in MODULES if room(path) != "__main__" for line in wrong_directions(path)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("place", "line", "wrong"),
    [
        ("_model/x.py", "from multirun_core._sweep.api import multirun", True),
        ("_model/x.py", "import multirun_core._sweep.api", True),
        ("_model/x.py", "from .._sweep import api", True),
        ("_model/x.py", "from multirun_core import _sweep", True),
        ("_model/x.py", "if TYPE_CHECKING:\n    from multirun_core._sweep import api", True),
        ("_model/x.py", "def f():\n    from multirun_core._runners import base", True),
        ("_model/x.py", "from multirun_core import Run", True),
        ("plugins.py", "from multirun_core._registry import x", False),
        ("plugins.py", "from multirun_core._sweep import api", True),
        ("errors.py", "from multirun_core._model.run import Run", True),
        ("_runners/plugin.py", "from multirun_core.plugins import hookimpl", False),
        ("_runners/local.py", "from multirun_core.plugins import hookimpl", True),
        ("errors.py", "if TYPE_CHECKING:\n    from multirun_core._sweep import api", False),
        ("_sweep/x.py", "from multirun_core._model.run import Run", False),
        ("_sweep/x.py", "from . import journal", False),
        ("_sweep/x.py", "from .journal import Journal", False),
        ("_cli/x.py", "from multirun_core import multirun", False),
        ("_model/x.py", "import multirun_core_of_others, json", False),
    ],
)
def test_the_check_of_directions_itself(
    place: str, line: str, wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert bool(list(wrong_directions(path))) is wrong


def test_all_is_what_type_checkers_see() -> None:
    tree = tree_of(ROOT / "__init__.py")
    seen: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                assert alias.asname == alias.name  # which re-exports it
                seen[alias.name] = str(node.module)
    assert sorted(seen) == list(multirun_core.__all__)
    homes = {name: f"{PACKAGE}.{home}" for name, home in multirun_core._HOME_OF.items()}
    assert homes == seen


def test_every_public_name_is_there() -> None:
    for name in multirun_core.__all__:
        value = getattr(multirun_core, name)
        assert value is not None
        assert getattr(multirun_core, name) is value
    assert set(multirun_core.__all__) <= set(dir(multirun_core))
    assert multirun_core.__version__.count(".") >= 1


def test_all_errors_have_one_root() -> None:
    from multirun_core import errors

    found = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert set(found) <= set(multirun_core.__all__)
    for value in found.values():
        assert issubclass(value, multirun_core.MultirunError)
        assert not issubclass(value, KeyError)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"multirun_core.*no attribute 'nonsense'"):
        multirun_core.nonsense  # noqa: B018


def loaded_by(program: str, tmp_path: Path) -> set[str]:
    """Return the modules that a program has loaded over a bare interpreter."""

    def modules(text: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", f"{text}\nimport sys; print(*sys.modules, sep='\\n')"],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=30,
        )
        return set(done.stdout.split())

    return modules(program) - modules("")


HEAVY = {
    "pluggy", "rich", "click", "asyncio", "dataclasses", "typing", "json", "pathlib", "subprocess",
}  # fmt: skip


def test_importing_the_package_loads_next_to_nothing(tmp_path: Path) -> None:
    loaded = loaded_by("import multirun_core", tmp_path)
    assert loaded & HEAVY == set()
    assert loaded <= {"multirun_core", "__future__"}


def test_parameters_load_no_more_than_json(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text(json.dumps({"a": 1}))
    program = "from multirun_core import getRunParams; assert getRunParams() == {'a': 1}"
    bare = loaded_by("import __future__, importlib, json", tmp_path)
    assert loaded_by(program, tmp_path) - bare == {"multirun_core", "multirun_core._inrun"}


def test_posting_json_loads_no_more_than_json(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text("{}")
    program = "from multirun_core import postRunResults; postRunResults({'a': 1})"
    bare = loaded_by("import __future__, importlib, json", tmp_path)
    assert loaded_by(program, tmp_path) - bare == {"multirun_core", "multirun_core._inrun"}


@pytest.mark.parametrize("name", luggage())
def test_what_runs_in_jobs_is_python_3_8(name: str) -> None:
    tree = ast.parse(luggage()[name], feature_version=(3, 8))
    if len(tree.body) > 1:  # more than a docstring
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert futures[0].module == "__future__"  # so annotations are not evaluated
    # What feature_version does not see: types joined by | and methods of later versions.
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if isinstance(annotation := getattr(node, field, None), ast.AST)
        for inner in ast.walk(annotation)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            assert id(node) in annotations or "os.O_" in ast.unparse(node)
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("removeprefix", "removesuffix", "bit_count")
