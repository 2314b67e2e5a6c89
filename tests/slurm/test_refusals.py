"""What sbatch says when it takes no job, and what is to be done then."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_slurm.refusals import refusal

REAL = Path(__file__).parent / "corpus" / "22.05"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("partition", "sinfo -s"),
        ("memory", "has so much memory"),
        ("gres", "lists the devices"),
        ("node", "lists the nodes"),
        ("array", "larger than MaxArraySize"),
        ("constraint", "for `constraint`"),
    ],
)
def test_what_is_wrong_for_good(name: str, words: str) -> None:
    found = refusal(1, "", (REAL / f"refused-{name}.txt").read_text())
    assert not found.transient
    assert not found.unknown
    assert found.oversized is (name == "array")
    assert words in found.message
    assert "sbatch: error" not in found.message


def test_the_controller_is_away() -> None:
    found = refusal(1, "", (REAL / "refused-away.txt").read_text())
    assert (found.transient, found.crowded, found.unknown) == (True, False, False)


@pytest.mark.parametrize(
    ("name", "code"), [("submit-limit", 1), ("job-count", 1), ("job-count", -15)]
)
def test_too_many_jobs_are_out(name: str, code: int) -> None:
    found = refusal(code, "", (REAL / f"refused-{name}.txt").read_text())
    assert found.transient
    assert found.crowded
    assert found.unknown is (code < 0)


@pytest.mark.parametrize(
    ("limit", "table"),
    [("QOSMaxCpuPerJobLimit", "qos"), ("AssocMaxWallDurationPerJobLimit", "assoc")],
)
def test_a_limit_for_one_job_is_no_crowd(limit: str, table: str) -> None:
    words = (REAL / "refused-submit-limit.txt").read_text()
    found = refusal(1, "", words.replace("AssocMaxSubmitJobLimit", limit))
    assert not found.transient
    assert not found.crowded
    assert limit in found.message
    assert f"`sacctmgr show {table}` lists the limits" in found.message


@pytest.mark.parametrize("limit", ["QOSMaxSubmitJobPerUserLimit", "AssocGrpSubmitJobsLimit", ""])
def test_a_limit_for_all_jobs_or_an_unknown_one_is_a_crowd(limit: str) -> None:
    words = (REAL / "refused-submit-limit.txt").read_text()
    found = refusal(1, "", words.replace("AssocMaxSubmitJobLimit", limit))
    assert found.transient
    assert found.crowded


@pytest.mark.parametrize(
    "complaint",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
    ],
)
def test_nobody_knows_whether_the_job_was_taken(complaint: str) -> None:
    found = refusal(1, "", complaint)
    assert found.transient
    assert found.unknown


def test_success_without_an_id_is_no_success() -> None:
    found = refusal(0, "Welcome\n", "")
    assert found.unknown
    assert "printed no job id: 'Welcome" in found.message


@given(st.integers(-64, 255), st.text(), st.text())
def test_nothing_breaks_it(code: int, printed: str, complained: str) -> None:
    assert refusal(code, printed, complained).message
