"""Driver processes for checks that kill them: the author's runner, made in a process of its own."""

from __future__ import annotations

import importlib.util
import inspect
import json
import operator
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multirun_core.testing.base import KitBase

# The order comes by standard input, so that the command gives no path away to who looks for it.
_PROGRAM = """
import json, sys
home = json.loads(sys.stdin.buffer.readline())
sys.path[:] = home["path"]
from multirun_core.testing import drive
drive.main(home, sys.stdin.buffer.read())
"""


def start(
    kit: KitBase,
    options: Mapping[str, Any],
    call: Mapping[str, Any],
    environment: Mapping[str, str],
    stdout: int | None,
    prefix: Sequence[str],
) -> subprocess.Popen[bytes]:
    """Start a driver; see `KitBase.driver`.

    Raises:
        TypeError: the author's class cannot be imported by another process.
    """
    cls = type(kit)
    if "<locals>" in cls.__qualname__:
        raise TypeError(f"{cls.__qualname__} is inside a function, where no driver can import it")
    home = {
        "path": [str(Path(entry).absolute()) for entry in sys.path],
        "file": str(Path(inspect.getfile(cls)).absolute()),
        "module": cls.__module__,
        "name": cls.__qualname__,
    }
    state = {name: value for name, value in vars(kit).items() if name != "_drivers"}
    order = json.dumps(home).encode() + b"\n" + pickle.dumps((state, options, call))
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=stdout,
        env=os.environ | dict(environment),
        start_new_session=True,
    )
    if process.stdin is None:
        raise AssertionError("a pipe was asked for")
    process.stdin.write(order)
    process.stdin.close()
    return process


def main(home: Mapping[str, Any], order: bytes) -> None:
    """Carry out a sweep with the runner of an author's class; in the driver."""
    spec = importlib.util.spec_from_file_location(home["module"], home["file"])
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {home['file']}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[home["module"]] = module
    spec.loader.exec_module(module)
    state, options, call = pickle.loads(order)  # noqa: S301 - written by the check that started us
    kit: KitBase = operator.attrgetter(home["name"])(module)()
    vars(kit).update(state)

    from multirun_core import multirun

    multirun(runner=kit.make_runner(**options), progress=False, **call)
