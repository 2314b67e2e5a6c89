"""What of the inputs crosses the link to real hosts, as their interfaces count it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_sweeps import runner
from ssh_bed import SSHBed
from ssh_host import Host

from multirun_core import FileResource, Sweep, multirun

pytestmark = pytest.mark.namespaces

MIB = 1 << 20
CMD = ["sh", "-c", "cat data/* same mine | cksum >sum; echo 1 >results.json"]


@pytest.fixture
def labs(bed: SSHBed) -> Iterator[list[Host]]:
    """Two hosts with one home."""
    made = [bed.add(name, home="inputs") for name in ("lab1", "lab2")]
    yield made
    for host in made:
        bed.remove(host)


def received(hosts: list[Host]) -> int:
    """Return the bytes that hosts have received since they were booted."""
    return sum(
        int(host.inside("cat", "/proc/net/dev").partition("eth0:")[2].split()[0]) for host in hosts
    )


def test_each_distinct_file_crosses_once_for_each_file_system(
    tmp_path: Path, bed: SSHBed, labs: list[Host]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(os.urandom(2 * MIB))
    inputs = [
        FileResource(folder),
        FileResource(folder / "a", rename="same"),
        FileResource(folder / "a", "copy", rename="mine"),
    ]

    def carry_out(count: int) -> tuple[Sweep, int]:
        before = received(labs)
        sweep = multirun(
            runs=[{"n": n} for n in range(count)],
            cmd=CMD,
            output_path=tmp_path / "s",
            input_files=inputs,
            runner=runner(bed, labs, keep_remote=True),
            resume=count > 8,
            accept_changes=count > 8,
            progress=False,
        )
        assert [run.status for run in sweep.runs] == ["success"] * count
        return sweep, received(labs) - before

    sweep, first = carry_out(8)
    assert 6 * MIB < first < 7 * MIB
    sums = {(run.cwd / "sum").read_text() for run in sweep.runs}
    (folder / "b").write_bytes(os.urandom(2 * MIB))
    (folder / "c").rename(folder / "z")
    shutil.copy(folder / "a", folder / "d")
    sweep, second = carry_out(16)
    assert 2 * MIB < second < 3 * MIB
    later = {(run.cwd / "sum").read_text() for run in sweep.runs[8:]}
    assert len(sums) == len(later) == 1
    assert sums != later
    # What came of the runs is right by what lies here, too.
    assert all((run.cwd / "data" / "z").read_bytes() == (folder / "z").read_bytes()
               for run in sweep.runs[8:])  # fmt: skip
