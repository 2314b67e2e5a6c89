"""`multirun-ssh` as it is published: its wheel beside core's, and a real host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ssh_bed import SSHBed

from .clean import (
    PIP,
    ROOT,
    Environment,
    attempt,
    check_contents,
    check_extra,
    needs,
    run,
)

PROJECT = ROOT / "multirun_ssh"


def test_the_wheel_holds_the_package_and_needs_two(ssh: Path) -> None:
    check_contents(ssh, PROJECT, "ssh = multirun_ssh.plugin", "check.sh")
    assert needs(ssh) == ["asyncssh", "multirun-core"]


def test_core_has_it_as_an_extra(core: Path, ssh: Path) -> None:
    check_extra(core, ssh, "ssh")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_installed_by_the_extra_it_runs_a_sweep(
    core: Path, ssh: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = Environment(tmp_path_factory.mktemp("ssh"))
    environment.install("--find-links", ssh.parent, f"multirun-core[ssh] @ {core.as_uri()}")
    run(environment.python, *PIP, "check", cwd=environment.place)
    assert re.search(
        r"^ssh +multirun-ssh 0\.1\.0 +Run on a pool", environment.multirun("runners"), re.M
    )
    imported = environment.execute(
        "import sys; from multirun_core._registry import Registry\n"
        "assert Registry().resolve('ssh').summary\n"
        "print({'asyncio', 'asyncssh', 'multirun_ssh.runner'} & set(sys.modules))"
    )
    assert imported == "set()\n"
    with SSHBed() as bed:
        bed.add("node1")
        hosts = ("-R", "hosts=node1", "-R", f"ssh_config={bed.ssh_config}")
        (report,) = json.loads(environment.multirun("hosts", "check", *hosts, "--json"))
        assert report["ready"]
        words = ("-r", "ssh", *hosts, "-o", "swept", "-p", "x=1,2", "--", "echo", "{x}")
        environment.multirun("run", *words)
    printed = environment.place.glob("swept/runs/*/stdout.txt")
    assert sorted(path.read_text() for path in printed) == ["1\n", "2\n"]

    environment.uninstall("multirun-ssh")
    words = (environment.programs / "multirun", "hosts", "check", "-R", "hosts=node1")
    done = attempt(*words, cwd=environment.place)
    assert done.returncode == 2
    assert "no runner named 'ssh'" in done.stderr
    assert "ssh: pip install multirun-ssh" in done.stderr
