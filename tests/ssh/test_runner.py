"""What the runner's options do, over real sshd."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from far_sweeps import Marks, forget_sweeps, going, runner, sweeps_left
from pools import until
from ssh_bed import SSHBed
from ssh_host import USER, Host

from multirun_core import FileResource, Sweep, multirun, multirunAsync
from multirun_ssh import SSHRunner

SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(autouse=True)
def nothing_left_by_others(hosts: list[Host]) -> None:
    forget_sweeps(hosts)


def carry_out(path: Path, made: SSHRunner, cmd: list[str], count: int = 4, **call: object) -> Sweep:
    runs = [{"n": n} for n in range(count)]
    return multirun(  # type: ignore[call-overload,no-any-return]
        runs=runs, cmd=cmd, output_path=path, runner=made, progress=False, **call
    )


def test_runs_are_carried_out_on_several_hosts(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    program = 'hostname > where; printf %s "$MULTIRUN_PARAM_N" > results.json; echo out'
    sweep = carry_out(tmp_path / "s", runner(bed, hosts), ["sh", "-c", program], 24)
    assert sweep.results == list(range(24))
    assert {run.host for run in sweep.runs} == {host.name for host in hosts}
    assert all((run.cwd / "where").read_text().strip() == run.host for run in sweep.runs)
    assert all(run.stdout.read_text() == "out\n" for run in sweep.runs)
    assert [sweeps_left(host) for host in hosts] == [[]] * 4


@pytest.mark.namespaces
def test_a_normal_user_needs_no_installation_there(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    script = tmp_path / "simu late.py"
    script.write_text(
        "import sys\nfrom multirun_core import getRunParams, postRunResults\n"
        "postRunResults({'n': 2 * getRunParams()['n'], 'where': sys.executable, (1, 2): {3j}})\n"
    )
    made = SSHRunner(
        hosts=[f"{USER}@{host.name}" for host in hosts],
        slots=2,
        ssh_config=bed.ssh_config,
        python=SYSTEM_PYTHON,
    )
    cmd = ["python", script.name]
    sweep = carry_out(tmp_path / "s", made, cmd, input_files=[script])
    assert sweep.results == [{"n": 2 * n, "where": SYSTEM_PYTHON, (1, 2): {3j}} for n in range(4)]
    assert sweeps_left(hosts[0], USER) == []


OLD = """\
import json, sys
from multirun_core import getRunParams, postRunResults
with open("params.json") as file:
    assert json.load(file) == {"n": getRunParams()["n"], "word": "\u2603"}
postRunResults({"n": 2 * getRunParams()["n"], "python": sys.version_info[:2], (1, 2): {3j}})
"""
PLAIN = """\
import json
with open("params.json") as source, open("results.json", "w") as target:
    json.dump({"n": 2 * json.load(source)["n"]}, target)
"""


def test_the_oldest_python_will_do_there(tmp_path: Path, bed: SSHBed, hosts: list[Host]) -> None:
    """What programs get of multirun is executed by Python 3.8, typed or as JSON."""
    python = find_python("3.8")
    if python is None:
        pytest.skip(
            "NOT TESTED: what multirun executes in runs by Python 3.8, of which there is none on "
            "this machine, neither on the PATH nor in ~/.pyenv/versions"
        )
    for name, text in {"typed.py": OLD, "plain.py": PLAIN}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        sweep = multirun(
            runs=[{"n": n, "word": "\u2603"} for n in range(4)],
            cmd=["python", name],
            output_path=tmp_path / name.partition(".")[0],
            input_files=[tmp_path / name],
            runner=runner(bed, hosts[:2], python=python),
            progress=False,
        )
        typed = {"python": (3, 8), (1, 2): {3j}} if name == "typed.py" else {}
        assert sweep.results == [{"n": 2 * n, **typed} for n in range(4)]


def find_python(version: str) -> str | None:
    """Return a Python of a version on this machine, which hosts of the bed have, too."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"))
    for program in [f"python{version}", *map(str, found)]:
        words = [program, "-c", "import sys; print(sys.executable)"]
        with suppress(OSError):  # what is found on the PATH may be a shim that says no
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
            if done.returncode == 0:
                return done.stdout.strip()
    return None


def test_setup_and_variables(tmp_path: Path, bed: SSHBed, hosts: list[Host]) -> None:
    made = runner(
        bed,
        hosts[:1],
        setup='tool() { echo "loaded $1"; }\nTOOL=$(tool "a b"); export TOOL\n',
        env={"GIVEN": "it's $HOME\n"},
    )
    sweep = carry_out(tmp_path / "s", made, ["sh", "-c", 'printf "%s|%s" "$TOOL" "$GIVEN"'], 1)
    assert sweep.runs[0].stdout.read_text() == "loaded a b|it's $HOME\n"


def test_only_files_that_are_asked_for_come_back_and_the_rest_may_stay(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    made = runner(bed, hosts[:1], fetch=["*.csv"], keep_remote=True, remote_path="~/k ept")
    program = "echo a > 'a b.csv'; echo b > big; echo 1 > results.json"
    sweep = carry_out(tmp_path / "s", made, ["sh", "-c", program], 2)
    assert sweep.results == [1, 1]
    for run in sweep.runs:
        names = sorted(path.name for path in run.cwd.iterdir())
        assert names == ["a b.csv", "params.json", "results.json"]
    kept = sorted(
        path.read_text() for path in (hosts[0].home() / "k ept").glob("s-*/node1*/0*/big")
    )
    assert kept == ["b\n", "b\n"]


def test_nothing_but_its_own_is_removed_there(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    place = bed.shared / "place of others"
    (place / "other sweep").mkdir(parents=True)
    (place / "file").write_text("precious")
    sweep = carry_out(tmp_path / "s", runner(bed, hosts, remote_path=str(place)), ["true"], 8)
    assert sweep.statistics.success_count == 8
    assert sorted(path.name for path in place.iterdir()) == ["file", "other sweep"]


def test_a_program_that_one_host_lacks_is_not_looked_for_by_a_run(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], caplog: pytest.LogCaptureFixture
) -> None:
    programs = bed.shared / "pro grams"
    programs.mkdir()
    (programs / "mysim").write_text("#!/bin/sh\nhostname > where\n")
    (programs / "mysim").chmod(0o755)
    setup = f'test "$(hostname)" = node2 || PATH="{programs}:$PATH"'
    made = runner(bed, hosts[:2], setup=setup)
    sweep = carry_out(tmp_path / "s", made, ["mysim"], 8)
    assert [(run.cwd / "where").read_text() for run in sweep.runs] == ["node1\n"] * 8
    assert [run.attempts for run in sweep.runs] == [1] * 8
    assert "node2 has no program 'mysim'" in caplog.text
    sweep = carry_out(tmp_path / "t", runner(bed, hosts[:2]), ["mysim"], 2)
    for run in sweep.runs:
        assert (run.status, run.reason) == ("failure", "submit")
        assert "node1 has no program 'mysim'" in str(run.message)
        assert "node2 has no program 'mysim'" in str(run.message)


@pytest.mark.namespaces
def test_a_link_to_what_a_host_has_not_got_fails_the_run(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    data = tmp_path / "data"
    data.write_text("x")
    hosts[0].inside("mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
    try:
        sweep = carry_out(
            tmp_path / "s",
            runner(bed, hosts[:1]),
            ["sh", "-c", "echo x > began"],
            2,
            input_files=[FileResource(data, "link")],
        )
    finally:
        hosts[0].inside("umount", str(tmp_path))
    for run in sweep.runs:
        assert (run.status, run.reason) == ("failure", "staging")
        assert str(data) in str(run.message)
        assert "node1" in str(run.message)
        assert not (run.cwd / "began").exists()


def test_slots_are_those_of_each_host(tmp_path: Path, bed: SSHBed, hosts: list[Host]) -> None:
    marks = Marks(bed, "slots")
    made = SSHRunner(hosts=["node1:3", "node2", "node3:1"], slots=2, ssh_config=bed.ssh_config)
    with going(marks, tmp_path / "s", 12, made) as sweep:
        sweep.until(lambda: len(marks.executions()) == 6)
        assert [len(marks.on(host)) for host in hosts[:3]] == [3, 2, 1]
        marks.go()
        assert sweep.wait().statistics.success_count == 12


def test_slots_are_by_default_the_cpus_of_each_host(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = Marks(bed, "slots by CPUs")
    hosts[1].restart_sshd("SetEnv OMP_NUM_THREADS=1")  # which nproc heeds, and slots do not
    cpus = int(hosts[0].inside("env", "-u", "OMP_NUM_THREADS", "nproc"))
    made = SSHRunner(hosts=["node1", "node2"], ssh_config=bed.ssh_config)
    with going(marks, tmp_path / "s", 2 * cpus + 4, made) as sweep:
        sweep.until(lambda: len(marks.executions()) >= 2 * cpus)
        assert [len(marks.on(host)) for host in hosts[:2]] == [cpus, cpus]
        marks.go()
        assert sweep.wait().statistics.success_count == 2 * cpus + 4


def test_nothing_is_copied_in_a_file_system_that_all_share(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = Marks(bed, "nothing is copied")
    data = tmp_path / "data"
    data.write_text("from here")
    program = f"pwd > where; cat data >> where; {marks.program[2]}"
    made = runner(bed, hosts[:2], shared_filesystem=True)
    call = {"cmd": ["sh", "-c", program, *marks.program[3:]], "input_files": [data]}
    with going(marks, bed.shared / "swe ep", 4, made, **call) as sweep:
        sweep.until(lambda: len(marks.executions()) == 4)
        for host in hosts[:2]:
            there = list((host.home() / ".cache" / "multirun").rglob("*"))
            assert "far.sh" in {path.name for path in there}
            assert not {"data", "where", "order"} & {path.name for path in there}
            links = [path for path in there if path.is_symlink()]
            assert len(links) == 2  # by which a guard would find them
        marks.go()
        runs = sweep.wait().runs
    assert [(run.cwd / "where").read_text() for run in runs] == [
        f"{run.cwd}\nfrom here" for run in runs
    ]
    assert sweep.wait().results == list(range(4))


def test_hundreds_of_slots_need_one_connection(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    """More than the sessions that sshd allows on one, and than it would let log in at once."""
    count = 300
    marks = Marks(bed, "many slots")
    gate = marks.folder / "gate"
    os.mkfifo(gate)
    program = 'echo x > "$0/run-$MULTIRUN_INDEX"; read -r go < "$0/gate"; echo 1 > results.json'
    opened = os.open(gate, os.O_RDWR)  # runs that wait cost nothing
    try:
        with going(
            marks,
            tmp_path / "s",
            count,
            runner(bed, hosts[:1], slots=count),
            cmd=["sh", "-c", program, str(marks.folder)],
        ) as sweep:
            try:
                sweep.until(lambda: len(list(marks.folder.glob("run-*"))) == count)
                assert len(hosts[0].processes("sshd: root@notty")) == 1
            finally:
                os.write(opened, b"\n" * count)  # each takes one
            assert sweep.wait().results == [1] * count
    finally:
        os.close(opened)


def test_quick_hosts_do_what_a_slow_one_has_no_time_for(
    tmp_path: Path, bed: SSHBed, hosts: list[Host]
) -> None:
    marks = Marks(bed, "a slow host")
    with going(marks, tmp_path / "s", 40, runner(bed, hosts[:3])) as sweep:
        sweep.until(lambda: len(marks.executions()) == 6)
        held = marks.on(hosts[0])
        marks.go(*(set(range(40)) - set(held)))
        sweep.until(lambda: len(marks.lines("end")) == 38)
        assert marks.on(hosts[0]) == held
        marks.go()
        assert sweep.wait().results == list(range(40))


@pytest.fixture
def late(bed: SSHBed, hosts: list[Host]) -> Iterator[Path]:
    """A folder where `held` tells that node2 unpacks inputs, of which it is not given all."""
    folder = bed.shared / f"late-{time.monotonic_ns()}"
    folder.mkdir()
    (folder / "tar").write_text(
        "#!/bin/sh\n"
        "PATH=${PATH#*:}\n"
        f'! mkdir {folder}/luggage 2>/dev/null || exec tar "$@"\n'
        "exec 2>/dev/null\n"  # nobody may read it by then
        'trap \'sleep 1; mkdir -p "$PWD"; touch "$PWD/late"; trap - TERM; kill $$\' TERM\n'
        f"touch {folder}/held\n"
        f'{{ head -c 1000000; until test -e {folder}/go; do sleep 0.05; done; }} | tar "$@"\n'
    )
    (folder / "tar").chmod(0o755)
    hosts[1].restart_sshd(f"SetEnv PATH={folder}:/usr/bin:/bin", drop=True)
    yield folder
    (folder / "go").touch()


@pytest.mark.parametrize("keep", [False, True])
def test_runs_are_not_kept_waiting_for_inputs_that_are_there_elsewhere(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], late: Path, keep: bool
) -> None:
    marks = Marks(bed, f"late inputs {keep}")
    data = tmp_path / "data"
    data.write_bytes(os.urandom(3 << 20))
    names = ["node1:2", "node2:4"]
    made = SSHRunner(hosts=names, ssh_config=bed.ssh_config, keep_remote=keep)
    with going(marks, tmp_path / "s", 12, made, input_files=[data]) as sweep:
        sweep.until(lambda: (late / "held").exists() and len(marks.executions()) == 2)
        marks.go()
        done = sweep.wait(20)
    assert done.results == list(range(12))
    assert [run.host for run in done.runs] == ["node1"] * 12
    assert [run.attempts for run in done.runs] == [1] * 12
    assert set(marks.executions().values()) == {1}
    # What was on its way there has been given up, and has left nothing.
    assert not hosts[1].processes(str(late / "tar"))
    assert len(sweeps_left(hosts[1])) == keep
    assert not list(hosts[1].home().glob(".cache/multirun/*/shared/.part*"))


@pytest.mark.asyncio
async def test_a_sweep_that_is_cancelled_waits_for_no_inputs(
    tmp_path: Path, bed: SSHBed, hosts: list[Host], late: Path
) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(3 << 20))
    call = multirunAsync(
        runs=[{"n": n} for n in range(4)],
        cmd=["true"],
        output_path=tmp_path / "s",
        runner=SSHRunner(hosts=["node2:2"], ssh_config=bed.ssh_config),
        input_files=[data],
        progress=False,
    )
    sweep = asyncio.create_task(call)
    await until(lambda: (late / "held").exists())
    before = time.monotonic()
    sweep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweep
    assert time.monotonic() - before < 12
    assert [run.status for run in Sweep.open(tmp_path / "s").runs] == ["skipped"] * 4
    assert not hosts[1].processes(str(late / "tar"))
    assert not sweeps_left(hosts[1])
