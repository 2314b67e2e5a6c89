"""`multirun-slurm` as it is published: its wheel beside core's, and a real cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from slurm_cluster import ClusterOptions, SlurmCluster

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

PROJECT = ROOT / "multirun_slurm"


def test_the_wheel_holds_the_package_and_needs_core_alone(slurm: Path) -> None:
    check_contents(slurm, PROJECT, "slurm = multirun_slurm.plugin")
    assert needs(slurm) == ["multirun-core"]


def test_core_has_it_as_an_extra(core: Path, slurm: Path) -> None:
    check_extra(core, slurm, "slurm")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_installed_beside_core_it_runs_a_sweep(
    core: Path, slurm: Path, ssh: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = Environment(tmp_path_factory.mktemp("slurm"))
    environment.install(core, slurm)
    run(environment.python, *PIP, "check", cwd=environment.place)
    assert re.search(
        r"^slurm +multirun-slurm 0\.1\.0 +Run as", environment.multirun("runners"), re.M
    )
    told = environment.multirun("runners", "slurm")
    assert "cpus_per_task (int | None), default None\n      CPUs of a run." in told
    imported = environment.execute(
        "import sys; from multirun_core._registry import Registry\n"
        "assert Registry().resolve('slurm').summary\n"
        "print({'asyncio', 'multirun_slurm.runner', 'multirun_slurm.options'} & set(sys.modules))"
    )
    assert imported == "set()\n"
    cluster = SlurmCluster(ClusterOptions(nodes=1))
    cluster.start()
    try:
        words = ("-r", "slurm", "-R", "time=5", "-o", "swept", "-p", "x=1,2", "--", "echo", "{x}")
        environment.multirun("run", *words, env={"SLURM_CONF": cluster.env["SLURM_CONF"]})
    finally:
        cluster.stop()
    printed = environment.place.glob("swept/runs/*/stdout.txt")
    assert sorted(path.read_text() for path in printed) == ["1\n", "2\n"]

    far = ("run", "-r", "slurm", "-R", "login=x", "-o", "far", "-p", "x=1", "--", "true")
    done = attempt(environment.programs / "multirun", *far, cwd=environment.place)
    assert done.returncode == 2
    assert 'pip install "multirun-core[ssh]"' in done.stderr
    assert not (environment.place / "far").exists()

    environment.install(ssh)
    run(environment.python, *PIP, "check", cwd=environment.place)
    listed = json.loads(environment.multirun("runners", "--json"))["installed"]
    assert [one["name"] for one in listed] == ["local", "slurm", "ssh"]
