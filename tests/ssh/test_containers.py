"""The how-to page's example of a container, with stand-ins for the module system and the runtime.

What is shown is what multirun has a hand in: that `setup` runs before the command, in the same
shell, that what it exports and puts on the PATH is there, and that all words arrive as they are.
What is not: that a container sees the run's directory, which is up to the runtime.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_bed import SSHBed
from ssh_host import Host

import multirun_core

PAGE = Path(__file__).parents[2] / "docs/how-to/ssh.md"
# Like the real ones, it makes a function known, looks at variables that may not be set, and prints.
MODULES = """\
module() {
    if [ -z "$MODULES_LOADED" ]; then echo "loading $2"; fi
    PATH=STANDINS/$2:$PATH
    export PATH
}
"""
RUNTIME = """\
#!/bin/sh
[ "$1" = exec ] || exit 9
printf '%s\\n' "$0" "$APPTAINER_BIND" "$@" >words
shift 2
exec "$@"
"""
SIMULATE = (
    "import json; p = json.load(open('params.json')); json.dump(p, open('results.json', 'w'))"
)


def example() -> str:
    """Return the block of the page in which a container is started."""
    blocks = PAGE.read_text().split("```python\n")[1:]
    (found,) = [block.partition("```")[0] for block in blocks if "apptainer" in block]
    return found


@pytest.fixture
def two(bed: SSHBed, hosts: list[Host]) -> Iterator[list[Host]]:
    """Hosts with modules; one of them is the runtime."""
    place = bed.shared / "stand ins"
    (place / "apptainer").mkdir(parents=True, exist_ok=True)
    (place / "apptainer" / "apptainer").write_text(RUNTIME)
    (place / "apptainer" / "apptainer").chmod(0o755)
    profile = bed.shared / "profile.d"
    profile.mkdir(exist_ok=True)
    (profile / "modules.sh").write_text(MODULES.replace("STANDINS", f"'{place}'"))
    for host in hosts[:2]:
        host.inside("mount", "--bind", str(profile), "/etc/profile.d")
    yield hosts[:2]
    for host in hosts[:2]:
        host.inside("umount", "/etc/profile.d")


@pytest.mark.namespaces
def test_a_container_is_started_as_the_page_has_it(
    tmp_path: Path, bed: SSHBed, two: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("simulate.py").write_text(SIMULATE)
    sweeps: list[multirun_core.Sweep] = []

    def multirun(*, runner_options: dict[str, Any], **call: Any) -> None:
        assert runner_options["hosts"] == [host.name for host in two]
        options = {"ssh_config": bed.ssh_config, **runner_options}
        sweeps.append(multirun_core.multirun(runner_options=options, progress=False, **call))

    exec(example(), {"multirun": multirun})
    (sweep,) = sweeps
    assert sweep.results == [{"mass": mass} for mass in range(10)]
    runtime = os.fspath(bed.shared / "stand ins/apptainer/apptainer")
    words = [runtime, "/scratch", "exec", "/data/sim.sif", "python3", "simulate.py"]
    for run in sweep.runs:
        assert (run.cwd / "words").read_text().splitlines() == words
        assert run.stdout.read_text() == "loading apptainer\n"


@pytest.mark.namespaces
def test_words_reach_a_container_as_they_are(tmp_path: Path, bed: SSHBed, two: list[Host]) -> None:
    odd = ["a b", "it's", '"$HOME"', "*", "back\\slash", "new\nline", ""]
    sweep = multirun_core.multirun(
        runs=[{"n": 1}],
        cmd=["apptainer", "exec", "an image.sif", "sh", "-c", 'printf "%s|" "$@"', "sh", *odd],
        output_path=tmp_path / "s",
        runner="ssh",
        runner_options={
            "hosts": [two[0].name],
            "ssh_config": bed.ssh_config,
            "setup": ". /etc/profile.d/modules.sh; MODULES_LOADED=1; module load apptainer",
        },
        progress=False,
    )
    assert sweep.runs[0].stdout.read_text() == "".join(f"{word}|" for word in odd)
