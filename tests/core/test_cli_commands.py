from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_tools import PROGRAM, begin, call
from display_tools import frames, in_terminal
from multirun_core._cli import main
from multirun_core._cli.program import COMMANDS
from sweeps import wait_until

from multirun_core import Sweep

POST = 'echo "{\\"twice\\": $((2 * MULTIRUN_PARAM_A))}" > results.json; echo out $1; '


def run(*words: str, cwd: Path, script: str = POST, **more: Any) -> Any:
    return call("run", *words, "--", "sh", "-c", script, "sh", "{a}", cwd=cwd, **more)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A sweep of four runs of which one failed, in a directory with an awkward name."""
    home = tmp_path / "a 'b' $c;*\n\u00e9"
    home.mkdir()
    done = run(
        "-p", "a=1:4:1", "-p", "t=x", "-o", "study", cwd=home,
        script=POST + 'echo "first line" >&2; printf "esc \\033[31m red" >&2; test $1 != 3',
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return home / "study"


def test_all_well(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("input")
    done = run(
        "-p", "a=1,2", "-i", "in.txt", "-i", "in.txt:copy:own.txt", "-o", "st", "-R",
        "max_parallel=1", "--timeout", "1m", "--env", "SECRET=s p", cwd=tmp_path,
        script='cat in.txt own.txt; echo "$SECRET" {a}',
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path / 'st'}\n"
    assert done.stderr == "multirun: 2 of 2 runs succeeded; see st\n"
    sweep = Sweep.open(tmp_path / "st")
    assert [one.stdout.read_text() for one in sweep.runs] == [
        "inputinputs p 1\n", "inputinputs p 2\n",
    ]  # fmt: skip
    assert sweep.manifest["runner"] == {"name": "local", "options": {"max_parallel": 1}}
    assert "s p" not in (tmp_path / "st" / "multirun.json").read_text()


def test_a_failed_run_is_told_with_its_last_lines(tmp_path: Path) -> None:
    done = run(
        "-p", "a=1,2,3,4,5", "-o", "st", cwd=tmp_path,
        script='for i in 1 2 3 4 5 6 7 8; do echo "line $i" >&2; done; exit $(({a} % 2 * 7))',
    )  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "multirun: 2 of 5 runs succeeded, 3 failed; see st"
    assert lines[1].startswith("  run 0 (a=1): exit status 7 after ")
    assert lines[2:7] == [f"      line {number}" for number in range(4, 9)]
    assert lines[-2:] == [
        "  To see more:   multirun logs --stderr st 0",
        "  To carry on:   multirun resume st",
    ]


def test_what_a_run_wrote_cannot_play_with_the_terminal(finished: Path) -> None:
    done = call("resume", "study", cwd=finished.parent)
    assert done.returncode == 1
    assert "esc \\x1b[31m red" in done.stderr
    assert "\x1b" not in done.stderr


def test_reasons_are_told(tmp_path: Path) -> None:
    done = run("-p", "a=1", "-o", "s1", cwd=tmp_path, script="kill -9 $$")
    assert "run 0 (a=1): ended by SIGKILL after" in done.stderr
    done = run("-p", "a=1", "-o", "s2", "--timeout", "0.2", cwd=tmp_path, script="sleep 30")
    assert "run 0 (a=1): timeout" in done.stderr
    done = call("run", "-p", "a=1", "-o", "s3", "no such program", cwd=tmp_path)
    assert "run 0 (a=1): submit" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("words", "said", "advice"),
    [
        (["run", "-p", "a=1"], "there is no command", "-- python"),
        (["run", "true"], "there are no parameters", "-p mass=1,2,5"),
        (["run", "-p", "a", "true"], "must read NAME=VALUES", "-p mass"),
        (["run", "-p", "a=1", "-x", "true"], "-x", "run --help"),
        (["run", "-p", "a=1", "-i", "missing.txt", "true"], "missing.txt", ""),
        (["run", "-p", "a=1", "-r", "slrum", "true"], "no runner named 'slrum'", "Did you mean"),
        (["run", "-p", "a=1", "-r", "slurmm", "-R", "a=1", "true"], "no runner", "'slurm'"),
        (["run", "-p", "a=1", "-R", "max=1", "true"], "no option 'max'", "max_parallel"),
        (["run", "-p", "a=1", "-R", "max_parallel=x", "true"], "'x' is not", "max_parallel"),
        (["run", "-p", "a=1", "-R", "max_parallel=0", "true"], "max_parallel", ""),
        (["run", "-p", "a=1", "--timeout", "soon", "true"], "'soon'", "1h30m"),
        (["run", "-p", "a=1", "--rerun", "x", "-o", "o", "true"], "'x'", "1,2,5-9"),
        (["run", "-p", "a=1", "--rerun", "all", "true"], "--rerun needs", "-o DIR"),
        (["run", "-p", "a=1", "--retries", "-1", "true"], "-1", "--help"),
        (["rnu"], "no command 'rnu'", "Did you mean 'run'"),
        (["status"], "DIR", "status --help"),
        (["status", "nowhere"], "nowhere", "output directory"),
        (["results", "nowhere"], "nowhere", "output directory"),
        (["logs", "nowhere", "0"], "nowhere", "output directory"),
        (["cancel", "nowhere"], "nowhere", "output directory"),
        (["resume", "nowhere"], "nowhere", "output directory"),
        (["runners", "nope"], "no runner named 'nope'", "installed"),
    ],
)
def test_wrong_use_is_two_and_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    words: list[str], said: str, advice: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("multirun: ")
    assert said in err
    assert advice in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_used_directory_is_refused(finished: Path) -> None:
    done = run("-p", "a=9", "-o", "study", cwd=finished.parent)
    assert done.returncode == 2
    assert "--resume" in done.stderr


def test_debug_shows_where(tmp_path: Path) -> None:
    for words in (["--debug", "status", "x"], ["status", "x", "--debug"]):
        done = call(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("multirun: ")


def test_a_fault_of_ours_is_called_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise TypeError("oops")

    monkeypatch.setattr("multirun_core._sweep.sweep.Sweep.open", faulty)
    assert main(["status", "x"]) == 1
    err = capfd.readouterr().err
    assert "TypeError: oops" in err
    assert "fault of multirun" in err
    assert "Traceback" not in err


def test_help_and_version_import_little(tmp_path: Path) -> None:
    program = (
        "import sys; from multirun_core._cli import main; status = main(sys.argv[1:]); "
        "print(status, sorted(m for m in sys.modules if m.startswith(('multirun_core._sweep', "
        "'multirun_core._runners', 'rich', 'pluggy', 'asyncio', 'multirun_core._cli.'))))"
    )
    for words in (["--version"], ["--help"], []):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        status = "0" if words else "2"
        assert done.stdout.splitlines()[-1] == f"{status} ['multirun_core._cli.program']"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert f"multirun {command}" in out
    assert "Example" in out
    assert "--debug" in out


def test_the_program_is_installed() -> None:
    script = Path(sys.executable).with_name("multirun")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("multirun ")


def test_shell_completion(tmp_path: Path) -> None:
    env = {"_MULTIRUN_COMPLETE": "bash_complete", "COMP_WORDS": "multirun res", "COMP_CWORD": "1"}
    done = call(cwd=tmp_path, env=env)
    assert done.stdout.split() == ["plain,results", "plain,resume"]


def test_tables_and_grids(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,name\n1,x y\n2,\n")
    done = run("--runs", "t.csv", "-p", "k=1,2", "-o", "st", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [one.params for one in Sweep.open(tmp_path / "st").runs] == [
        {"a": 1, "name": "x y", "k": 1}, {"a": 1, "name": "x y", "k": 2},
        {"a": 2, "name": None, "k": 1}, {"a": 2, "name": None, "k": 2},
    ]  # fmt: skip
    done = run("--runs", "-", "-o", "st2", cwd=tmp_path, text='{"a": 5}\n{"a": 6}\n')
    assert done.returncode == 0, done.stderr
    assert [one.params for one in Sweep.open(tmp_path / "st2").runs] == [{"a": 5}, {"a": 6}]


def test_options_of_the_command_are_its_own(tmp_path: Path) -> None:
    done = call("run", "-p", "a=1", "-o", "st", "echo", "-o", "--help", "{a}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Sweep.open(tmp_path / "st").runs[0].cmd == ["echo", "-o", "--help", "1"]


def test_dry_run_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "in put").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    done = run(
        "-p", "a=1:100:1", "-p", "t='q'", "-i", "in put:link:sub/n", "-o", "new dir", "-R",
        "max_parallel=2", "--timeout", "1h", "--env", "S=secret", "--dry-run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for said in (
        "runs:      100", "directory: new dir (new)", "runner:    local (max_parallel=2)",
        "timeout=3600", "variables: S", f"input:     sub/n  (link: {tmp_path / 'in put'})",
        "run 0:  a=1, t=\"'q'\"", "in:   new dir/runs/000000", "does: sh -c ", "… and 97 more",
    ):  # fmt: skip
        assert said in done.stdout
    assert "secret" not in done.stdout
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    assert run("-p", "a=1", "-o", "full", "--dry-run", cwd=tmp_path).returncode == 2
    assert run("-p", "a=1", "-i", "gone", "--dry-run", cwd=tmp_path).returncode == 2


def test_dry_run_of_a_resume(finished: Path) -> None:
    home = finished.parent

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}

    before = state()
    given = ["-p", "a=1:6:1", "-p", "t=x", "-o", "study", "--resume", "--dry-run"]
    script = POST + 'echo "first line" >&2; printf "esc \\033[31m red" >&2; test $1 != 3'
    done = run(*given, cwd=home, script=script)
    assert done.returncode == 0, done.stderr
    for said in (
        "directory: study (resumed)",
        "executes:  3 of the sweep's 6 runs (2 new)\n           2,4-5\n",
        "run 2 (attempt 2):  a=3", "in:   study/runs/000004",
    ):  # fmt: skip
        assert said in done.stdout
    done = run(*given, "--rerun", "0,1", cwd=home, script=script)
    assert "executes:  2 of the sweep's 6 runs (2 that had succeeded)" in done.stdout
    assert "skips:     2 that have not ended" in done.stdout
    done = run("-p", "a=1", "-p", "t=x", "-o", "study", "--resume", "--dry-run", cwd=home,
               script=script)  # fmt: skip
    assert "3 run(s) of this sweep are not among those given now" in done.stdout
    assert "executes:  0 of" in done.stdout
    changed = run(*given, cwd=home, script="true")
    assert changed.returncode == 2
    assert "--accept-changes" in changed.stderr
    assert state() == before


def test_resume_and_rerun(finished: Path) -> None:
    home = finished.parent
    script = POST + 'echo "first line" >&2; printf "esc \\033[31m red" >&2; test $1 != 3'
    done = run("-p", "a=1:6:1", "-p", "t=x", "-o", "study", "--resume", cwd=home, script=script)
    assert done.returncode == 1
    assert [(one.status, one.attempts) for one in Sweep.open(finished).runs] == [
        ("success", 1), ("success", 1), ("failure", 2), ("success", 1), ("success", 1),
        ("success", 1),
    ]  # fmt: skip
    assert call("resume", "study", "--rerun", "0,2", cwd=home).returncode == 1
    assert [one.attempts for one in Sweep.open(finished).runs] == [2, 1, 3, 1, 1, 1]
    assert call("resume", "study", "--only", "0-2", cwd=home).returncode == 1
    assert [one.attempts for one in Sweep.open(finished).runs] == [2, 1, 4, 1, 1, 1]
    strange = call("resume", "study", "--only", "4,6", cwd=home)
    assert (strange.returncode, "only asks for run 6" in strange.stderr) == (2, True)
    changed = run("-p", "a=3", "-p", "t=x", "-o", "study", "--resume", cwd=home, script="true")
    assert changed.returncode == 2
    assert "--accept-changes" in changed.stderr


def test_status(finished: Path) -> None:
    done = call("status", str(finished), "--json", cwd=Path("/"))
    assert done.returncode == 0
    told = json.loads(done.stdout)
    driver = told.pop("driver")
    assert told == {
        "path": str(finished), "total": 4, "complete": 4, "success": 3, "failure": 1, "skipped": 0,
        "running": 0, "pending": 0, "runs_per_second": None, "seconds_left": None,
    }  # fmt: skip
    assert (driver["alive"], driver["finished"]) == (False, True)
    done = call("status", str(finished), cwd=Path("/"))
    assert "4 of 4 runs complete" in done.stdout
    assert "has ended; multirun resume carries on with 1 runs" in done.stdout
    assert "\n\u00e9" not in done.stdout  # of the directory's name


def test_results_in_all_formats(finished: Path) -> None:
    def results(form: str) -> str:
        done = call("results", "study", "--format", form, cwd=finished.parent)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    rows = json.loads(results("json"))
    assert [row["twice"] for row in rows] == [2, 4, 6, 8]
    assert [json.loads(line) for line in results("jsonl").splitlines()] == rows
    table = list(csv.DictReader(io.StringIO(results("csv"))))
    assert [row["twice"] for row in table] == ["2", "4", "6", "8"]
    assert list(table[0]) == list(rows[0])
    assert table[0]["started"][:19] == rows[0]["started"][:19]
    plain = results("table").splitlines()
    assert plain[0].split() == [
        "index", "a", "t", "status", "reason", "exit_code", "duration", "twice",
    ]  # fmt: skip
    assert plain[3].split()[:6] == ["2", "3", "x", "failure", "exit", "1"]
    assert len(plain) == 5


def test_results_on_a_terminal(finished: Path) -> None:
    seen = in_terminal([*PROGRAM, "results", str(finished)])
    assert "\x1b[31mfailure" in seen
    assert any("twice" in line for line in frames(seen))


def test_results_that_json_cannot_carry(tmp_path: Path) -> None:
    program = (
        "from multirun_core import postRunResults, getRunParams; import datetime, math; "
        "postRunResults({'when': datetime.date(2026, 1, 2), 'n': math.nan, 'deep': [(1, {2})]})"
    )
    done = call("run", "-p", "a=1", "-o", "st", "--", sys.executable, "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused = call("results", "st", "--format", "jsonl", cwd=tmp_path)
    assert refused.returncode == 0
    assert json.loads(refused.stdout)["result_error"]
    assert "1 result(s) cannot be read" in refused.stderr
    allowed = call("results", "st", "--format", "jsonl", "--allow-pickle", cwd=tmp_path)
    row = json.loads(allowed.stdout, parse_constant=pytest.fail)
    assert (row["when"], row["n"], row["deep"]) == ("2026-01-02", None, [[1, "{2}"]])


def test_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("[]")
    done = call("run", "--runs", "t.json", "-o", "st", "true", cwd=tmp_path)
    assert done.returncode == 0
    assert "no runs" in done.stderr
    assert call("results", "st", "--format", "json", cwd=tmp_path).stdout == "[]\n"
    assert call("results", "st", cwd=tmp_path).stdout.startswith("index  status")
    assert "0 of 0" in call("status", "st", cwd=tmp_path).stdout


def test_logs(finished: Path) -> None:
    home = finished.parent
    assert call("logs", "study", "1", cwd=home).stdout == "out 2\n"
    assert call("logs", "study", "1", "--follow", cwd=home).stdout == "out 2\n"
    assert "\x1b[31m red" in call("logs", "study", "1", "--stderr", cwd=home).stdout
    none = call("logs", "study", "4", cwd=home)
    assert (none.returncode, none.stdout) == (2, "")
    assert "it has 4, numbered from 0" in none.stderr


def test_logs_of_a_silent_run(tmp_path: Path) -> None:
    run("-p", "a=1", "-o", "st", cwd=tmp_path, script="echo x >&2")
    done = call("logs", "st", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing on its standard output; look at its standard error" in done.stderr


def test_logs_follow_a_run_to_its_end(tmp_path: Path) -> None:
    script = "echo one; while ! test -e ../../../go; do sleep 0.05; done; printf two"
    driver = begin("run", "-p", "a=1", "-o", "st", "--", "sh", "-c", script, cwd=tmp_path)
    wait_until((tmp_path / "st" / "runs" / "000000" / "stdout.txt").exists)
    following = begin("logs", "st", "0", "-f", cwd=tmp_path)
    assert following.stdout is not None
    assert following.stdout.readline() == "one\n"
    (tmp_path / "go").write_text("")
    assert following.communicate(timeout=30)[0] == "two"
    assert following.returncode == 0
    driver.communicate(timeout=30)


def test_status_and_cancel_while_it_runs(tmp_path: Path) -> None:
    driver = begin(
        "run", "-p", "a=1:9:1", "-o", "st", "-R", "max_parallel=2", "--", "sleep", "60",
        cwd=tmp_path,
    )  # fmt: skip

    def running() -> bool:
        done = call("status", "st", "--json", cwd=tmp_path)
        return done.returncode == 0 and json.loads(done.stdout)["running"] == 2

    wait_until(running)
    assert "is at work" in call("status", "st", cwd=tmp_path).stdout
    wrong = call("cancel", "st", "9", cwd=tmp_path)
    assert wrong.returncode == 2
    one = call("cancel", "st", "0", "8", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    wait_until(lambda: Sweep.open(tmp_path / "st").runs[0].status == "failure")
    assert call("cancel", "st", cwd=tmp_path).returncode == 0
    driver.communicate(timeout=30)
    assert driver.returncode == 1
    late = call("cancel", "st", cwd=tmp_path)
    assert late.returncode == 2
    assert "nobody is working" in late.stderr


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals(tmp_path: Path, signum: signal.Signals, status: int) -> None:
    driver = begin("run", "-p", "a=1,2,3", "-o", "st", "--", "sleep", "60", cwd=tmp_path)
    wait_until((tmp_path / "st" / "runs" / "000002" / "params.json").exists)
    wait_until(lambda: Sweep.open(tmp_path / "st").statistics.running_count == 3)
    driver.send_signal(signum)
    out, err = driver.communicate(timeout=30)
    assert driver.returncode == status
    assert out == f"{tmp_path / 'st'}\n"
    assert err.count("multirun resume") == 1
    assert "0 of 3 runs succeeded, 3 cancelled; see st" in err
    assert "Traceback" not in err


def test_nohup_is_respected(tmp_path: Path) -> None:
    script = "until test -e ../../go; do sleep 0.02; done"
    words = ["run", "-p", "a=1,2", "-o", "st", "-R", "max_parallel=1", "--", "sh", "-c", script]
    driver = subprocess.Popen(
        ["nohup", *PROGRAM, *words], cwd=tmp_path, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until((tmp_path / "st" / "runs" / "000000" / "params.json").exists)
    wait_until(lambda: Sweep.open(tmp_path / "st").statistics.running_count == 1)
    driver.send_signal(signal.SIGHUP)
    (tmp_path / "st" / "go").touch()
    _, err = driver.communicate(timeout=30)
    assert driver.returncode == 0
    assert "2 of 2 runs succeeded" in err


def test_a_reader_that_leaves_is_no_error(finished: Path) -> None:
    words = shlex.join(PROGRAM)
    script = f"{words} results study --format jsonl; echo $? > status"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=finished.parent,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=True,
    )
    os.close(writing)
    assert done.stderr == b""
    assert (finished.parent / "status").read_text() == "141\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(tmp_path: Path, closed: str) -> None:
    script = f"{shlex.join(PROGRAM)} run -p a=1,2 -o st true {closed}"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert Sweep.open(tmp_path / "st").statistics.success_count == 2


def test_a_reader_of_errors_that_leaves_ends_no_sweep(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, "run", "-p", "a=1,2", "-o", "st", "--", "sleep", "1"],
        cwd=tmp_path,
        stderr=writing,
        stdout=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0
    assert Sweep.open(tmp_path / "st").statistics.success_count == 2


def test_progress_can_be_turned_off(tmp_path: Path) -> None:
    seen = in_terminal(
        ["sh", "-c", f"cd {tmp_path} && exec {shlex.join(PROGRAM)} run -p a=1,2 -o st "
         "--no-progress -- sleep 1"]
    )  # fmt: skip
    assert "━" not in seen
    assert "2 of 2 runs succeeded" in seen
    assert str(tmp_path / "st") not in seen.replace("\r", "")  # it is for pipes


def test_runners(tmp_path: Path) -> None:
    listed = json.loads(call("runners", "--json", cwd=tmp_path).stdout)
    assert listed["installed"][0]["name"] == "local"
    assert listed["installed"][0]["distribution"] == "multirun-core"
    assert "local" in call("runners", cwd=tmp_path).stdout
    local = call("runners", "local", cwd=tmp_path).stdout
    assert "max_parallel (int | Literal['auto']), default 4" in local
    told = json.loads(call("runners", "local", "--json", cwd=tmp_path).stdout)
    assert told["options"][0]["name"] == "max_parallel"
    assert told["options"][0]["default"] == 4
