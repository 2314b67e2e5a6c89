"""Every fault check of the conformance kit fails with a runner that breaks what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from kit_bad_faults import BREAKERS, CHECKS
from multirun_core.testing import RunnerConformance

HERE = Path(__file__).parent
PARTS = 4
# What a check of ours raises when it is itself in error.
SLIPS = ("TypeError", "NameError", "AttributeError", "ImportError", "IndexError", "KeyError")


def test_every_fault_check_has_a_bad_runner() -> None:
    assert sorted(BREAKERS) == CHECKS
    assert len(CHECKS) >= 18


def test_the_fault_checks_are_part_of_the_kit() -> None:
    assert set(CHECKS) <= set(dir(RunnerConformance))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.long
def test_bad_runners_are_caught(tmp_path: Path, part: int) -> None:
    checks = list(BREAKERS)[part::PARTS]
    told = tmp_path / "told.xml"
    file = HERE / "kit_bad_faults.py"
    nodes = [f"{file}::Bad_{check.removeprefix('test_')}::{check}" for check in checks]
    words = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", f"--junitxml={told}"]
    words += ["-p", "no:cacheprovider", "-o", "python_classes=Bad_*", "--timeout=60"]
    done = subprocess.run(
        [*words, f"--basetemp={tmp_path / 'base'}", *nodes],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent.parent,
    )
    tree = ElementTree.parse(told)  # noqa: S314 - pytest has just written it
    cases = {case.get("name"): case for case in tree.iter("testcase")}
    assert sorted(map(str, cases)) == sorted(checks), done.stdout + done.stderr
    for check, case in cases.items():
        failures = [failure.get("message", "") for failure in case.findall("failure")]
        assert failures, f"{check} does not notice {BREAKERS[str(check)].__name__}"
        assert not failures[0].startswith(SLIPS), (check, failures[0])
