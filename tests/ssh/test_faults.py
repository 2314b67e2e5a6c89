"""What goes wrong between here and the hosts, done to real ones."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

import pytest
from far_sweeps import QUICK, Marks, forget_sweeps, going, runner, sweeps_left
from ssh_bed import SSHBed
from ssh_host import Host

from multirun_core import BackendError, FileResource, Sweep, multirun
from multirun_ssh import SSHRunner

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(autouse=True)
def nothing_left_by_others(hosts: list[Host]) -> None:
    forget_sweeps(hosts)


@pytest.fixture
def marks(bed: SSHBed, request: pytest.FixtureRequest) -> Marks:
    return Marks(bed, f"{request.node.name[:40]} {time.monotonic_ns()}")


def all_there(sweep: Sweep, count: int) -> None:
    assert [run.status for run in sweep.runs] == ["success"] * count
    assert sweep.results == list(range(count))
    assert Sweep.open(sweep.path).results == list(range(count))


@pytest.mark.parametrize(
    ("transport", "seconds"),
    [
        ("asyncssh", 6.0),
        pytest.param("openssh", 6.0, marks=pytest.mark.long),
        pytest.param("asyncssh", 30.0, marks=pytest.mark.long),
    ],
    indirect=["transport"],
)
@pytest.mark.namespaces
def test_a_link_that_is_cut_and_comes_back_costs_nothing(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks, seconds: float, transport: str
) -> None:
    made = runner(bed, hosts, transport=transport)
    with going(marks, tmp_path / "s", 10, made) as sweep:
        sweep.until(lambda: len(marks.executions()) == 8)
        hosts[0].cut()
        went_on = marks.on(hosts[0])
        assert len(went_on) == 2
        time.sleep(seconds / 2)
        marks.go(went_on[0])  # this one ends while the link is cut
        time.sleep(seconds / 2)
        hosts[0].restore()
        time.sleep(0.5)
        marks.go()
        all_there(sweep.wait(), 10)
    assert marks.executions() == Counter(range(10))
    assert [run.attempts for run in sweep.wait().runs] == [1] * 10
    assert sweeps_left(hosts[0]) == []


@pytest.mark.namespaces
def test_a_time_limit_is_kept_while_the_link_is_cut(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks
) -> None:
    one = hosts[0]
    with going(marks, tmp_path / "s", 2, runner(bed, [one], timeout=4.0, grace=0.5)) as sweep:
        sweep.until(lambda: len(marks.on(one)) == 2)
        one.cut()
        sweep.until(lambda: not one.processes(str(marks.folder)))  # nobody here had a hand in it
        one.restore()
        runs = sweep.wait().runs
    assert [(run.status, run.reason) for run in runs] == [("failure", "timeout")] * 2
    assert marks.lines("end") == {}


def test_the_runs_of_a_host_that_dies_go_to_others(
    tmp_path: Path,
    bed: SSHBed,
    hosts: list[Host],
    marks: Marks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with going(marks, tmp_path / "s", 10, runner(bed, hosts, host_timeout=4.0)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 8)
        lost = marks.on(hosts[1])
        hosts[1].kill()
        killed = time.monotonic()
        sweep.until(lambda: "its 2 runs go to other hosts" in caplog.text)
        # As the reference has it: silence_timeout, then host_timeout. And some where all is busy.
        assert time.monotonic() - killed < 2 + 4 + 9
        marks.go(*(set(range(10)) - set(lost)))
        sweep.until(lambda: all(marks.executions()[index] == 2 for index in lost))
        marks.go()
        all_there(sweep.wait(), 10)
    runs = sweep.wait().runs
    assert [run.attempts for run in runs] == [2 if n in lost else 1 for n in range(10)]
    assert all(runs[index].host != hosts[1].name for index in lost)


@pytest.mark.namespaces
def test_a_host_that_is_switched_off_and_on_has_lost_its_runs_and_is_used_again(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks
) -> None:
    """As soon as it answers: its boot id proves that nothing goes on there."""
    one, two = hosts[:2]
    with going(marks, tmp_path / "s", 12, runner(bed, hosts[:2], host_timeout=300.0)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 4)
        lost, boot = marks.on(two), two.boot_id()
        two.kill()
        two.boot()
        assert two.boot_id() not in (boot, one.boot_id())
        # It is used again, though host_timeout is longer than this test.
        sweep.until(lambda: str(marks.lines()).count(f"{two.name} ") == 4)
        marks.go(*(set(range(12)) - set(lost)))
        sweep.until(lambda: all(marks.executions()[index] == 2 for index in lost))
        marks.go()
        all_there(sweep.wait(), 12)
    assert marks.executions() == Counter({n: 2 if n in lost else 1 for n in range(12)})
    assert [run.attempts for run in sweep.wait().runs] == [2 if n in lost else 1 for n in range(12)]
    assert sweeps_left(two) == []


@pytest.mark.namespaces
def test_a_host_that_comes_back_is_used_and_what_it_did_is_superseded(
    tmp_path: Path,
    bed: SSHBed,
    hosts: list[Host],
    marks: Marks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    two = hosts[:2]
    with going(marks, tmp_path / "s", 20, runner(bed, two, host_timeout=4.0)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 4)
        lost = marks.on(two[0])
        two[0].cut()
        sweep.until(lambda: "go to other hosts" in caplog.text)
        # One of them ends over there, unseen; the other goes on until the host is back.
        marks.go(lost[0])
        sweep.until(lambda: lost[0] in marks.lines("end"))
        two[0].restore()
        sweep.until(lambda: "node1 is connected" in caplog.text)
        sweep.until(lambda: len(marks.on(two[0])) > 2)  # it is used again
        assert "it ends 1 runs that others have" in caplog.text
        assert "it does not count" in caplog.text
        assert lost[1] not in marks.lines("end")
        marks.go()
        all_there(sweep.wait(), 20)
    assert all(count == (2 if n in lost else 1) for n, count in marks.executions().items())
    assert [run.attempts for run in sweep.wait().runs] == [2 if n in lost else 1 for n in range(20)]
    assert sweeps_left(two[0]) == []


def test_sshd_restarts_and_nothing_is_lost(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks, transport: str
) -> None:
    made = runner(bed, hosts, transport=transport)
    with going(marks, tmp_path / "s", 10, made) as sweep:
        sweep.until(lambda: len(marks.executions()) == 8)
        for host in hosts:
            host.restart_sshd(drop=True)
        marks.go()
        all_there(sweep.wait(), 10)
    assert marks.executions() == Counter(range(10))


def test_a_host_that_lets_nobody_in_for_a_while_is_used_again(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks
) -> None:
    """It has been booted, and homes are not there yet; its runs are found again."""
    one = hosts[0]
    log = one.directory / "sshd.log"

    def refusals() -> int:
        return log.read_text().count("Connection closed by authenticating user")

    with going(marks, tmp_path / "s", 4, runner(bed, [one], host_timeout=20.0)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 2)
        before = refusals()
        one.restart_sshd("AuthorizedKeysFile none", drop=True)
        sweep.until(lambda: refusals() > before)
        one.restart_sshd()
        marks.go()
        all_there(sweep.wait(), 4)
    assert marks.executions() == Counter(range(4))
    assert [run.attempts for run in sweep.wait().runs] == [1] * 4


def test_an_sshd_that_allows_few_sessions(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks
) -> None:
    for host in hosts:
        host.restart_sshd("MaxSessions 2", drop=True)
    marks.go()
    with going(marks, tmp_path / "s", 60, runner(bed, hosts, slots=8)) as sweep:
        all_there(sweep.wait(), 60)
    assert marks.executions() == Counter(range(60))


def test_an_sshd_that_drops_those_who_log_in(
    tmp_path: Path, bed: SSHBed, host: Host, marks: Marks, transport: str
) -> None:
    """Of twelve that want to, more than two at once."""
    config, log = tmp_path / "twelve names", host.directory / "sshd.log"
    config.write_text(f"Host many*\n  HostName {host.address}\n{bed.ssh_config.read_text()}")
    host.restart_sshd("MaxStartups 2:100:4", drop=True)
    before = len(log.read_text())
    marks.go()
    made = SSHRunner(hosts="many[1-12]", slots=2, ssh_config=config, transport=transport, **QUICK)
    with going(marks, tmp_path / "s", 60, made) as sweep:
        all_there(sweep.wait(), 60)
    assert marks.executions() == Counter(range(60))
    assert "past MaxStartups" in log.read_text()[before:]


@pytest.mark.namespaces
def test_a_full_disk_on_a_host_sends_its_runs_elsewhere(
    tmp_path: Path,
    bed: SSHBed,
    hosts: list[Host],
    marks: Marks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = "/run/small place"
    for host in hosts[1:]:
        host.small_disk(Path(place), "100m", 100_000)
    hosts[0].small_disk(Path(place), "600k")
    big = tmp_path / "big"
    big.write_bytes(bytes(100_000) + b"x")
    marks.go()
    options = {"remote_path": place, "slots": 4, "keep_remote": True}
    with going(
        marks,
        tmp_path / "s",
        40,
        runner(bed, hosts, **options),
        input_files=[FileResource(big, "copy")],
    ) as sweep:
        all_there(sweep.wait(), 40)
    assert "node1 takes no runs for now" in caplog.text
    assert "No space left" in caplog.text
    assert marks.executions() == Counter(range(40))
    for host in hosts:
        host.inside("umount", place)


def test_one_host_with_another_key_is_left_out_and_that_is_said(
    tmp_path: Path,
    bed: SSHBed,
    hosts: list[Host],
    marks: Marks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hosts[2].change_key()
    try:
        with going(marks, tmp_path / "s", 12, runner(bed, hosts)) as sweep:
            sweep.until(lambda: len(marks.executions()) == 6)
            assert [len(marks.on(host)) for host in hosts] == [2, 2, 0, 2]
            marks.go()
            all_there(sweep.wait(), 12)
        assert marks.on(hosts[2]) == []
        assert "SHA256:" in caplog.text
        with pytest.raises(BackendError, match=r"(?s)node3.*SHA256:"):
            multirun(
                runs=[{"n": 1}],
                cmd=["true"],
                output_path=tmp_path / "t",
                runner=runner(bed, [hosts[2]]),
                progress=False,
            )
    finally:
        hosts[2].restore_key()


@pytest.mark.namespaces
def test_one_host_that_cannot_be_reached_from_the_start(
    tmp_path: Path,
    bed: SSHBed,
    hosts: list[Host],
    marks: Marks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hosts[3].cut()
    with going(marks, tmp_path / "s", 16, runner(bed, hosts)) as sweep:
        sweep.until(lambda: "node4:" in caplog.text and len(marks.executions()) == 6)
        assert [len(marks.on(host)) for host in hosts] == [2, 2, 2, 0]
        marks.go()
        all_there(sweep.wait(), 16)
    assert marks.on(hosts[3]) == []


@pytest.mark.namespaces
def test_all_hosts_are_gone_and_the_sweep_ends_and_is_resumed(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], marks: Marks
) -> None:
    two = hosts[:2]
    with going(marks, tmp_path / "s", 8, runner(bed, two, host_timeout=4.0)) as sweep:
        sweep.until(lambda: len(marks.executions()) == 4)
        for host in two:
            host.cut()
            time.sleep(1)  # the first one's time is up while the other may still come back
        cut = time.monotonic()
        with pytest.raises(BackendError, match=r"none of the hosts.*node1: .*node2: "):
            sweep.wait()
        assert time.monotonic() - cut < 30
    assert [run.status for run in Sweep.open(tmp_path / "s").runs] == ["pending"] * 8
    for host in two:
        host.restore()
    with going(marks, tmp_path / "s", 8, runner(bed, two), resume=True) as sweep:
        all_there(sweep.wait(), 8)
    assert marks.executions() == Counter(range(8))
    assert sweeps_left(two[0]) == sweeps_left(two[1]) == []


@pytest.mark.namespaces
def test_no_host_can_be_reached_at_all(tmp_path: Path, bed: SSHBed, hosts: list[Host]) -> None:
    for host in hosts[:2]:
        host.cut()
    before = time.monotonic()
    with pytest.raises(BackendError, match=r"none of the hosts.*node1: .*node2: "):
        multirun(
            runs=[{"n": 1}],
            cmd=["true"],
            output_path=tmp_path / "s",
            runner=runner(bed, hosts[:2]),
            progress=False,
        )
    assert time.monotonic() - before < 30
    assert [run.status for run in Sweep.open(tmp_path / "s").runs] == ["pending"]


def test_two_hosts_with_one_home_get_what_they_share_once(
    tmp_path: Path, bed: SSHBed, marks: Marks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="multirun.staging")
    data = tmp_path / "data"
    data.write_bytes(b"x" * 500_000)
    labs = [bed.add(name, home="lab") for name in ("lab1", "lab2")]
    try:
        with going(
            marks, tmp_path / "s", 8, runner(bed, labs, keep_remote=True), input_files=[data]
        ) as sweep:
            sweep.until(lambda: len(marks.executions()) == 4)
            marks.go()
            all_there(sweep.wait(), 8)
        assert marks.on(labs[0])
        assert marks.on(labs[1])
        (place,) = (labs[0].home() / ".cache" / "multirun").iterdir()
        assert len(list(place.glob("shared/*/data"))) == 1
        assert len(list(place.glob("lab1-*/0*"))) + len(list(place.glob("lab2-*/0*"))) == 8
        sets = [line for line in caplog.messages if "inputs" in line]
        assert len(sets) == 1
    finally:
        for host in labs:
            bed.remove(host)
