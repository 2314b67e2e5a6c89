"""Environments that hold one version of multirun_core and share its dependencies."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path


def make_environment(folder: Path, tree: Path) -> str:
    """Make an environment and return its interpreter.

    It has nothing in it that an interpreter would look at when it starts, but the two places
    where packages are: starting it takes no longer than it must.

    Args:
        folder: where it is to be.
        tree: the checked-out tree whose multirun_core is to be imported.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    shared = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    places = [str(tree / "multirun_core" / "src"), *shared]
    (packages / "multirun.pth").write_text("\n".join(places) + "\n", "utf-8")
    return str(folder / "bin" / "python")
