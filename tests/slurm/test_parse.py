"""What Slurm prints, as it was captured from real commands, cut off anywhere, and made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_slurm.parse import AccountRow, QueueRow, parse_account, parse_queue

from multirun_slurm import parse

CORPUS = Path(__file__).parent / "corpus"
REAL = CORPUS / "22.05"
MANUALS = CORPUS / "manuals"
JOBS = dict(line.split() for line in (REAL / "jobs.txt").read_text().splitlines())


def rows(name: str) -> dict[str, QueueRow]:
    return {row.id: row for row in parse_queue((CORPUS / name).read_text())}


def test_states_of_a_real_queue() -> None:
    found = rows("22.05/squeue.txt")
    told = {key: (found[job].state, found[job].phase) for key, job in JOBS.items() if job in found}
    assert told == {
        "completed": ("COMPLETED", "ended"),
        "failed": ("FAILED", "ended"),
        "unreachable": ("FAILED", "ended"),
        "killed": ("FAILED", "ended"),
        "no_directory": ("FAILED", "ended"),
        "memory": ("OUT_OF_MEMORY", "ended"),
        "memory_step": ("FAILED", "ended"),
        "timeout": ("TIMEOUT", "ended"),
        "cancelled": ("CANCELLED", "ended"),
        "preempted": ("PREEMPTED", "ended"),
        "node_fail": ("NODE_FAIL", "ended"),
        "requeued": ("PENDING", "waiting"),
        "never_depends": ("PENDING", "waiting"),
        "never_time": ("PENDING", "waiting"),
        "never_cpus": ("PENDING", "waiting"),
        "held": ("PENDING", "waiting"),
        "later": ("PENDING", "waiting"),
        "suspended": ("SUSPENDED", "running"),
    }
    assert found[JOBS["requeued"]].restarts == 1
    assert found[JOBS["failed"]].exit == (7, 0)
    assert found[JOBS["unreachable"]].exit == (74, 0)
    assert found[JOBS["killed"]].exit == (0, 9)
    assert found[JOBS["memory"]].exit == (0, 125)
    assert found[JOBS["timeout"]].host == "n1"
    assert found[JOBS["held"]].host == ""
    assert found[JOBS["completed"]].reason == ""


@pytest.mark.parametrize("name", ["22.05/squeue.txt", "22.05/squeue-no-r.txt"])
def test_each_task_of_an_array_has_a_row(name: str) -> None:
    found = rows(name)
    array, throttled = JOBS["array"], JOBS["throttled"]
    assert all(found[f"{array}_{task}"].state == "COMPLETED" for task in range(4))
    assert found[f"{throttled}_0"].state == "RUNNING"
    assert all(found[f"{throttled}_{task}"].state == "PENDING" for task in (1, 2, 3))
    assert found[f"{throttled}_3"].array == throttled


def test_why_jobs_ended() -> None:
    found = rows("22.05/squeue.txt")
    ended = {
        key: parse.end_reason(found[JOBS[key]].state, found[JOBS[key]].reason)
        for key in ("failed", "memory", "timeout", "cancelled", "preempted", "node_fail", "killed")
    }
    assert ended == {
        "failed": None,
        "memory": "out_of_memory",
        "timeout": "timeout",
        "cancelled": "cancelled",
        "preempted": "preempted",
        "node_fail": "node_fail",
        "killed": "launch",  # Slurm's word also for a batch shell that was killed
    }


def test_states_of_other_versions() -> None:
    found = rows("manuals/squeue.txt")
    assert [i for i in found if i.startswith("1200_")] == [
        "1200_0", "1200_1", "1200_2", "1200_3", "1200_4", "1200_5", "1200_8",
    ]  # fmt: skip
    assert found["1200_1"].phase == "waiting"
    assert found["1203"].phase == "waiting"
    assert found["1204"].phase == "ended"
    assert found["1204"].exit == (1, 0)
    assert found["1207"].phase is None
    assert parse.end_reason("LAUNCH_FAILED", "") == "launch"
    assert parse.end_reason("BOOT_FAIL", "") == "node_fail"
    assert parse.end_reason("SOMETHING_NEW", "") is None


QUEUE = (REAL / "squeue.txt").read_text()


@given(st.integers(0, len(QUEUE)))
def test_a_queue_that_is_cut_off_is_refused_or_says_no_other_thing(cut: int) -> None:
    try:
        found = parse_queue(QUEUE[:cut])
    except ValueError:
        assert QUEUE[:cut].strip()
        return
    assert set(found) <= set(parse_queue(QUEUE))


@given(st.text())
def test_no_text_breaks_the_reading_of_a_queue(text: str) -> None:
    try:
        found = parse_queue(text)
    except ValueError:
        return
    assert found or not text.strip()


PLAIN = st.text(
    st.characters(blacklist_characters="|", blacklist_categories=["Cc", "Cs", "Zl", "Zp"])
)


@given(
    st.integers(1, 10**9), st.integers(0, 10**6), st.sampled_from(sorted(parse.PHASES)),
    st.integers(0, 99), st.text(st.characters(blacklist_characters="\n")),
)  # fmt: skip
def test_a_row_is_read_whatever_the_name(
    job: int, task: int, state: str, restarts: int, name: str
) -> None:
    line = f"{job}_{task}|{state}|None|{restarts}|0:0|n/a|{name}|\n"
    (row,) = parse_queue(line)
    assert row == QueueRow(f"{job}_{task}", state, "", restarts, (0, 0), "", name)


@pytest.mark.parametrize(
    ("exit_code", "host", "reason"),
    [
        ("0:0", "n1", "launch"),
        ("5:0", "n1", "launch"),  # that of the prolog
        ("79:0", "n1", "cancelled"),  # its script was told to end
        ("0:15", "n1", "cancelled"),
        ("0:0", "n/a", "cancelled"),  # while it waited
    ],
)
def test_a_job_that_was_not_launched_is_no_job_that_was_cancelled(
    exit_code: str, host: str, reason: str
) -> None:
    (row,) = parse_queue(f"7_0|CANCELLED|None|0|{exit_code}|{host}|name|\n")
    assert row.end_reason == reason


def test_an_error_page_is_no_empty_queue() -> None:
    with pytest.raises(ValueError, match="printed no jobs"):
        parse_queue("Welcome to the cluster!\n")
    assert parse_queue("") == []


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("7", ["7"]),
        ("7_3", ["7_3"]),
        ("7_[0-2]", ["7_0", "7_1", "7_2"]),
        ("7_[1,5-9:2%3]", ["7_1", "7_5", "7_7", "7_9"]),
        ("7_[1,5-9,...]", []),
        ("7_[9-1]", []),
        ("7_[0-99999999]", []),
        ("07", []),
        ("7+1", []),
        ("", []),
    ],
)
def test_what_an_id_stands_for(text: str, ids: list[str]) -> None:
    assert parse.task_ids(text) == ids


@pytest.mark.parametrize(
    ("printed", "job"),
    [
        ((REAL / "sbatch.txt").read_text(), "27"),
        ((REAL / "sbatch-parsable.txt").read_text(), "28"),
        ("123;cluster1\n", "123"),
        ("Submitted batch job 123 on cluster c1\n", "123"),
        ("Welcome!\nYou have 3 messages\n123\n", "123"),
        ("123\nYour quota is 80 % used\n", "123"),
        ("", None),
        ("Welcome\n", None),
        ("0\n", None),
        ("12a\n", None),
    ],
)
def test_the_id_of_a_new_job(printed: str, job: str | None) -> None:
    assert parse.submitted_id(printed) == job


def test_accounts_of_real_jobs() -> None:
    found = parse_account((REAL / "sacct.txt").read_text())
    told = {key: found[job].state for key, job in JOBS.items() if job in found}
    assert {
        key: told[key]
        for key in ("completed", "failed", "memory", "memory_step", "timeout", "cancelled")
    } == {
        "completed": "COMPLETED",
        "failed": "FAILED",
        "memory": "OUT_OF_MEMORY",
        "memory_step": "OUT_OF_MEMORY",  # by its step: the job itself is but FAILED there
        "timeout": "TIMEOUT",
        "cancelled": "CANCELLED",
    }
    assert found[JOBS["failed"]].exit == (7, 0)
    assert found[JOBS["killed"]].exit == (0, 9)
    assert found[f"{JOBS['array']}_3"].state == "COMPLETED"
    assert found[JOBS["failed"]].host == "n1"
    rss = found[JOBS["failed"]].max_rss_bytes
    assert rss is not None
    assert 1 << 20 < rss < 10 << 20


def test_accounts_of_other_versions() -> None:
    found = parse_account((MANUALS / "sacct.txt").read_text())
    assert found["2000"] == AccountRow(
        "2000", "CANCELLED", (0, 15), "c1-07", 93784.0, 1610612736, "fit | all"
    )
    assert found["2001"].max_rss_bytes == 8 << 30
    assert found["2001"].state == "OUT_OF_MEMORY"
    assert found["2004"].host == ""
    assert "2005" not in found


ACCOUNTS = (REAL / "sacct.txt").read_text()


@given(st.integers(0, len(ACCOUNTS)))
def test_accounts_that_are_cut_off_say_less_but_nothing_else(cut: int) -> None:
    whole = parse_account(ACCOUNTS)
    for key, row in parse_account(ACCOUNTS[:cut]).items():
        assert (row.exit, row.host) == (whole[key].exit, whole[key].host)


@given(st.text())
def test_no_text_breaks_the_other_readers(text: str) -> None:
    parse.parse_account(text)
    parse.parse_config(text)
    parse.parse_records(text)
    parse.parse_table(text, ("a", "b"))
    parse.submitted_id(text)
    parse.first_node(text)
    assert (parse.cpu_seconds(text) or 0) >= 0
    assert (parse.rss_bytes(text) or 1) > 0


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n3", "n3"),
        ("n[3-5,9]", "n3"),
        ("c1-[07,12]", "c1-07"),
        ("a,b", "a"),
        ("r[1-2]n", "r1n"),
        ("", ""),
    ],
)
def test_the_first_of_some_nodes(nodes: str, first: str) -> None:
    assert parse.first_node(nodes) == first
