"""`multirun hosts check` on real hosts: what they are like, and what would fail."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multirun_core._cli.program import carry_out
from ssh_bed import SSHBed
from ssh_host import USER, Host

from multirun_ssh import check


@pytest.fixture(params=["asyncssh", "openssh"])
def how(bed: SSHBed, hosts: list[Host], request: pytest.FixtureRequest) -> list[str]:
    options = (f"ssh_config={bed.ssh_config}", f"transport={request.param}")
    return [word for option in options for word in ("-R", option)]


def looked_at(
    capsys: pytest.CaptureFixture[str], how: list[str], hosts: str, *more: str, code: int = 0
) -> dict[str, Any]:
    assert carry_out(["hosts", "check", "-R", f"hosts={hosts}", *how, *more, "--json"]) == code
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)}


def test_hosts_that_are_ready(
    capsys: pytest.CaptureFixture[str], hosts: list[Host], how: list[str]
) -> None:
    found = looked_at(capsys, how, "node1,node2:8")
    assert list(found) == ["node1", "node2"]
    one, two = found["node1"], found["node2"]
    assert one["ready"]
    assert one["problems"] == []
    facts = one["facts"]
    assert facts["system"].startswith("Linux ")
    assert facts["slots"] == facts["cpus"] >= 1
    assert two["facts"]["slots"] == 8
    assert facts["memory_bytes"] > facts["memory_free_bytes"] > 0
    assert facts["disk_free_bytes"] > 0
    assert facts["load"] >= 0
    assert 0 <= facts["inodes_free"] <= facts["inodes"] == os.statvfs(hosts[0].home()).f_files
    assert re.fullmatch(r"3\.\d+\.\d+", facts["python_version"])
    assert facts["place"].endswith("/.cache/multirun")
    assert abs(facts["clock_skew_seconds"]) < 1
    assert 0 < facts["connected_in_seconds"] < 30
    assert facts["kills_what_a_logout_leaves"] is False
    if "transport=asyncssh" in how:
        assert facts["server"].startswith("OpenSSH")


def test_it_is_shown_to_people(
    capsys: pytest.CaptureFixture[str], bed: SSHBed, how: list[str]
) -> None:
    bed.hosts["node2"].stop_sshd()
    assert carry_out(["hosts", "check", "-R", "hosts=node1,node2", *how]) == 1
    shown = capsys.readouterr()
    first, second = shown.out.split("\n\n")
    assert first.startswith("node1: ready\n")
    assert re.search(r"^  memory +\d[\d.]* GiB$", first, re.MULTILINE)
    assert re.search(r"^  connected in +\d+\.\d\d s$", first, re.MULTILINE)
    assert second.startswith("node2: NOT READY\n  problem: node2 ")
    assert "1 of 2 hosts is ready" in shown.err


def test_what_would_fail_is_told(
    capsys: pytest.CaptureFixture[str], bed: SSHBed, how: list[str]
) -> None:
    bed.hosts["node1"].restart_sshd("MaxSessions 1")
    bed.hosts["node2"].restart_sshd("SetEnv PATH=/nowhere")
    bed.hosts["node3"].change_key()
    try:
        found = looked_at(capsys, how, "node1,node2,node3,no-such-name.invalid", code=1)
    finally:
        bed.hosts["node3"].restore_key()
    assert "MaxSessions must be 2 or more" in found["node1"]["problems"][0]
    assert "did not start sh" in found["node2"]["problems"][0]
    assert "the host key of node3 is" in found["node3"]["problems"][0]
    assert len(found["no-such-name.invalid"]["problems"]) == 1


@pytest.mark.namespaces
def test_a_full_disk_and_a_place_that_is_not_ours(
    capsys: pytest.CaptureFixture[str], bed: SSHBed, how: list[str]
) -> None:
    host = bed.hosts["node1"]
    place = host.mounted / "root" / "a small disk"
    host.small_disk(place, "1m", 50)
    try:
        found = looked_at(capsys, how, "node1", "-R", f"remote_path={place}/sweeps", code=1)
    finally:
        host.inside("umount", str(place))
    problems = "\n".join(found["node1"]["problems"])
    assert "its disk is full: 0 MiB are left" in problems or "1 MiB" in problems
    assert "inodes left" in problems
    host.small_disk(place, "200m", 1)  # which the directory itself has
    try:
        found = looked_at(capsys, how, "node1", "-R", f"remote_path={place}/sweeps", code=1)
    finally:
        host.inside("umount", str(place))
    assert found["node1"]["problems"] == [f"its disk has 0 inodes left at {place}/sweeps"]
    found = looked_at(capsys, how, f"{USER}@node1", "-R", "remote_path=/etc/sweeps", code=1)
    assert "/etc cannot be written to" in found[f"{USER}@node1"]["problems"][0]


def test_tools_that_are_missing_are_named(
    capsys: pytest.CaptureFixture[str], bed: SSHBed, how: list[str]
) -> None:
    few = bed.shared / "few-tools"
    few.mkdir(exist_ok=True)
    for tool in (one for place in ("/usr/bin", "/bin") for one in Path(place).iterdir()):
        if tool.name not in ("find", "setsid") and not (few / tool.name).is_symlink():
            (few / tool.name).symlink_to(tool)
    bed.hosts["node1"].restart_sshd(f"SetEnv PATH={few}")
    (problem,) = looked_at(capsys, how, "node1", code=1)["node1"]["problems"]
    assert problem.startswith("these tools are missing: setsid, find;")


def test_a_python_that_is_too_old_is_a_problem(
    capsys: pytest.CaptureFixture[str], bed: SSHBed, how: list[str]
) -> None:
    old = bed.shared / "old python"
    old.write_text("#!/bin/sh\necho 3.7.9\n")
    old.chmod(0o755)
    (problem,) = looked_at(capsys, how, "node1", "-R", f"python={old}", code=1)["node1"]["problems"]
    assert problem.startswith(f"{old} is 3.7.9 there; ")


def test_places_are_those_of_the_runner(capsys: pytest.CaptureFixture[str], how: list[str]) -> None:
    home = looked_at(capsys, how, "node1", "-R", "remote_path=~")["node1"]["facts"]["place"]
    for told, place in {"~/a b": "a b", "x": "x", "/tmp": None}.items():
        found = looked_at(capsys, how, "node1", "-R", f"remote_path={told}")["node1"]["facts"]
        assert found["place"] == (f"{home}/{place}" if place else told)
    assert home.startswith("/")


@pytest.fixture
def logind_kills(bed: SSHBed, tmp_path: Path) -> Iterator[None]:
    """node1 looks as if systemd ran there, with a logind that ends what a logout leaves."""
    host = bed.hosts["node1"]
    conf = bed.shared / "logind.conf"
    conf.write_text("[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n")
    host.inside("mkdir", "-p", "/run/systemd/system")
    created = not Path("/etc/systemd/logind.conf").exists()
    target = "/etc/systemd" if created else "/etc/systemd/logind.conf"
    host.inside("mount", "--bind", str(bed.shared if created else conf), target)
    yield
    host.inside("umount", target)
    host.inside("rm", "-r", "/run/systemd")


@pytest.mark.usefixtures("logind_kills")
@pytest.mark.namespaces
def test_a_logind_that_ends_all_is_told(capsys: pytest.CaptureFixture[str], how: list[str]) -> None:
    found = looked_at(capsys, how, f"{USER}@node1", code=1)
    (problem,) = found[f"{USER}@node1"]["problems"]
    assert f"loginctl enable-linger {USER}" in problem
    assert looked_at(capsys, how, "root@node1")["root@node1"]["ready"]  # KillExcludeUsers=root


def test_a_python_that_is_missing_is_a_note(
    capsys: pytest.CaptureFixture[str], how: list[str]
) -> None:
    found = looked_at(capsys, how, "node1", "-R", "python=python9.9")
    assert "python" not in found["node1"]["facts"]
    assert any("which programs in Python need" in one for one in found["node1"]["notes"])


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(["hosts", "check"]) == 2
    assert "no hosts were given" in capsys.readouterr().err
    assert carry_out(["hosts", "check", "-R", "host=node1"]) == 2
    assert "Did you mean 'hosts'?" in capsys.readouterr().err
    assert carry_out(["hosts", "check", "-r", "local"]) == 2
    assert "the runner 'local' has no hosts" in capsys.readouterr().err
    assert carry_out(["hosts", "chek"]) == 2


def test_a_clock_that_is_off_is_told(
    capsys: pytest.CaptureFixture[str], bed: SSHBed, how: list[str]
) -> None:
    """Hosts of the bed have this machine's clock, so their `date` is another."""
    for name, way, off in (("node1", "ahead of", 1000), ("node2", "behind", -1000)):
        date = bed.shared / f"clock-of-{name}" / "date"
        date.parent.mkdir(exist_ok=True)
        date.write_text(f'#!/bin/sh\necho $(($(/bin/date "$@") + {off}))\n')
        date.chmod(0o755)
        bed.hosts[name].restart_sshd(f"SetEnv PATH={date.parent}:/usr/bin:/bin")
        found = looked_at(capsys, how, name)[name]
        assert found["ready"]
        assert 900 < abs(found["facts"]["clock_skew_seconds"]) <= 1001
        (note,) = [note for note in found["notes"] if "clock" in note]
        assert re.match(rf"its clock is \d+ s {way} ours, and so are the times", note)


def test_how_far_a_clock_is_off() -> None:
    assert check._skew({"clock": ["1000"]}, 1000.5) == 0
    assert check._skew({"clock": ["900"]}, 1000.5) == pytest.approx(-99.5)
    ahead = check._skew({"clock": ["99999999999"]}, 1000.5)
    assert ahead is not None
    assert ahead > 1e9
    facts = {"clock_skew_seconds": -99.5, "python": "python3"}
    assert check._notes({}, facts) == [
        "its clock is 100 s behind ours, and so are the times of its runs"
    ]
