"""Checks of what a runner costs its driver and leaves behind, and of its plugin's hook module."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from multirun_core._runners.spec import NAME, RunnerSpec
from multirun_core.testing.base import KitBase
from multirun_core.testing.contract import fresh
from multirun_core.testing.promises import expect, promise, requires, sh, told

MOST_TASKS, MOST_FILES, MOST_MEBIBYTES = 1000, 500, 64

# Imports the hook module, asks it for its runners, and tells which modules that has imported.
HOOKS = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
homes = [getattr(spec.factory, "__module__", str(spec.factory).partition(":")[0])
         for spec in module.multirun_register_runners()]
print(json.dumps({"homes": homes, "modules": sorted(sys.modules)}))
"""


def _files() -> dict[str, str]:
    """Return the open files of this process by number; none where there is no /proc."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found[entry.name] = os.fspath(entry.readlink())
    return found


def _children() -> dict[int, str]:
    """Return the children of this process, zombies included: pid and command."""
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = command.decode(errors="replace")
    return found


def _memory() -> int:
    """Return the resident set of this process in bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class TidinessChecks(KitBase):
    """What a runner promises to its driver and to the machine."""

    def _use(self, path: Path) -> None:
        """Do with a runner all that there is to do: successes, failures, a cancellation."""

        async def work() -> None:
            runner = self.make_runner(**self.slots(2), **self.grace(0.3))
            for number, cmd in enumerate((["true"], ["false"], ["no-such-program-anywhere"])):
                runner.add(cmd, fresh(path / "bare" / str(number)))
            await runner.gather()
            run = runner.add(["sleep", "300"], fresh(path / "bare" / "long"))
            gathering = asyncio.ensure_future(runner.gather())
            await self.until(lambda: run.status == "running", "a run starts", during=gathering)
            gathering.cancel()
            await asyncio.wait([gathering])

        self.bounded(work())
        self.run_sweep(3, sh("echo out; exit $MULTIRUN_PARAM_N"), path / "s", options=self.slots(2))

    @requires("runs_on_this_machine")
    def test_no_process_is_left(self, tmp_path: Path) -> None:
        before = set(_children())
        self._use(tmp_path / "use")

        def left() -> dict[int, str]:
            children = {pid: cmd for pid, cmd in _children().items() if pid not in before}
            return children | self.processes_of(tmp_path)

        deadline = time.monotonic() + self.patience(3)
        while left() and time.monotonic() < deadline:
            time.sleep(0.01)
        promise(not left(), "when gather() or a sweep is over, no process is left", left())

    def test_no_task_is_left(self, tmp_path: Path) -> None:
        promised = "when gather() or a sweep is over, no task of the runner is left"

        async def work() -> None:
            before = asyncio.all_tasks()
            runner = self.make_runner(**self.slots(2))
            for number in range(3):
                runner.add(sh(f"exit {number}"), fresh(tmp_path / str(number)))
            await runner.gather()
            await self.sweep(3, ["true"], tmp_path / "s")
            deadline = time.monotonic() + self.patience(2)
            while (left := asyncio.all_tasks() - before) and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            promise(not left, promised, left)

        self.bounded(work())

    def test_no_thread_is_left(self, tmp_path: Path) -> None:
        self._use(tmp_path / "first")
        before = set(threading.enumerate())
        self._use(tmp_path / "second")
        deadline = time.monotonic() + self.patience(3)
        while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
            time.sleep(0.01)
        promise(not left, "a runner that is done with leaves no thread", left)

    @requires("runs_on_this_machine")
    def test_no_open_file_is_left(self, tmp_path: Path) -> None:
        self._use(tmp_path / "first")
        gc.collect()
        before = _files()
        self._use(tmp_path / "second")
        gc.collect()
        deadline = time.monotonic() + self.patience(3)
        while (left := _new(_files(), before)) and time.monotonic() < deadline:
            time.sleep(0.01)
        promise(not left, "a runner that is done with leaves no open file", left)

    def test_no_temporary_file_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Not in tmp_path: the name of a socket must be short.
        folder = Path(tempfile.mkdtemp(prefix="kit"))
        try:
            monkeypatch.setenv("TMPDIR", str(folder))
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            self._use(tmp_path / "use")
            left = sorted(os.fspath(path.relative_to(folder)) for path in folder.rglob("*"))
        finally:
            shutil.rmtree(folder)
        promise(not left, "a runner that is done with leaves no temporary file", left)

    def test_no_warning_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record.getMessage())

        def unraisable(args: sys.UnraisableHookArgs) -> None:
            seen.append(f"{args.exc_value!r} in {args.object!r}")

        keep = Keep(logging.ERROR)
        logging.getLogger("asyncio").addHandler(keep)
        monkeypatch.setattr(sys, "unraisablehook", unraisable)
        try:
            gc.collect()
            seen.clear()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self._use(tmp_path / "use")
                gc.collect()
        finally:
            logging.getLogger("asyncio").removeHandler(keep)
        kinds = (ResourceWarning, RuntimeWarning)
        seen += [str(one.message) for one in caught if issubclass(one.category, kinds)]
        promised = "a runner leaves nothing unclosed, unawaited or with an exception unseen"
        promise(not seen, promised, seen)

    def test_many_runs_cost_the_driver_little(self, tmp_path: Path) -> None:
        most = {"tasks": 0, "files": 0, "memory": 0}

        async def work() -> list[Any]:
            start_files, start_memory = len(_files()), _memory()

            def measure() -> None:
                most["tasks"] = max(most["tasks"], len(asyncio.all_tasks()))
                most["files"] = max(most["files"], len(_files()) - start_files)
                most["memory"] = max(most["memory"], _memory() - start_memory)

            sweeping = asyncio.ensure_future(self.sweep(self.many, ["true"], tmp_path / "s"))
            while not sweeping.done():
                measure()
                await asyncio.sleep(0.02)
            return list((await sweeping).runs)

        runs = self.bounded(work(), 120)
        bad = [run for run in runs if run.status != "success"]
        promise(not bad, f"{self.many} runs succeed", told(bad[:3]))
        cost = f"{most['tasks']} tasks, {most['files']} files, {most['memory'] >> 20} MiB"
        promise(
            most["tasks"] <= MOST_TASKS
            and most["files"] <= MOST_FILES
            and most["memory"] <= MOST_MEBIBYTES << 20,
            f"{self.many} runs take at most {MOST_TASKS} tasks, {MOST_FILES} open files and "
            f"{MOST_MEBIBYTES} MiB of the driver at any time",
            cost,
        )

    @requires("hook_module")
    def test_importing_the_hook_module_imports_no_backend(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", HOOKS, str(self.hook_module)],
            capture_output=True,
            text=True,
            timeout=self.patience(30),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        promised = f"{self.hook_module} can be imported and names its runners"
        promise(done.returncode == 0, promised, done.stderr)
        told_of = json.loads(done.stdout)
        heavy = {*self.heavy_modules, *told_of["homes"]} - {self.hook_module}
        found = sorted(heavy & set(told_of["modules"]))
        expect(found, [], f"importing {self.hook_module} imports no runner and nothing heavy")

    @requires("hook_module")
    def test_the_hook_module_names_its_runners(self) -> None:
        module = importlib.import_module(str(self.hook_module))
        specs = list(module.multirun_register_runners())
        promised = "the hook names at least one runner: a name, a factory that exists, a summary"
        promise(specs, promised, specs)
        for spec in specs:
            promise(isinstance(spec, RunnerSpec), promised, spec)
            promise(NAME.match(spec.name) and spec.summary.strip(), promised, spec)
            try:
                factory = spec.load()
            except (ImportError, AttributeError) as error:
                promise(False, promised, f"{spec}: {error}")
            else:
                promise(callable(factory), promised, spec)


def _new(now: dict[str, str], before: dict[str, str]) -> dict[str, str]:
    return {number: name for number, name in now.items() if before.get(number) != name}
