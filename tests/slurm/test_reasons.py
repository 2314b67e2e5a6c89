"""Why jobs wait, in plain words, and which of them wait for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_slurm.parse import parse_queue
from multirun_slurm.reasons import waiting

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize(
    "reason",
    [
        "PartitionTimeLimit",
        "PartitionConfig",
        "MaxMemPerLimit",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "AccountNotAllowed",
        "InvalidQOS",
        "JobHeldAdmin",
        "JobHeldUser",
        "launch failed requeued held",
        "launch_failed_requeued_held",
        "AssocGrpCPUMinutesLimit",
        "QOSGrpGRESMinutes",
        "AssocMaxCpuPerJobLimit",
        "AssocMaxWallDurationPerJobLimit",
        "QOSMaxWallDurationPerJobLimit",
        "QOSMaxCpuPerJobLimit",
        "QOSMaxMemoryPerJob",
        "QOSMinCpuNotSatisfied",
        "QOSMinGRES",
    ],
)
def test_what_can_never_start(reason: str) -> None:
    found = waiting(reason)
    assert found.hopeless
    assert reason in found.text
    assert len(found.text) > len(reason) + 20


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", "just been submitted"),
        ("Priority", "others come first"),
        ("Resources", "is busy"),
        ("JobArrayTaskLimit", "max_running"),
        ("BeginTime", "has not come"),
        ("AssocMaxJobsLimit", "other jobs of yours"),
        ("QOSMaxJobsPerUserLimit", "your qos allows"),
        ("QOSMaxCpuPerUserLimit", "your qos allows"),
        ("MaxCpuPerAccount", "other jobs of yours"),
        ("AssocGrpCpuLimit", "for ever if it asks for more"),
        ("AssocGrpCPURunMinutesLimit", "what runs of its account has as much time left"),
        ("QOSGrpMemRunMinutes", "with less `time` it may start sooner"),
        ("ReqNodeNotAvail, UnavailableNodes:c1-[01-04]", "down, drained or reserved"),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved", "down, drained or reserved"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs", "down, drained"),
        ("SomethingNew", "Slurm says: SomethingNew"),
    ],
)
def test_what_waits_for_its_turn(reason: str, words: str) -> None:
    found = waiting(reason)
    assert not found.hopeless
    assert words in found.text


@pytest.mark.parametrize(
    "reason",
    [
        "AssocGrpCpuLimit",
        "AssocGrpCPURunMinutesLimit",
        "QOSGrpNodeLimit",
        "AssocGrpMemLimit",
        "PartitionNodeLimit",
    ],
)
def test_what_perhaps_never_starts(reason: str) -> None:
    assert waiting(reason).doubtful
    assert not waiting(reason).hopeless


@pytest.mark.parametrize("reason", ["", "Priority", "QOSMaxJobsPerUserLimit", "QOSGrpGRESMinutes"])
def test_what_starts_in_its_turn_or_never_is_no_doubt(reason: str) -> None:
    assert not waiting(reason).doubtful


def test_real_reasons_have_words() -> None:
    for row in parse_queue((CORPUS / "22.05" / "squeue.txt").read_text()):
        if row.phase == "waiting":
            assert not waiting(row.reason).text.startswith("Slurm says")


@given(st.text())
def test_no_reason_breaks_it(reason: str) -> None:
    assert waiting(reason).text
