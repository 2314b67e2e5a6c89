"""Every check of schedulers in the conformance kit fails for one that breaks its promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import kit_bad_schedulers
import pytest
from multirun_core.testing import DeclaredScheduler, KitBase, SchedulerConformance, requires

FILE = Path(kit_bad_schedulers.__file__)
CHECKS = [name for name in dir(SchedulerConformance) if name.startswith("test_")]
PARTS = 4


class TestQueueScheduler(kit_bad_schedulers.TestGood):
    """The correct one, which the bad ones differ from in one thing."""


def test_every_check_has_a_bad_scheduler() -> None:
    assert sorted(kit_bad_schedulers.BAD) == sorted(CHECKS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.long
def test_a_bad_scheduler_is_caught(part: int, tmp_path: Path) -> None:
    checks = CHECKS[part::PARTS]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", tmp_path / "pytest.ini", "--noconftest"),
            *("-p", "no:cacheprovider", "-p", "no:asyncio", "--import-mode=importlib"),
            *("--basetemp", tmp_path / "base", f"--junitxml={report}", "-o", "junit_family=xunit1"),
            *(f"{FILE}::Test_{check}::{check}" for check in checks),
        ],
        env=os.environ | {"PYTHONPATH": str(FILE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    caught: set[str] = set()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        assert case.find("error") is None, done.stdout
        assert case.find("skipped") is None, f"{case.get('name')} does not apply"
        failure = case.find("failure")
        if failure is not None:
            assert "promised: " in str(failure.get("message")), done.stdout
            caught.add(str(case.get("name")).partition("[")[0])
    assert sorted(caught) == sorted(checks), done.stdout + done.stderr


def test_make_scheduler_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="DeclaredScheduler must define make_scheduler"):
        DeclaredScheduler().make_scheduler()


def test_checks_without_a_server_or_samples_do_not_apply() -> None:
    class Mine(kit_bad_schedulers.QueueScheduler):
        can_submit = False

        @requires("can_submit")
        def check_live(self) -> None:
            raise AssertionError

    with pytest.raises(pytest.skip.Exception, match="Mine declares can_submit = False"):
        Mine().check_live()
    assert not issubclass(Mine, KitBase)
