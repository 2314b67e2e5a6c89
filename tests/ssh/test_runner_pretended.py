"""The runner on hosts that are directories: the way of a run, and faults timed to the moment."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from far_sweeps import Going
from multirun_core._sweep import abandoned, control
from multirun_ssh.errors import LoginNeedsPersonError
from multirun_ssh.pool import Pool
from pretended import (
    Pretended,
    PretendedHosts,
    Unending,
    cache,
    change_far_side,
    cut,
    left,
    lose,
    mend,
)
from sweeps import wait_until

from multirun_core import BackendError, Sweep, multirun
from multirun_ssh import audit, leftovers, overseeing, state
from multirun_ssh import runner as ssh_runner

PROGRAM = [
    "sh",
    "-c",
    'echo x >> "$0/run-$MULTIRUN_INDEX"; until test -e "$0/go"; do sleep 0.02; done; '
    'echo "$TESTBED_HOST" > where; printf %s "$MULTIRUN_PARAM_N" > results.json',
]


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    return tmp_path / "hosts"


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mar ks"
    path.mkdir()
    yield path
    for name in ("go", "over"):  # whatever a test that failed has left
        (path / name).touch()


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_SECONDS", 1.0)
    monkeypatch.setattr(audit, "FOREIGN_SECONDS", 1.0)


def call(path: Path, marks: Path, made: PretendedHosts, count: int = 4, **more: Any) -> Any:
    return {
        "runs": [{"n": n} for n in range(count)],
        "cmd": [*PROGRAM, str(marks)],
        "output_path": path,
        "runner": made,
        "progress": False,
        **more,
    }


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_runner, "_AGAIN", 0.2)
    for module in (overseeing, leftovers):
        monkeypatch.setattr(module, "_PATIENCE", 2.0)
        monkeypatch.setattr(module, "_AGAIN", 0.2)


def executions(marks: Path) -> list[int]:
    paths = sorted(marks.glob("run-*"), key=lambda path: int(path.name[4:]))
    return [len(path.read_text().split()) for path in paths]


def test_runs_are_carried_out_on_several_hosts(tmp_path: Path, hosts: Path, marks: Path) -> None:
    (marks / "go").touch()
    sweep = multirun(**call(tmp_path / "s", marks, PretendedHosts(hosts), 12))
    assert sweep.results == list(range(12))
    assert {(run.cwd / "where").read_text() for run in sweep.runs} == {"h1\n", "h2\n"}
    assert {run.host for run in sweep.runs} == {"h1", "h2"}
    assert left(hosts) == []


@pytest.mark.parametrize("verb", ["receive", "pack", "remove", "begin", "open", "store"])
def test_an_answer_that_is_lost_loses_nothing(
    tmp_path: Path, hosts: Path, marks: Path, verb: str
) -> None:
    """What was asked for has been done, but nobody here knows."""
    hosts.mkdir()
    asked = lose(hosts, "h1", verb)
    (marks / "go").touch()
    made = PretendedHosts(hosts, hosts=["h1:2"])
    if verb in ("begin", "open", "store"):
        made = PretendedHosts(hosts)  # one host must do to begin with
    sweep = multirun(**call(tmp_path / "s", marks, made, 6))
    assert sweep.results == list(range(6))
    assert executions(marks) == [1] * 6
    assert [run.attempts for run in sweep.runs] == [1] * 6
    if verb != "remove":
        assert not asked.exists()
    if verb in ("receive", "pack"):  # the others may not be reached again in time
        assert left(hosts) == []


@pytest.mark.usefixtures("watchful")
def test_a_log_that_loses_lines_loses_nothing(tmp_path: Path, hosts: Path, marks: Path) -> None:
    going = Going(**call(tmp_path / "s", marks, PretendedHosts(hosts)))
    going.until(lambda: len(executions(marks)) == 4)
    for log in hosts.glob("*/.cache/multirun/*/*/log"):
        log.unlink()  # what is written from now on, nobody sees
    (marks / "go").touch()
    assert going.wait().results == list(range(4))
    assert executions(marks) == [1] * 4


@pytest.mark.usefixtures("watchful")
def test_a_run_whose_wrapper_was_killed_is_ended_and_tried_again(
    tmp_path: Path, hosts: Path, marks: Path
) -> None:
    going = Going(**call(tmp_path / "s", marks, PretendedHosts(hosts, retry_delay=0.1)))
    going.until(lambda: len(executions(marks)) == 4)
    process = going.until(
        lambda: next(hosts.glob("*/.cache/multirun/*/*/000002.1-*/.multirun/claim-1/process"), None)
    )
    _, _, wrapper, _, child, *_ = process.read_text().split("\t")
    os.kill(int(wrapper), signal.SIGKILL)
    going.until(lambda: executions(marks)[2] == 2)
    assert not Path(f"/proc/{child}/cwd").exists()
    (marks / "go").touch()
    sweep = going.wait()
    assert sweep.results == list(range(4))
    assert [run.attempts for run in sweep.runs] == [1, 1, 2, 1]


def test_what_was_begun_while_the_link_was_cut_is_begun_once(
    tmp_path: Path, hosts: Path, marks: Path
) -> None:
    made = PretendedHosts(hosts, hosts=["h1:3"])
    going = Going(**call(tmp_path / "s", marks, made, 6))
    going.until(lambda: executions(marks))
    for _ in range(3):
        cut(hosts, "h1")
        time.sleep(0.3)
        mend(hosts, "h1")
        time.sleep(0.2)
    going.until(lambda: len(executions(marks)) == 3)
    (marks / "go").touch()
    assert going.wait().results == list(range(6))
    assert executions(marks) == [1] * 6


def test_a_sweep_that_is_stopped_and_resumed_leaves_nothing(
    tmp_path: Path, hosts: Path, marks: Path
) -> None:
    (marks / "go").touch()
    first = multirun(**call(tmp_path / "s", marks, PretendedHosts(hosts), 4))
    assert first.results == list(range(4))
    again = multirun(**call(tmp_path / "s", marks, PretendedHosts(hosts), 8, resume=True))
    assert again.results == list(range(8))
    assert executions(marks) == [1] * 8
    assert left(hosts) == []
    assert Sweep.open(tmp_path / "s").results == list(range(8))


def test_the_directory_there_is_for_its_owner_alone(
    tmp_path: Path, hosts: Path, marks: Path
) -> None:
    secret = {"TOKEN": "sesame-4711"}
    made = PretendedHosts(hosts, hosts=["h1:2"], env=secret)
    going = Going(**call(tmp_path / "s", marks, made, 2))
    going.until(lambda: len(executions(marks)) == 2)
    (place,) = cache(hosts, "h1").iterdir()
    assert place.stat().st_mode & 0o077 == 0
    holding = [
        path for path in place.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()
    ]
    assert {path.name for path in holding} == {"order"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in holding)
    told = [Path(f"/proc/{entry.name}/cmdline") for entry in Path("/proc").glob("[0-9]*")]
    for line in told:
        try:
            assert b"sesame-4711" not in line.read_bytes()
        except OSError:
            continue
    (marks / "go").touch()
    going.wait()
    journal = (tmp_path / "s/journal/0001.jsonl").read_text()
    assert "sesame" not in journal


@pytest.mark.parametrize("shared", [False, True])
def test_a_start_that_fails_half_way_begins_nothing_twice(
    shared: bool, tmp_path: Path, hosts: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the host allows no further process: h1 begins one run, then fails for good."""
    start = """start "$2" "$3" "$4"
"""
    half = f"""[ ! -e "$folder/started" ] || exit 2
        {start}
        [ "$TESTBED_HOST" = h2 ] || {{
            : >"$folder/started"
            until [ -d "$2/.multirun/claim-$3" ]; do sleep 0.02; done
            exit 2
        }}
"""
    change_far_side(monkeypatch, start, half)
    made = PretendedHosts(hosts, hosts=["h1:2", "h2:4"], shared_filesystem=shared)
    going = Going(**call(tmp_path / "s", marks, made, 5))
    try:
        going.until(lambda: len(executions(marks)) == 5)
    finally:
        (marks / "go").touch()
    sweep = going.wait()
    assert sweep.results == list(range(5))
    assert executions(marks) == [1] * 5
    if not shared:  # there, what h1 has claimed takes a further attempt
        assert [run.attempts for run in sweep.runs] == [1] * 5
    assert [run.host for run in sweep.runs].count("h1") == 1


def test_a_full_disk_that_takes_no_claim_either_sends_runs_elsewhere(
    tmp_path: Path, hosts: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = """case "$verb $TESTBED_HOST" in
"start h1") exit 74 ;;
"end h1") printf '0\\tfailed\\tthe claim cannot be made\\n' && exit ;;
esac
"""
    begin = "case $verb in\nbegin)"
    change_far_side(monkeypatch, begin, full + begin)
    (marks / "go").touch()
    made = PretendedHosts(hosts, hosts=["h1:2", "h2:1"])
    sweep = multirun(**call(tmp_path / "s", marks, made))
    assert [(run.host, run.attempts) for run in sweep.runs] == [("h2", 1)] * 4
    assert executions(marks) == [1] * 4


def test_when_hosts_are_watched_no_more_the_sweep_ends(
    tmp_path: Path, hosts: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(health: state.Health) -> float:
        raise RuntimeError("a bug")

    going = Going(**call(tmp_path / "s", marks, PretendedHosts(hosts)))
    try:
        going.until(lambda: len(executions(marks)) == 4)
        monkeypatch.setattr(state.Health, "out_for", fail)
        with pytest.raises(BackendError, match="watched no more: RuntimeError: a bug"):
            going.wait(20)
    finally:
        (marks / "go").touch()


def places(hosts: Path, host: str) -> dict[int, Path]:
    """Return the run directories that there are on a host."""
    found = cache(hosts, host).glob("*/*/[0-9]*.*-*")
    return {int(path.name.partition(".")[0]): path for path in found}


def children(place: Path) -> list[int]:
    """Return the programs that live of those that were started in a run directory."""
    told = [path.read_text().split("\t") for path in place.glob(".multirun/claim-*/process")]
    return [int(words[4]) for words in told if Path(f"/proc/{words[4]}/cwd").exists()]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", ["failed", "alive", "elsewhere\tanother-host"])
def test_a_run_that_cannot_be_ended_is_given_no_end(
    tmp_path: Path, hosts: Path, marks: Path, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "s"
    made = PretendedHosts(hosts, hosts=["h1:2"], grace=0.2)
    going = Going(**call(root, marks, made, 2))
    going.until(lambda: len(executions(marks)) == 2)
    unending = Unending(hosts, "h1", said)
    control.request_cancel(root, None)
    assert [run.status for run in going.wait().runs] == ["pending"] * 2
    assert [run.index for run in abandoned.left_running(root)] == [0, 1]
    assert unending.asked > 2  # of two runs, so again
    assert caplog.text.count("could not be ended: ") == 2
    assert "may go on there: " in caplog.text
    assert all(children(place) for place in places(hosts, "h1").values())
    unending.mend()
    (marks / "go").touch()
    again = multirun(**call(root, marks, PretendedHosts(hosts, hosts=["h1:2"]), 2, resume=True))
    assert again.results == [0, 1]
    assert executions(marks) == [1, 1]
    assert left(hosts) == []


@pytest.mark.usefixtures("watchful")
def test_a_run_that_is_lost_and_cannot_be_ended_is_tried_again_beside_it(
    tmp_path: Path, hosts: Path, marks: Path
) -> None:
    made = PretendedHosts(hosts, hosts=["h1:2"], retry_delay=0.1)
    going = Going(**call(tmp_path / "s", marks, made, 2))
    going.until(lambda: len(executions(marks)) == 2)
    unending = Unending(hosts, "h1", "failed")
    place = places(hosts, "h1")[1]
    wrapper = (place / ".multirun/claim-1/process").read_text().split("\t")[2]
    os.kill(int(wrapper), signal.SIGKILL)
    going.until(lambda: executions(marks)[1] == 2)
    assert unending.asked == 3
    assert children(place)
    (marks / "go").touch()
    sweep = going.wait()
    assert sweep.results == [0, 1]
    assert [run.attempts for run in sweep.runs] == [1, 2]
    assert place.exists()  # nobody knows whether it lives


@pytest.mark.parametrize("unseen", [pytest.param(False, marks=pytest.mark.long), True])
def test_what_all_hosts_share_is_not_removed_for_a_host_that_comes_back(
    unseen: bool, tmp_path: Path, hosts: Path, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it had begun is superseded; its directory is that of the attempt which counts."""
    made = PretendedHosts(
        hosts, hosts=["h1:1", "h2:1"], host_timeout=4.0, grace=0.2, shared_filesystem=True
    )
    gate = '"$0/go-$TESTBED_HOST-$MULTIRUN_ATTEMPT"'
    cmd = ["sh", "-c", PROGRAM[2].replace('"$0/go"', gate), str(marks)]
    first, other, second = (marks / f"go-{which}" for which in ("h1-1", "h2-1", "h2-2"))
    going = Going(**{**call(tmp_path / "s", marks, made, 2), "cmd": cmd})
    try:
        going.until(lambda: len(executions(marks)) == 2)
        cut(hosts, "h1")
        going.until(lambda: "go to other hosts" in caplog.text)
        other.touch()
        going.until(lambda: sum(executions(marks)) == 3)
        if unseen:
            first.touch()
            (log,) = cache(hosts, "h1").glob("*/h1-*/log")
            wait_until(lambda: "\nend\t" in log.read_text())
        mend(hosts, "h1")
        going.until(lambda: "h1 is connected" in caplog.text)
        second.touch()
        sweep = going.wait()
    finally:
        for path in (first, other, second):
            path.touch()
    assert sweep.results == [0, 1]
    assert {(run.cwd / "where").read_text() for run in sweep.runs} == {"h2\n"}


def test_what_others_have_and_cannot_be_ended_keeps_its_directory(
    tmp_path: Path, hosts: Path, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = PretendedHosts(hosts, hosts=["h1:1", "h2:1"], host_timeout=4.0, grace=0.2)
    go = 'test -e "$0/go"'
    stays = f'{go} && test "$TESTBED_HOST$MULTIRUN_ATTEMPT" != h11 || test -e "$0/over"'
    cmd = ["sh", "-c", PROGRAM[2].replace(go, stays), str(marks)]
    going = Going(**{**call(tmp_path / "s", marks, made, 2), "cmd": cmd})
    try:
        going.until(lambda: len(executions(marks)) == 2)
        ((_, place),) = places(hosts, "h1").items()
        unending = Unending(hosts, "h1", "failed")
        cut(hosts, "h1")
        going.until(lambda: "go to other hosts" in caplog.text)
        mend(hosts, "h1")
        going.until(lambda: "could not be ended: failed" in caplog.text)
        (marks / "go").touch()
        assert going.wait().results == [0, 1]
        assert unending.asked
        assert children(place)
    finally:
        (marks / "go").touch()
        (marks / "over").touch()
    wait_until(lambda: not children(place))


@pytest.mark.usefixtures("impatient")
def test_what_one_host_cannot_end_is_told_and_the_rest_is_ended(
    tmp_path: Path, hosts: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "s"
    going = Going(**call(root, marks, PretendedHosts(hosts, host_timeout=4.0)))
    going.until(lambda: len(executions(marks)) == 4)
    for host in ("h1", "h2"):
        cut(hosts, host)
    with pytest.raises(BackendError, match="none of the hosts"):
        going.wait()
    for host in ("h1", "h2"):
        mend(hosts, host)
    alive = places(hosts, "h1")
    unending = Unending(hosts, "h1", "alive")
    made = PretendedHosts(hosts, grace=0.2)
    record: dict[str, Any] = {"name": "made", "options": {}}
    monkeypatch.setattr(abandoned, "runner_of", lambda *_: (made, record))
    with pytest.raises(BackendError, match=r"2 run\(s\) may go on on h1: alive"):
        abandoned.end_left(root, progress=False)
    assert unending.asked > 2  # of two runs, so again
    runs = Sweep.open(root).runs
    assert {run.index for run in runs if run.status == "pending"} == set(alive)
    assert {run.reason for run in runs if run.status != "pending"} == {"cancelled"}
    assert places(hosts, "h2") == {}
    assert all(children(place) for place in alive.values())
    unending.mend()
    abandoned.end_left(root, progress=False)
    assert [run.reason for run in Sweep.open(root).runs] == ["cancelled"] * 4
    assert not any(children(place) for place in alive.values())
    assert left(hosts) == []


def test_a_host_that_cannot_end_runs_without_a_driver_is_not_used_where_they_are_to(
    tmp_path: Path,
    hosts: Path,
    marks: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "touch").write_text(
        "#!/bin/sh\n"
        'test "$TESTBED_HOST" != h1 || { echo No space left >&2; exit 1; }\n'
        'PATH=${PATH#*:}; exec touch "$@"\n'
    )
    (programs / "touch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (marks / "go").touch()
    made = PretendedHosts(hosts, on_driver_lost="stop")
    sweep = multirun(**call(tmp_path / "s", marks, made, 4))
    assert sweep.results == list(range(4))
    assert {run.host for run in sweep.runs} == {"h2"}
    assert "h1: runs would go on there without a driver" in caplog.text
    assert "No space left" in caplog.text


def test_what_openmp_is_told_changes_no_number_of_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "97")
    monkeypatch.setenv("OMP_THREAD_LIMIT", "97")
    cpus = len(os.sched_getaffinity(0))
    scripts = Path(audit.__file__).parent
    begun = subprocess.check_output(["sh", scripts / "far.sh", "begin", tmp_path / "d"], text=True)
    assert begun.split() == ["0", str(cpus)]
    facts = subprocess.check_output(["sh", scripts / "check.sh", tmp_path, "python3"], text=True)
    assert f"cpus\t{cpus}\n" in facts


def test_files_of_many_runs_travel_together(tmp_path: Path, hosts: Path, marks: Path) -> None:
    made = PretendedHosts(hosts, hosts=["h1:60"])
    going = Going(**call(tmp_path / "s", marks, made, 60))
    going.until(lambda: len(executions(marks)) == 60)
    (marks / "go").touch()
    assert going.wait().results == list(range(60))
    for verb in ("receive", "pack"):
        assert 0 < made.links["h1"].commands[verb] < 15


def test_ends_are_told_without_being_asked_for(
    tmp_path: Path, hosts: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AUDIT_SECONDS", "FOREIGN_SECONDS"):
        monkeypatch.setattr(audit, name, 10_000.0)
    made = PretendedHosts(hosts)
    going = Going(**call(tmp_path / "s", marks, made, 8))
    going.until(lambda: len(executions(marks)) == 4)
    (marks / "go").touch()
    try:
        assert going.wait(30).results == list(range(8))
    except AssertionError:  # it would wait for ever for what it is not told
        control.request_cancel(tmp_path / "s", None)
        raise
    assert sum(link.commands["look"] for link in made.links.values()) == 0


def test_when_hosts_are_watched_no_more_no_person_is_waited_for(
    tmp_path: Path, hosts: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(one: Pretended, *_: object, **__: object) -> None:
        raise LoginNeedsPersonError(f"{one.name} asks", "ssh")

    async def fail(pool: Pool) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Pretended, "run", ask)
    monkeypatch.setattr(Pool, "_watch", fail)
    (marks / "go").touch()
    going = Going(**call(tmp_path / "s", marks, PretendedHosts(hosts)))
    try:
        with pytest.raises(BackendError, match="watched no more: RuntimeError: a bug"):
            going.wait(20)
    finally:
        monkeypatch.undo()  # what still waits goes on
