"""What the conformance kit's checks are made with: bounds, declarations, drivers, the summary."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import pytest
from multirun_core.testing import KitBase, expect, promise, requires
from multirun_core.testing import loop as bounded_loop

from multirun_core import ParallelLocalRunner, Run, Sweep


class TestKit(KitBase):
    """A user of the kit with checks of its own."""

    measures_usage: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _given(self) -> None:
        self.given = {"max_parallel": 3}

    def make_runner(self, **options: Any) -> ParallelLocalRunner:
        return ParallelLocalRunner(**self.given, **options)

    def test_a_driver_makes_the_runner_of_this_instance(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path / "s", 2, ["sh", "-c", "exit $MULTIRUN_PARAM_N"])
        assert driver.wait(30) == 0
        sweep = Sweep.open(tmp_path / "s")
        assert [run.status for run in sweep.runs] == ["success", "failure"]

    def test_processes_are_found_by_a_path(self, hostile_path: Path) -> None:
        with subprocess.Popen(["sleep", "60"], cwd=hostile_path) as process:
            try:
                self.wait_until(
                    lambda: self.processes_of(hostile_path) == {process.pid: "sleep 60 "},
                    "the process is found by its directory",
                )
            finally:
                process.kill()
        assert self.processes_of(hostile_path) == {}

    def test_what_a_check_leaves_is_killed(self, tmp_path: Path) -> None:
        process = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
        process.returncode = 0  # nobody waits for it: `leaves_nothing_behind` would tell

    def test_both_ways(self, tmp_path: Path) -> None:
        ways = dict(self.both_ways([["echo", "{n}"], ["echo", "b"]], tmp_path))
        for runs in ways.values():
            assert [run.stdout.read_text() for run in runs] == ["{n}\n", "b\n"]
        assert list(ways) == ["added to the runner", "in a sweep"]


def test_make_runner_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="KitBase must define make_runner"):
        KitBase().make_runner()


def test_a_driver_must_be_able_to_import_the_class(tmp_path: Path) -> None:
    class Hidden(TestKit):
        pass

    with pytest.raises(TypeError, match="Hidden is inside a function"):
        Hidden().driver(tmp_path, 1, ["true"])


def test_promises_say_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"promised: it ends\n     seen: 1\n   wanted: 2"):
        expect(1, 2, "it ends")
    with pytest.raises(AssertionError, match="promised: it ends\n     seen: it did not"):
        promise(False, "it ends", "it did not")
    promise([0], "it ends")


def test_what_does_not_apply_is_skipped_with_the_reason() -> None:
    class Declares(TestKit):
        slots_option = None
        needs_shared_filesystem = runs_on_this_machine = False

        @requires("slots_option")
        def check_slots(self) -> None:
            raise AssertionError

        @requires("ends_whole_trees", "shares_files")
        def check_files(self) -> None:
            raise AssertionError

        @requires("captures_output")
        def check(self, value: int) -> int:
            return value

    kit = Declares()
    with pytest.raises(pytest.skip.Exception, match="Declares declares slots_option = None"):
        kit.check_slots()
    with pytest.raises(pytest.skip.Exception, match="its runs do not see the files"):
        kit.check_files()
    assert kit.check(3) == 3


def test_work_without_end_is_ended() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.1 s; it was then cancelled"):
        bounded_loop.run_bounded(asyncio.sleep(60), 0.1)


def test_work_that_cannot_be_ended_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_loop, "_CLEANUP_SECONDS", 0.2)

    async def stubborn() -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    with pytest.raises(AssertionError, match="it cannot be cancelled either"):
        bounded_loop.run_bounded(stubborn(), 0.1)


def test_errors_of_the_work_are_raised() -> None:
    async def fails() -> Run:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bounded_loop.run_bounded(fails(), 5)


@pytest.mark.timeout(180)
def test_the_end_says_what_was_passed_and_what_does_not_apply(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent("""
            from multirun_core import ParallelLocalRunner
            from multirun_core.testing import RunnerConformance

            class TestMine(RunnerConformance):
                slots_option = None

                def make_runner(self, **options):
                    return ParallelLocalRunner(**options)

            def test_of_another_kind():
                pass
        """)
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"),
            *("-k", "exits_0 or too_many_failures or another_kind"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    start = "multirun conformance of TestMine: 2 checks, 1 passed, 1 do not apply:"
    assert lines[lines.index(start) + 1] == (
        "  TestMine.test_too_many_failures_stop_the_sweep: TestMine declares slots_option = None"
    )
    assert done.stdout.count("multirun conformance") == 1


def test_without_pytest_it_says_what_to_do() -> None:
    code = "import sys; sys.modules['pytest'] = None; import multirun_core.testing"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert "pip install 'multirun-core[testing]'" in done.stderr


def test_only_the_kit_imports_pytest() -> None:
    code = (
        "import sys, multirun_core; [getattr(multirun_core, name) for name in "
        "multirun_core.__all__]; raise SystemExit('pytest' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, timeout=50, check=False)
    assert done.returncode == 0
