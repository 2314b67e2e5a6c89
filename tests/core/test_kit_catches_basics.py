"""Every basic check of the conformance kit fails for a runner that breaks its promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import kit_bad_basics
import pytest
from multirun_core.testing.basics import BasicChecks
from multirun_core.testing.contract import ContractChecks
from multirun_core.testing.ending import EndingChecks
from multirun_core.testing.execution import ExecutionChecks
from multirun_core.testing.sweeping import SweepChecks
from multirun_core.testing.tidiness import TidinessChecks

FILE = Path(kit_bad_basics.__file__)


def checks_of(kit: type) -> list[str]:
    return [name for name in dir(kit) if name.startswith("test_")]


def outcomes(tmp_path: Path, *cases: str) -> dict[str, str | None]:
    """Run pytest on cases of `kit_bad_basics`; return the text of each failure by check."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", tmp_path / "pytest.ini", "--noconftest"),
            *("-p", "no:cacheprovider", "-p", "no:asyncio", "--import-mode=importlib"),
            *("--basetemp", tmp_path / "base", f"--junitxml={report}", "-o", "junit_family=xunit1"),
            *(f"{FILE}::{case}" for case in cases),
        ],
        env=os.environ | {"PYTHONPATH": str(FILE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        assert case.find("error") is None, f"{case.get('name')}: {done.stdout}"
        assert case.find("skipped") is None, f"{case.get('name')} does not apply"
        failure = case.find("failure")
        found[str(case.get("name"))] = None if failure is None else str(failure.get("message"))
    return found


def test_every_check_has_a_bad_runner() -> None:
    assert sorted(kit_bad_basics.BAD) == checks_of(BasicChecks)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "kit", [ContractChecks, ExecutionChecks, SweepChecks, EndingChecks, TidinessChecks]
)
def test_a_bad_runner_is_caught(kit: type, tmp_path: Path) -> None:
    checks = checks_of(kit)
    found = outcomes(tmp_path, *(f"Test_{check}::{check}" for check in checks))
    assert sorted(found) == checks
    kept = {check: text for check, text in found.items() if not text or "promised: " not in text}
    assert not kept, f"these checks did not say what was broken: {kept}"


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", kit_bad_basics.COSTLY)
def test_what_grows_with_the_runs_is_told(tmp_path: Path, kind: str) -> None:
    check = "test_many_runs_cost_the_driver_little"
    _, declared = kit_bad_basics.COSTLY[kind]
    told = outcomes(tmp_path, f"Test_{kind}::{check}")[check]
    number = re.search(rf"(\d+) {kind}", (told or "").rpartition("at any time")[2])
    assert number, told
    assert int(number[1]) >= 0.9 * declared["many"]


@pytest.mark.timeout(180)
def test_the_runner_that_most_are_made_from_is_not_caught(tmp_path: Path) -> None:
    simple = [
        check
        for check, (runner, _) in kit_bad_basics.BAD.items()
        if issubclass(runner, kit_bad_basics.Simple) and runner is not kit_bad_basics.Simple
    ]
    found = outcomes(tmp_path, *(f"TestSimple::{check}" for check in simple))
    assert found == dict.fromkeys(simple)
