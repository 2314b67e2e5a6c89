"""Environments that hold one version of our packages, installed, and share their dependencies."""

from __future__ import annotations

import compileall
import shutil
import sysconfig
import venv
from pathlib import Path


def make_environment(folder: Path, tree: Path) -> str:
    """Make an environment and return its interpreter.

    The packages are copies, with their bytecode, as an installer would leave them: what is done in
    the tree meanwhile changes nothing. An interpreter that starts finds nothing else to look at but
    the place where the dependencies are.

    Args:
        folder: where it is to be.
        tree: the checked-out tree whose packages it is to have.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    for source in sorted(tree.glob("multirun_*/src/multirun_*")):
        package = packages / source.name
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(package, quiet=1)
    shared = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (packages / "shared.pth").write_text("\n".join(shared) + "\n", "utf-8")
    return str(folder / "bin" / "python")
