"""A real host that has nothing but busybox: its tools are smaller than what most tests run with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from far_sweeps import Marks, forget_sweeps, going, runner, sweeps_left
from multirun_core._cli.program import carry_out
from ssh_bed import SSHBed
from ssh_host import Host

from multirun_core import FileResource, multirun

# It says what it was run by, and what of the inputs it finds.
PROGRAM = """
for name in sh tar find setsid tail sha256sum cp; do readlink -f "$(command -v $name)"; done >tools
for pid in $$ $PPID; do readlink /proc/$pid/exe; done >>tools
cat small copied big data/* | md5sum >sum
mkdir -p 'a b' && echo new >'a b/c d'
echo "$MULTIRUN_PARAM_N" >results.json
"""
STUBBORN = """
trap '' TERM
setsid sh -c "trap '' TERM HUP; while :; do sleep 1; done; : child-of-busybox" &
while :; do sleep 1; done
"""


@pytest.fixture
def small(bed: SSHBed, hosts: list[Host]) -> Host:
    """A host whose programs are links to busybox, all of them."""
    busybox = shutil.which("busybox")
    assert busybox, "these tests need busybox: apt-get install busybox"
    programs = bed.shared / "busybox"
    if not programs.exists():
        programs.mkdir()
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        for name in listed.stdout.split():
            (programs / name).symlink_to(busybox)
    forget_sweeps(hosts[:1])
    hosts[0].restart_sshd(f"SetEnv PATH={programs}", drop=True)
    return hosts[0]


def test_a_sweep_is_carried_out_by_busybox_alone(tmp_path: Path, bed: SSHBed, small: Host) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b b"):
        (folder / name).write_bytes(os.urandom(100_000))
    for name in ("small", "copied"):
        (tmp_path / name).write_text(name)
    (tmp_path / "big").write_bytes(os.urandom(1 << 20))
    inputs = [
        FileResource(folder),
        FileResource(tmp_path / "small"),
        FileResource(tmp_path / "copied", "copy"),
        FileResource(tmp_path / "big", "copy"),
    ]
    sums = set[str]()
    for count in (6, 10):
        sweep = multirun(
            runs=[{"n": n} for n in range(count)],
            cmd=["sh", "-c", PROGRAM],
            output_path=tmp_path / "s",
            input_files=inputs,
            runner=runner(bed, [small], keep_remote=count == 6),
            resume=count == 10,
            accept_changes=count == 10,
            progress=False,
        )
        assert sweep.results == list(range(count))
        sums.add((sweep.runs[count - 1].cwd / "sum").read_text())
        (folder / "a").write_bytes(os.urandom(100_000))  # the other one is copied there
    assert len(sums) == 2
    for run in sweep.runs:
        used = (run.cwd / "tools").read_text().split()
        assert len(used) == 9
        assert {Path(path).name for path in used} == {"busybox"}
        assert (run.cwd / "a b" / "c d").read_text() == "new\n"


def test_busybox_ends_runs_and_their_children(tmp_path: Path, bed: SSHBed, small: Host) -> None:
    sweep = multirun(
        runs=[{"n": n} for n in range(2)],
        cmd=["sh", "-c", STUBBORN],
        output_path=tmp_path / "s",
        runner=runner(bed, [small], timeout=3.0, grace=0.5),
        progress=False,
    )
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "timeout")] * 2
    assert small.processes("child-of-busybox") == []
    assert sweeps_left(small) == []


def test_runs_under_busybox_outlive_a_connection(tmp_path: Path, bed: SSHBed, small: Host) -> None:
    marks = Marks(bed, "by busybox")
    with going(marks, tmp_path / "s", 4, runner(bed, [small])) as sweep:
        sweep.until(lambda: len(marks.executions()) == 2)
        small.restart_sshd(*small.extra, drop=True)
        marks.go()
        assert sweep.wait().results == list(range(4))
    assert [run.attempts for run in sweep.wait().runs] == [1] * 4


@pytest.mark.usefixtures("small")
def test_a_host_with_busybox_is_ready(capsys: pytest.CaptureFixture[str], bed: SSHBed) -> None:
    options = ["-R", "hosts=node1", "-R", f"ssh_config={bed.ssh_config}"]
    assert carry_out(["hosts", "check", *options, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["problems"] == []
    assert told["facts"]["cpus"] >= 1
    assert told["facts"]["memory_bytes"] > 0
    assert told["facts"]["disk_free_bytes"] > 0
