"""The test bed itself: its hosts are real, break as they should, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ssh_bed import SSHBed
from ssh_host import USER, Host


def attempt(bed: SSHBed, *words: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", bed.ssh_config, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )


def test_a_host_is_reached_by_ssh(bed: SSHBed, hosts: list[Host]) -> None:
    for host in hosts:
        told = bed.ssh(host, "hostname; pwd; id -un").split()
        assert (told[0], told[2]) == (host.name, bed.user)
        if bed.namespaces:
            assert told[1] == f"{host.mounted}/root"


@pytest.mark.namespaces
def test_a_host_has_a_normal_user(bed: SSHBed, host: Host) -> None:
    done = attempt(bed, "-l", USER, host.name, "id -un; pwd; touch mine; ls -ld /tmp")
    assert done.stdout.split()[:2] == [USER, f"{host.mounted}/{USER}"]
    assert (host.home(USER) / "mine").exists()


@pytest.mark.namespaces
def test_a_cut_link_is_silent_and_comes_back(bed: SSHBed, host: Host) -> None:
    host.cut()
    done = attempt(bed, "-o", "ConnectTimeout=1", host.name, "true")
    assert done.returncode == 255
    assert "timed out" in done.stderr
    host.restore()
    assert bed.ssh(host, "echo back") == "back\n"


@pytest.mark.namespaces
def test_a_connection_outlives_a_cut(bed: SSHBed, host: Host) -> None:
    words = ["ssh", "-F", bed.ssh_config, host.name, "cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdin.write("before\n")
        one.stdin.flush()
        assert one.stdout.readline() == "before\n"
        host.cut()
        one.stdin.write("meanwhile\n")
        one.stdin.flush()
        time.sleep(0.5)
        host.restore()
        assert one.stdout.readline() == "meanwhile\n"
        one.stdin.close()
        assert one.wait(30) == 0


def test_a_host_that_is_killed_loses_its_processes_and_boots_again(bed: SSHBed, host: Host) -> None:
    bed.ssh(host, "setsid sleep 4711 </dev/null >/dev/null 2>&1 & echo started")
    assert host.processes("sleep 4711")
    host.kill()
    done = attempt(bed, "-o", "ConnectTimeout=1", host.name, "true")
    assert done.returncode == 255
    host.boot()
    assert bed.ssh(host, "echo back") == "back\n"
    assert not host.processes("sleep 4711")


def test_sshd_restarts_with_other_directives(bed: SSHBed, host: Host) -> None:
    host.restart_sshd("SetEnv MULTIRUN_SEEN=yes")
    assert bed.ssh(host, "echo $MULTIRUN_SEEN") == "yes\n"
    host.restart_sshd()
    assert bed.ssh(host, "echo $MULTIRUN_SEEN") == "\n"


@pytest.mark.parametrize("drop", [False, True])
def test_connections_outlive_a_restart_unless_dropped(bed: SSHBed, host: Host, drop: bool) -> None:
    words = ["ssh", "-F", bed.ssh_config, host.name, "cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdin.write("before\n")
        one.stdin.flush()
        assert one.stdout.readline() == "before\n"
        host.restart_sshd(drop=drop)
        one.stdin.close()
        assert one.wait(30) == (255 if drop else 0)


def test_another_host_key_is_refused(bed: SSHBed, host: Host) -> None:
    host.change_key()
    try:
        done = attempt(bed, host.name, "true")
        assert done.returncode == 255
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    finally:
        host.restore_key()
    assert bed.ssh(host, "echo trusted") == "trusted\n"


@pytest.mark.namespaces
def test_a_small_disk_fills_up(bed: SSHBed, host: Host) -> None:
    place = host.mounted / "root" / "small"
    host.small_disk(place, "100k")
    try:
        done = attempt(bed, host.name, f"head -c 1000000 /dev/zero > {place}/file")
        assert "No space left on device" in done.stderr
    finally:
        host.inside("umount", str(place))


def test_hosts_may_share_their_homes(bed: SSHBed) -> None:
    added = [bed.add(name, home="lab") for name in ("lab1", "lab2")]
    try:
        bed.ssh("lab1", "echo shared > seen")
        assert bed.ssh("lab2", "cat seen") == "shared\n"
    finally:
        for host in added:
            bed.remove(host)


@pytest.mark.namespaces
def test_nothing_can_leave_the_machine(bed: SSHBed) -> None:
    """Wherever there is no link, the bed's part of the addresses has no way out."""
    beyond = bed.subnet.replace(".0/24", ".254")
    done = subprocess.run(["ip", "route", "get", beyond], capture_output=True, text=True)
    assert done.returncode != 0
    assert "No route to host" in done.stderr
    other = bed.hosts["node2"].address
    assert bed.ssh("node1", f"echo >/dev/tcp/{other}/22 && echo there") == "there\n"
    done = attempt(bed, "node1", "echo >/dev/tcp/192.0.2.1/22")
    assert "Network is unreachable" in done.stderr


@pytest.mark.parametrize("mode", ["", "loopback"])
def test_two_beds_live_side_by_side_and_leave_nothing(
    bed: SSHBed, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("MULTIRUN_TESTBED", mode)
    with SSHBed() as second:
        assert second.number != bed.number
        host = second.add("node1")
        # Others may be at the same test of another mode, or of another checkout.
        sleep = f"sleep {4_712_000_000 + os.getpid()}"
        second.ssh(host, f"setsid {sleep} </dev/null >/dev/null 2>&1 & echo started")
        assert any(sleep in line for line in everywhere())
        left = second.root
        interfaces = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    assert not left.exists()
    assert not any(sleep in line or str(left) in line for line in everywhere())
    if second.namespaces:
        assert f"mrb{second.number}h" in interfaces
        interfaces = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
        assert f"mrb{second.number}h" not in interfaces


@pytest.mark.parametrize("mode", ["", "loopback"])
def test_the_hosts_end_with_whoever_made_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    monkeypatch.setenv("MULTIRUN_TESTBED", mode)
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from ssh_bed import SSHBed\n"
        "bed = SSHBed(); bed.add('node1')\n"
        "bed.ssh('node1', f'setsid {sys.argv[2]} </dev/null >/dev/null 2>&1 & echo started')\n"
        "print(bed.root, flush=True); time.sleep(600)\n"
    )
    testbed = str(Path(__file__).parents[1] / "testbed")
    sleep = f"sleep {4_713_000_000 + os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", code, testbed, sleep], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        root = maker.stdout.readline().strip()
        assert any(sleep in line for line in everywhere())
        os.kill(maker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(sleep in line or root in line for line in everywhere()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    subprocess.run(["rm", "-r", root], check=True)


def everywhere() -> list[str]:
    """Return the command lines of all processes of this machine."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return lines
