"""A real host that has the tools which `hosts check` looks for, and no others."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest
from far_sweeps import forget_sweeps, runner, sweeps_left
from ssh_bed import SSHBed
from ssh_host import Host
from sweeps import wait_until

from multirun_core import FileResource, Run, multirun
from multirun_ssh import check

# It says what it finds of its inputs.
PROGRAM = """
cat small copied big data/* >all
mkdir 'a b' && cat small >'a b/c'
echo "$MULTIRUN_PARAM_N" >results.json
"""

# One child has a session of its own, one has nothing of the run but its directory; and there is one
# of another run, as in a file system that attempts share.
STUBBORN = """
trap '' TERM
setsid sh -c "trap '' TERM HUP; while :; do sleep 0.1; done; : child-of-few" &
setsid env -i PATH="$PATH" sh -c "while :; do sleep 0.1; done; : child-of-few" 9<&- &
setsid env MULTIRUN_TOKEN=another sh -c "until test -e '$0'; do sleep 0.1; done; : spared-$$" 9<&- &
while :; do sleep 0.1; done
"""


@pytest.fixture
def few(bed: SSHBed, hosts: list[Host]) -> Host:
    """A host on whose PATH is exactly what `check.sh` names, and sh."""
    script = Path(check.__file__).with_name("check.sh").read_text()
    (listed,) = re.findall(r"^for tool in (.*); do$", script, re.MULTILINE)
    programs = bed.shared / "listed-tools"
    if not programs.exists():
        programs.mkdir()
        for name in ["sh", *listed.split()]:
            found = shutil.which(name)
            assert found, name
            (programs / name).symlink_to(found)
    forget_sweeps(hosts[:1])
    hosts[0].restart_sshd(f"SetEnv PATH={programs}", drop=True)
    return hosts[0]


def test_a_sweep_needs_no_other_tools(tmp_path: Path, bed: SSHBed, few: Host) -> None:
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
    for count in (4, 8):
        sweep = multirun(
            runs=[{"n": n} for n in range(count)],
            cmd=["sh", "-c", PROGRAM],
            output_path=tmp_path / "s",
            input_files=inputs,
            runner=runner(bed, [few], keep_remote=count == 4),
            resume=count == 8,
            accept_changes=count == 8,
            progress=False,
        )
        assert sweep.results == list(range(count))
        files = [
            tmp_path / "small",
            tmp_path / "copied",
            tmp_path / "big",
            *sorted(folder.iterdir()),
        ]
        whole = b"".join(path.read_bytes() for path in files)
        for run in sweep.runs[-4:]:
            assert (run.cwd / "all").read_bytes() == whole
            assert (run.cwd / "a b" / "c").read_text() == "small"
            assert not run.stderr.exists()  # nobody has said anything
        (folder / "a").write_bytes(os.urandom(100_000))  # the other one is copied there


@pytest.mark.parametrize("how", ["cancel", pytest.param("time-out", marks=pytest.mark.long)])
def test_runs_are_ended_by_no_other_tools(
    how: str, tmp_path: Path, bed: SSHBed, few: Host, caplog: pytest.LogCaptureFixture
) -> None:
    others_end = bed.shared / f"others may end {how}"
    made = runner(bed, [few], grace=0.5, timeout=3.0 if how == "time-out" else None)

    async def add() -> list[Run]:
        added: list[Run] = []
        for number in range(2):
            (cwd := tmp_path / f"{number}").mkdir()
            added.append(made.add(["sh", "-c", STUBBORN, str(others_end)], cwd))
        gathering = asyncio.ensure_future(made.gather())
        if how == "cancel":
            # The one that the runs themselves are, which is the same, and two of others.
            while len(set(few.processes("spared-"))) < 3:
                await asyncio.sleep(0.05)
                assert not gathering.done()
            while any(run.status == "pending" for run in added):  # such a one would be skipped
                await asyncio.sleep(0.05)
            for run in added:
                assert run.task is not None
                run.task.cancel()
        await gathering
        return added

    reason = "cancelled" if how == "cancel" else "timeout"
    runs = asyncio.run(add())
    assert [(run.status, run.reason) for run in runs] == [("failure", reason)] * 2
    assert few.processes("child-of-few") == []
    if how == "cancel":
        assert len(set(few.processes("spared-"))) == 2
    others_end.touch()
    wait_until(lambda: not few.processes("spared-"))
    assert "could not be ended" not in caplog.text
    assert sweeps_left(few) == []
