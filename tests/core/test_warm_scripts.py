"""A run that is forked from a warm interpreter does what a fresh process does."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from launcher_tools import AWKWARD
from multirun_core._model.run import ExitStatus
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.warm import Warming
from warm_scripts import SCRIPTS

SHOW = "import sys, os; print(sys.path, sys.argv, __file__, __spec__, __package__)\n"


def prepare(folder: Path, script: str) -> None:
    (folder / "below").mkdir(parents=True)
    (folder / "package" / "inner").mkdir(parents=True)
    (folder / "body.py").write_text(script + "\n", errors="surrogateescape")
    (folder / "below" / "other.py").write_text(SHOW)
    (folder / "link.py").symlink_to(Path("below", "other.py"))
    (folder / "beside.py").write_text("value = 5\n")
    (folder / "colorsys.py").write_text("mine = True\n")
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "inner" / "__init__.py").write_text("")
    (folder / "package" / "__main__.py").write_text(SHOW)
    (folder / "package" / "failing.py").write_text("1 / 0\n")


def observed(folder: Path, end: ExitStatus) -> dict[str, object]:
    """Return all that can be seen of a run, in a form that is the same for equal ones."""

    def text(name: str) -> str:
        raw = (folder / name).read_bytes().decode("utf-8", "surrogateescape")
        raw = raw.replace(repr(str(folder))[1:-1], "HERE").replace(str(folder), "HERE")
        return re.sub(r"\b0x[0-9a-f]+|started [0-9]+", "…", raw)

    files = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "__pycache__" not in str(path)
    )
    return {
        "code": end.code,
        "reason": end.reason,
        "message": end.message,
        "stdout": text("stdout.txt"),
        "stderr": text("stderr.txt"),
        "files": [(name, (folder / name).stat().st_size) for name in files],
    }


async def carried_out(path: Path, words: list[str], script: str, warm: Warming | None) -> Any:
    """Carry a script out in a new launcher, and say which processes it was forked from."""
    folder = path / AWKWARD
    prepare(folder, script)
    cmd = [word.replace("HERE", str(folder)).replace("PYTHON", sys.executable) for word in words]
    launcher = await Launcher.start()
    try:
        env = {"MULTIRUN_RUN_DIR": str(folder), "MULTIRUN_PARAM_A": "é\udcff\n"}
        files = [str(folder / name) for name in ("stdout.txt", "stderr.txt")]
        place = None if warm is None else await warm.place(launcher, cmd, str(folder), env)
        assert (place is None) == (warm is None)
        end = await launcher.run(cmd, folder, env, *files, timeout=20, grace=1, warm=place)
        assert not launcher.cold
    finally:
        await launcher.close()
    seen = observed(folder, end)
    shutil.rmtree(folder)
    return seen


PRELOADS = [
    ("os",),
    ("json", "random", "logging", "threading", "multiprocessing", "colorsys", "multirun_core"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("preload", PRELOADS, ids=["nothing", "much"])
@pytest.mark.parametrize(("name", "script", "words"), SCRIPTS, ids=[one[0] for one in SCRIPTS])
async def test_warm_is_as_spawned(
    tmp_path: Path, name: str, script: str, words: list[str], preload: tuple[str, ...]
) -> None:
    if name == "modules" and len(preload) > 1:
        script = "import sys; print('json' in sys.modules or 'json')"
    spawned = await carried_out(tmp_path, words, script, None)
    warm = await carried_out(tmp_path, words, script, Warming(preload))
    assert warm == spawned
