"""Sweep files: what they say, what options change, and where they are wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli_tools import call
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._cli import main
from multirun_core._cli.init import TEMPLATE
from multirun_core._cli.sweep_file import Plan, read_plan
from multirun_core._cli.toml_lines import line_of
from multirun_core._model.files import FileResource
from multirun_core.errors import UsageError

from multirun_core import Sweep

WHOLE = """\
cmd = ["sh", "-c", "echo $0", "{mass}"]
inputs = [
    "in put.txt",  # a comment
    { path = "mesh", linkage = "link", rename = "grid/m" },
]
output = "the study"
timeout = "1h30m"
retries = 2
on_retry = "keep"
checkpoints = ["check", "more"]
max_failures = 3
keep = "failed"
collect = ["re:a", "b.json"]
seeds = 2
table = "cases.csv"

[parameters]
mass = [1, 2]
drag = { from = 0.1, to = 0.3, step = 0.1 }
angle = { from = 0, to = 90, points = 4 }
"a name" = "steel"
when = 2026-01-02
point = [{ x = 1 }]

[zip]
case = ["calm", "storm"]
wind = { from = 1, to = 2, step = 1 }

[sample]
points = 3
method = "random"
seed = 5
[sample.parameters]
speed = { from = 0.5, to = 5 }
mode = ["a", "b"]
level = { from = 1, to = 3, step = 1 }

[runner_options]
max_parallel = 2
grace = "1.5"

[env]
A = "1"

[profile.cluster]
runner = "slurm"
retries = 0
[profile.cluster.runner_options]
partition = "short"
[profile.cluster.env]
B = "2"
[profile.small.sample]
points = 1
[profile.small.parameters]
mass = 7
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "a 'home'; $x"
    path.mkdir()
    (path / "in put.txt").write_text("input")
    (path / "mesh").mkdir()
    (path / "cases.csv").write_text("row\n1\n2\n")
    (path / "sweep.toml").write_text(WHOLE)
    return path


def read(text: str, folder: Path, profile: str | None = None) -> Plan:
    path = folder / "x.toml"
    path.write_text(text)
    return read_plan(path, profile)


def test_all_that_can_be_said(home: Path) -> None:
    plan = read_plan(home / "sweep.toml", None)
    assert plan.cmd == ["sh", "-c", "echo $0", "{mass}"]
    assert plan.inputs == [
        FileResource(home / "in put.txt"), FileResource(home / "mesh", "link", "grid/m"),
    ]  # fmt: skip
    assert plan.output == home / "the study"
    assert plan.rest == {
        "timeout": 5400.0, "retries": 2, "on_retry": "keep", "max_failures": 3, "keep": "failed",
        "checkpoints": ["check", "more"], "collect": ["re:a", "b.json"],
    }  # fmt: skip
    assert (plan.runner, plan.runner_options) == (None, {"max_parallel": 2, "grace": 1.5})
    assert plan.env == {"A": "1"}
    varying = plan.varying
    assert varying.rows == [{"row": 1}, {"row": 2}]
    assert varying.zipped == {"case": ["calm", "storm"], "wind": [1, 2]}
    assert varying.space == {"speed": (0.5, 5), "mode": ["a", "b"], "level": [1, 2, 3]}
    assert (varying.points, varying.method, varying.seed) == (3, "random", 5)
    grid = {**varying.grid}
    assert str(grid.pop("when")) == "[datetime.date(2026, 1, 2)]"
    assert grid == {
        "mass": [1, 2], "drag": [0.1, 0.2, 0.3], "angle": [0, 30, 60, 90], "a name": ["steel"],
        "point": [{"x": 1}],
    }  # fmt: skip
    runs = varying.build()
    assert len(runs) == 2 * 2 * 3 * (2 * 3 * 4) * 2
    assert list(runs[0]) == [
        "row", "case", "wind", "speed", "mode", "level", "mass", "drag", "angle", "a name", "when",
        "point", "seed",
    ]  # fmt: skip


def test_profiles(home: Path) -> None:
    plan = read_plan(home / "sweep.toml", "cluster")
    assert (plan.runner, plan.runner_options) == ("slurm", {"partition": "short"})
    assert plan.env == {"A": "1", "B": "2"}
    assert plan.rest["retries"] == 0
    assert plan.rest["max_failures"] == 3
    small = read_plan(home / "sweep.toml", "small").varying
    assert (small.points, small.method) == (1, "random")
    assert small.space["mode"] == ["a", "b"]
    assert small.grid["mass"] == [7]
    assert small.grid["drag"] == [0.1, 0.2, 0.3]
    with pytest.raises(UsageError, match=r"no profile 'clustr'; it has .*mean 'cluster'"):
        read_plan(home / "sweep.toml", "clustr")
    with pytest.raises(UsageError, match="no profile 'x'; it has none"):
        read("cmd = ['a']", home, "x")


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("cmd = 'python x'", 1, "cmd", "must be a list"),
        ("\n\ncmd = ['a', 1]", 3, "cmd[1]", "no text; quote it"),
        ("comand = ['a']", 1, "comand", "no such key. Did you mean 'cmd'"),
        ("[paramters]\na = 1", 1, "paramters", "Did you mean 'parameters'"),
        ("input_files = []", 1, "input_files", "There are "),
        ("# x\ninputs = [\n 'a',\n 3]", 2, "inputs[1]", "write a path"),
        ("inputs = [{ path = 'a', linkage = 'lnk' }]", 1, "inputs[0].linkage", "'lnk'"),
        ("inputs = [{ pth = 'a' }]", 1, "inputs[0].pth", "Did you mean 'path'"),
        ("inputs = [{ linkage = 'copy' }]", 1, "inputs[0]", "needs a path"),
        ("output = 3", 1, "output", "text in quotes"),
        ("timeout = 'soon'", 1, "timeout", "no duration"),
        ("timeout = 0", 1, "timeout", "no duration"),
        ("timeout = true", 1, "timeout", "write seconds"),
        ("retries = -1", 1, "retries", "whole number from 0"),
        ("retries = true", 1, "retries", "whole number from 0"),
        ("keep = 'some'", 1, "keep", "all, failed, results"),
        ("on_retry = 1", 1, "on_retry", "restore, keep"),
        ("checkpoints = 1", 1, "checkpoints", "a list of names"),
        ("checkpoints = ['a/b']", 1, "checkpoints", "at the top of the run directory"),
        ("collect = 'x.dat'", 1, "collect", "must be a .json or .csv"),
        ("collect = 3", 1, "collect", "write a rule"),
        ("seeds = 'x'", 1, "seeds", "whole number"),
        ("table = 'gone.csv'", 1, "table", "No such file"),
        ("runner_options = 1", 1, "runner_options", "must be a table"),
        ("[runner_options]\nmax_paralel = 1", 2, "runner_options.max_paralel", "'max_parallel'"),
        ("[runner_options]\nmax_parallel = 'x'", 2, "runner_options.max_parallel", "'x' is no int"),
        ("[runner_options]\nmax_parallel = 1.5", 2, "runner_options.max_parallel", "another type"),
        ("[env]\nA = 1", 2, "env.A", "text in quotes"),
        ("[parameters]\nb = 1\na = []", 3, "parameters.a", "no value"),
        ("[parameters]\na = { x = 1 }", 2, "parameters.a", "goes in a list"),
        ("[parameters]\na = { from = 1, to = 2 }", 2, "parameters.a", "needs a step"),
        ("[parameters]\na = { from = 1, to = 2, by = 1 }", 2, "parameters.a.by", "no such key"),
        ("[parameters]\na = { from = 1, to = 'x', step = 1 }", 2, "parameters.a.to", "no number"),
        ("[parameters]\na = { from = 1, to = 2, step = -1 }", 2, "parameters.a", "leads away"),
        ("[parameters]\na = { from = 1, to = 2, points = 1 }", 2, "parameters.a.points", "2 or"),
        ("[zip]\na = [1]\nb = [1, 2]", 1, "zip", "a: 1, b: 2"),
        ("[zip]\na = [1]\n[parameters]\na = [2]", 4, "parameters.a", "in zip too"),
        ("seeds = 2\n[parameters]\nseed = 1", 1, "seeds", "in parameters too"),
        ("[sample]\nmethod = 'lhs'\n[sample.parameters]\na = 1", 1, "sample", "needs points"),
        ("[sample]\npoints = 3", 1, "sample", "needs [sample.parameters]"),
        ("[sample]\npoints = 3\nmethod = 'x'\n[sample.parameters]\na = 1", 3, "sample.method", "x"),
        ("[sample]\npoints = 3\n[sample.parameters]\na = { from = 2, to = 1 }", 4,
         "sample.parameters.a", "low end"),
        ("cmd = ['a']\n[profile.p]\nretrys = 1", 3, "profile.p.retrys", "'retries'"),
        ("[profile.p.profile.q]\nretries = 1", 1, "profile.p.profile", "no such key"),
        ("profile = 1", 1, "profile", "must be a table"),
        ("[profile]\np = 1", 2, "profile.p", "must be a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_key_and_line(
    tmp_path: Path, text: str, line: int, key: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(text, tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'x.toml'}, line {line}: {key}: ")
    assert said in told


def test_a_profile_is_wrong_where_it_is(tmp_path: Path) -> None:
    text = "retries = 1\n[profile.p]\nretries = -1\n"
    with pytest.raises(UsageError, match=r"line 3: profile\.p\.retries"):
        read(text, tmp_path, "p")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "it is no TOML: .*line 1"),
        (b"\xff", "cannot read the sweep file"),
        (None, "multirun init writes one"),
        (b"a = 1\na = 2", "it is no TOML: .*line 2"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_plan(path, None)


def test_windows_lines_and_a_mark_in_front(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfcmd = ['a']\r\nretries = 1\r\n")
    assert read_plan(tmp_path / "x.toml", None).rest == {"retries": 1}


@given(
    st.lists(st.sampled_from(["", "# [x]", "a = 1", "b = '''\n[c]\nx = 1\n'''", "d = [\n1,\n\n]"]))
)
def test_lines_are_those_of_the_statements(parts: list[str]) -> None:
    chosen = [
        part for number, part in enumerate(parts) if part[:1] in "#" or part not in parts[:number]
    ]
    text = "\n".join([*chosen, "[last]", "key = { in = 1 }"])
    for key in ("a", "b", "d"):
        expected = next((number for number, line in enumerate(text.split("\n"), 1)
                         if line.startswith(f"{key} =")), None)  # fmt: skip
        assert line_of(text, (key,)) == expected
    assert line_of(text, ("last", "key", "in")) == text.count("\n") + 1
    assert line_of(text, ("last", "none")) is None


def run(*words: str, cwd: Path) -> Any:
    return call("run", *words, cwd=cwd)


SMALL = """\
cmd = ["sh", "-c", "cat in*; echo $0 $A", "{a}"]
inputs = ["in put.txt"]
output = "st"
[parameters]
a = [1, 2]
[env]
A = "from file"
[runner_options]
max_parallel = 1
[profile.other]
output = "other"
"""


def test_a_file_runs_from_anywhere(home: Path, tmp_path: Path) -> None:
    (home / "small.toml").write_text(SMALL)
    done = run(f"{home}/small.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{home / 'st'}\n"
    sweep = Sweep.open(home / "st")
    assert [one.stdout.read_text() for one in sweep.runs] == [
        "input1 from file\n", "input2 from file\n",
    ]  # fmt: skip
    assert sweep.manifest["runner"] == {"name": "local", "options": {"max_parallel": 1}}
    again = run("small.toml", "--resume", cwd=home)
    assert "2 of 2 runs succeeded" in again.stderr


def test_options_on_both_sides_override(home: Path) -> None:
    (home / "small.toml").write_text(SMALL)
    done = run(
        "-p", "b=x,y", "small.toml", "-p", "a=7", "-o", "new", "--env", "A=given", "-i", "mesh",
        "-R", "grace=1", "--keep", "all", "--", "sh", "-c", "echo {a} {b} $A -o", cwd=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sweep = Sweep.open(home / "new")
    assert [one.stdout.read_text() for one in sweep.runs] == ["7 x given -o\n", "7 y given -o\n"]
    assert sweep.manifest["runner"]["options"] == {"max_parallel": 1, "grace": 1.0}
    assert [one["name"] for one in sweep.manifest["inputs"]] == ["in put.txt", "mesh"]
    assert not (home / "st").exists()


def test_a_profile_on_the_command_line(home: Path) -> None:
    (home / "small.toml").write_text(SMALL)
    assert run("small.toml", "--profile", "other", cwd=home).returncode == 0
    assert len(Sweep.open(home / "other")) == 2
    wrong = run("-p", "a=1", "--profile", "other", "true", cwd=home)
    assert (wrong.returncode, "--profile is for sweep files" in wrong.stderr) == (2, True)


def test_a_command_whose_name_ends_so_goes_behind_dashes(home: Path) -> None:
    program = home / "tool.toml"
    program.write_text("#!/bin/sh\necho $1\n")
    program.chmod(0o755)
    done = run("-p", "a=1", "-o", "st", "--", str(program), "-p", cwd=home)
    assert done.returncode == 0, done.stderr
    assert Sweep.open(home / "st").runs[0].stdout.read_text() == "-p\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x.toml", "-q"], "-q"),
        (["gone.toml"], "multirun init writes one"),
        (["x.toml"], "there is no command"),
        (["x.toml", "--", "true"], "there are no parameters"),
        (["x.toml", "-p", "a=1..2", "--", "true"], "--sample N"),
        (["-p", "a=1", "--method", "lhs", "true"], "--method is for --sample"),
        (["-p", "a=1", "--sample", "3", "--method", "x", "true"], "'x'"),
        (["--seeds", "2", "-p", "seed=1", "true"], "seed is in the grid"),
    ],
)
def test_wrong_use(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text("")
    assert main(["run", *words]) == 2
    out, err = capfd.readouterr()
    assert (out, said in err) == ("", True), err


def test_samples_and_seeds_on_the_command_line(tmp_path: Path) -> None:
    given = ["--sample", "4", "--method", "sobol", "-p", "mass=0.5..5", "-p", "mode=a,b"]
    done = run(*given, "--seeds", "2", "--seed", "3", "-o", "st", "--", "true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    params = [one.params for one in Sweep.open(tmp_path / "st").runs]
    assert len(params) == 8
    assert all(0.5 <= one["mass"] < 5 and one["mode"] in "ab" for one in params)
    assert params[0]["mass"] == params[1]["mass"]
    assert len({one["seed"] for one in params}) == 2
    more = run(*given, "--sample", "8", "--seeds", "2", "--seed", "3", "-o", "st", "--resume",
               "--dry-run", "--", "true", cwd=tmp_path)  # fmt: skip
    assert "executes:  8 of the sweep's 16 runs (8 new)" in more.stdout, more.stderr


def test_rules_to_collect_by_last_for_a_resume(tmp_path: Path) -> None:
    script = "echo energy={a}; test {a} != 2 || test -e ../../go"
    done = run("-p", "a=1,2", "-o", "st", "--collect", "re:energy=(?P<energy>.*)", "--", "sh", "-c",
               script, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    (tmp_path / "st" / "go").write_text("")
    assert call("resume", "st", cwd=tmp_path).returncode == 0
    assert list(Sweep.open(tmp_path / "st").results) == [{"energy": 1}, {"energy": 2}]


def test_keep_lasts_for_a_resume(tmp_path: Path) -> None:
    script = "test {a} != 2 || test -e ../../go"
    assert run("-p", "a=1,2", "-o", "st", "--keep", "results", "--", "sh", "-c", script,
               cwd=tmp_path).returncode == 1  # fmt: skip
    (tmp_path / "st" / "go").write_text("")
    assert call("resume", "st", cwd=tmp_path).returncode == 0
    assert list((tmp_path / "st" / "runs").iterdir()) == []


def test_init_writes_what_runs(tmp_path: Path) -> None:
    done = call("init", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "multirun run sweep.toml" in done.stderr
    path = tmp_path / "sweep.toml"
    plan = read_plan(path, None)
    assert len(plan.varying.build()) == 9
    done = run("sweep.toml", "-o", "st", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = call("init", cwd=tmp_path)
    assert (again.returncode, "there already" in again.stderr) == (2, True)
    assert call("init", "my study.toml", cwd=tmp_path).returncode == 0
    assert "multirun run my study.toml --resume" in (tmp_path / "my study.toml").read_text()
    assert call("init", "x.txt", cwd=tmp_path).returncode == 2


def test_every_example_in_the_file_of_init_can_be_used(tmp_path: Path) -> None:
    lines = TEMPLATE.split("\n")
    begin = lines.index('cmd = ["echo", "{mass}", "{drag}"]')
    used = [
        line.removeprefix("# ")
        if line.startswith("# [") or " = " in line.partition("#")[2].partition("#")[0]
        else line
        for line in lines[begin:]
    ]
    above = used.index("[parameters]")
    runner = used.index('runner = "local"')
    used.insert(above, used.pop(runner))  # as the comment there says
    (tmp_path / "cases.csv").write_text("row\n1\n2\n")
    (tmp_path / "x.toml").write_text("\n".join(used))
    data = tomllib.loads("\n".join(used))
    from multirun_core._cli.sweep_file import _OWN, _PASSED

    assert set(data) == {*_OWN, *_PASSED, "profile"}
    plan = read_plan(tmp_path / "x.toml", None)
    assert len(plan.varying.build()) == 2 * 2 * 64 * (3 * 3 * 7) * 10
    assert read_plan(tmp_path / "x.toml", "cluster").runner == "slurm"
