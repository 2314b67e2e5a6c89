"""Whole sweeps on local cores: the call, what is on disk, what comes back."""

from __future__ import annotations

import asyncio
import datetime
import enum
import errno
import getpass
import json
import os
import pickle
import platform
import signal
import socket
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multirun_core._sweep import opening
from sweeps import ThreeMethods, events, processes_with, wait_until

from multirun_core import (
    AbstractRunner,
    FileResource,
    ParallelLocalRunner,
    ParamError,
    ResultsError,
    Run,
    RunnerClosedError,
    RunnerNotFoundError,
    RunsFailedError,
    RunStatistics,
    StagingError,
    Sweep,
    SweepChangedError,
    SweepError,
    SweepExistsError,
    SweepNotFoundError,
    UsageError,
    multirun,
    multirunAsync,
)

HOSTILE = "a b 'c' \"d\" $HOME;* ü\\ \n-x"

ECHO = """
import os, sys
from multirun_core import getRunParams, postRunResults
params = getRunParams()
os.chdir("/")
print("out", params)
print("err", file=sys.stderr)
postRunResults({"argv": sys.argv[1:], "params": getRunParams()})
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "echo it's.py"
    path.write_text(ECHO)
    return path


def sh(text: str) -> list[str]:
    return ["sh", "-c", text]


def quick(root: Path, cmd: list[str], runs: int = 1, **keywords: Any) -> Sweep:
    return multirun(
        runs=({"n": n} for n in range(runs)),
        cmd=cmd,
        output_path=root,
        progress=False,
        **keywords,
    )


def test_the_main_job(tmp_path: Path, script: Path) -> None:
    (tmp_path / "mesh.dat").write_text("mesh")
    root = tmp_path / HOSTILE.replace("\n", "")
    params = [{"mass": 1, "name": HOSTILE}, {"mass": 2.5, "name": ""}, {"mass": None, "name": "{}"}]
    sweep = multirun(
        runs=params,
        cmd=[sys.executable, script.name, "{mass}", "{name}", "{{mass}}", "{other}"],
        output_path=root,
        input_files=[script, FileResource(tmp_path / "mesh.dat", "copy", "in put/m.dat")],
        progress=False,
    )
    assert [run.status for run in sweep.runs] == ["success"] * 3, sweep.runs[0].stderr.read_text()
    assert sweep.path == root
    assert [run.params for run in sweep.runs] == params
    for run, mass in zip(sweep.runs, ("1", "2.5", "null"), strict=True):
        assert run.result["params"] == run.params
        assert run.result["argv"] == [mass, run.params["name"], "{mass}", "{other}"]
        assert run.cwd == root / "runs" / f"{run.index:06d}"
        assert run.stdout.read_text() == f"out {run.params}\n"
        assert run.stderr.read_text() == "err\n"
        assert json.loads((run.cwd / "params.json").read_text()) == run.params
        assert (run.cwd / "in put" / "m.dat").read_text() == "mesh"
        assert not (run.cwd / "in put" / "m.dat").is_symlink()
        assert (run.cwd / script.name).readlink() == Path("../../shared/1") / script.name
        assert (run.exit_code, run.reason, run.attempts) == (0, None, 1)
        assert run.host == socket.gethostname()
        assert run.started is not None
        assert run.ended is not None
        assert 0 < (run.duration or 0) < 60
        assert 0 < (run.cpu_seconds or 0) < 60
        assert 1 << 20 < (run.max_rss_bytes or 0) < 1 << 30
    assert sweep.statistics == RunStatistics(success_count=3, complete_count=3, total_count=3)
    assert sweep.failures == []
    assert sorted(path.name for path in root.iterdir()) == [
        "journal",
        "multirun.json",
        "runs",
        "shared",
    ]


def test_what_is_opened_later_is_what_was_returned(tmp_path: Path, script: Path) -> None:
    sweep = multirun(
        runs=[{"mass": m} for m in range(3)],
        cmd=[sys.executable, script.name],
        output_path=tmp_path / "s",
        input_files=[script],
        progress=False,
    )
    opened = Sweep.open(tmp_path / "s")
    assert opened.results == sweep.results
    for one, other in zip(opened.runs, sweep.runs, strict=True):
        for name in Run.__slots__:
            if name not in ("keeper", "observer", "task", "__weakref__", "inline_result"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5), name
        assert (one.cmd, one.cwd) == (other.cmd, other.cwd)
    frames = [one.to_dataframe() for one in (opened, sweep)]
    assert list(frames[0]["mass"]) == [0, 1, 2]
    assert list(frames[0].columns) == list(frames[1].columns)
    sweep.to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().startswith("index,mass,status")


def test_default_directory_and_runs_by_a_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweeps = [
        multirun(runs=({"n": n} for n in range(2)), cmd=["true"], progress=False) for _ in range(2)
    ]
    assert len({sweep.path for sweep in sweeps}) == 2
    for sweep in sweeps:
        assert sweep.path.parent == tmp_path
        assert sweep.path.name.startswith("multirun-20")
        assert sweep.statistics.success_count == 2


def test_an_empty_sweep(tmp_path: Path) -> None:
    sweep = quick(tmp_path / "s", ["true"], 0)
    assert (len(sweep), sweep.results, sweep.statistics) == (0, [], RunStatistics())
    assert len(Sweep.open(tmp_path / "s").to_dataframe()) == 0


class Colour(enum.Enum):
    RED = "red"


def test_parameters_of_other_kinds_are_converted(tmp_path: Path) -> None:
    day = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
    sweep = multirun(
        runs=[{"a": np.float64(1.5), "b": np.arange(3), "c": tmp_path, "d": day, "e": Colour.RED}],
        cmd=["true"],
        output_path=tmp_path / "s",
        progress=False,
    )
    assert sweep.runs[0].params == {
        "a": 1.5,
        "b": [0, 1, 2],
        "c": str(tmp_path),
        "d": "2026-01-02T03:04:00+00:00",
        "e": "red",
    }


@pytest.mark.parametrize(
    ("keywords", "error", "told"),
    [
        ({"runs": [{"x": 1}, {"x": {1, 2}}]}, ParamError, r"run 1, parameter 'x'.*set"),
        ({"runs": [{"x": float("nan")}]}, ParamError, "nan"),
        ({"runs": {"x": 1}}, UsageError, "of type dict"),
        ({"cmd": []}, UsageError, "cmd is empty"),
        ({"cmd": "true"}, UsageError, "list"),
        ({"cmd": ["{x}"], "runs": [{"x": "\0"}]}, ParamError, "run 0, parameter 'x'"),
        ({"input_files": ["no such file"]}, StagingError, "no such file"),
        ({"runner": "slrum"}, RunnerNotFoundError, "slurm"),
        ({"runner_options": {"max_paralel": 3}}, Exception, "max_parallel"),
        ({"timeout": -1}, UsageError, "timeout"),
        ({"max_failures": -1}, UsageError, "max_failures"),
        ({"rerun": "some"}, UsageError, "'failed', 'all'"),
        ({"on_retry": "x"}, UsageError, "restore"),
        ({"checkpoints": "a/b"}, UsageError, "at the top of the run directory"),
        ({"checkpoints": ["ok", ".."]}, UsageError, r"'\.\.'"),
        ({"checkpoints": [""]}, UsageError, "''"),
        ({"checkpoints": [3]}, UsageError, "has 3"),
        ({"checkpoints": "results.json"}, UsageError, "every attempt has anew"),
        ({"checkpoints": ".multirun"}, UsageError, "every attempt has anew"),
        ({"env": {"A": "1"}, "runner": ParallelLocalRunner(env={"B": "2"})}, UsageError, "env"),
        ({"runner": ParallelLocalRunner(), "runner_options": {"x": 1}}, UsageError, "instance"),
    ],
)
def test_wrong_calls_create_nothing(
    tmp_path: Path, keywords: dict[str, Any], error: type[Exception], told: str
) -> None:
    root = tmp_path / "s"
    call: dict[str, Any] = {"runs": [{}], "cmd": ["true"], "output_path": root, "progress": False}
    with pytest.raises(error, match=told):
        multirun(**(call | keywords))
    assert not root.exists()


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SweepExistsError, match=r"mine\.txt"):
        quick(tmp_path, ["true"])
    with pytest.raises(SweepExistsError, match=r"mine\.txt"):
        quick(tmp_path, ["true"], resume=True)
    with pytest.raises(SweepExistsError, match="is a file"):
        quick(tmp_path / "mine.txt", ["true"])
    (tmp_path / "new").mkdir()
    assert quick(tmp_path / "new", ["true"]).statistics.success_count == 1
    with pytest.raises(SweepExistsError, match="resume=True"):
        quick(tmp_path / "new", ["true"])


def test_opening_what_is_no_sweep(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SweepNotFoundError, match="holds no sweep"):
            Sweep.open(path)


@pytest.mark.parametrize(
    ("cmd", "reason", "code"),
    [
        (sh("exit 3"), "exit", 3),
        (sh("kill -9 $$"), "signal", -9),
        (["no such program $x"], "submit", None),
        (["./echo"], "submit", None),
    ],
)
def test_a_failing_run_is_a_row(
    tmp_path: Path, cmd: list[str], reason: str, code: int | None
) -> None:
    sweep = quick(tmp_path / "s", cmd, 2)
    assert sweep.failures == list(sweep.runs)
    assert {(run.reason, run.exit_code) for run in sweep.runs} == {(reason, code)}
    frame = sweep.to_dataframe()
    assert list(frame["reason"]) == [reason] * 2
    if reason == "submit":
        assert sweep.runs[0].message is not None
        assert cmd[0] in sweep.runs[0].stderr.read_text()


def test_check_raises_at_the_end_naming_all(tmp_path: Path) -> None:
    with pytest.raises(RunsFailedError, match=r"2 of 4 runs failed.*run 0.*run 2") as caught:
        quick(tmp_path / "s", sh("exit $((1 - MULTIRUN_PARAM_N % 2))"), 4, check=True)
    assert [run.index for run in caught.value.failures] == [0, 2]
    assert Sweep.open(tmp_path / "s").statistics.success_count == 2


def test_over_the_failure_budget_nothing_new_starts(tmp_path: Path) -> None:
    sweep = quick(
        tmp_path / "s",
        sh("exit 1"),
        50,
        max_failures=3,
        runner=ParallelLocalRunner(max_parallel=1),
    )
    assert sweep.statistics.failure_count == 4
    assert sweep.statistics.skipped_count == 46
    assert {run.reason for run in sweep.runs if run.status == "skipped"} == {"max_failures"}
    opened = Sweep.open(tmp_path / "s")
    assert opened.statistics == sweep.statistics
    assert [run.reason for run in opened.runs] == [run.reason for run in sweep.runs]


def test_time_limit_and_retries(tmp_path: Path) -> None:
    sweep = quick(
        tmp_path / "s",
        sh('echo "$MULTIRUN_ATTEMPT"; test "$MULTIRUN_ATTEMPT" = 3 || exec sleep 60'),
        timeout=2.0,
        runner=ParallelLocalRunner(retries=2, retry_delay=0.0),
    )
    run = sweep.runs[0]
    assert (run.status, run.attempts, run.stdout.read_text()) == ("success", 3, "3\n")
    assert (run.cwd / ".multirun/attempts/1/stdout.txt").read_text() == "1\n"
    ends = [e for e in events(tmp_path / "s") if e["event"] == "end"]
    assert [(end["status"], end.get("reason")) for end in ends] == [
        ("pending", "timeout"),
        ("pending", "timeout"),
        ("success", None),
    ]


def test_a_result_counts_only_from_the_attempt_that_ended(tmp_path: Path) -> None:
    """Attempt 1 posts and fails, attempt 2 posts nothing: there is no result."""
    sweep = quick(
        tmp_path / "s",
        sh('test "$MULTIRUN_ATTEMPT" = 2 || { echo 1 > results.json; exit 1; }'),
        retries=1,
    )
    assert (sweep.runs[0].status, sweep.results) == ("success", [None])
    assert (sweep.runs[0].cwd / ".multirun/attempts/1/results.json").read_text() == "1\n"


@pytest.mark.parametrize("on_retry", ["restore", "keep", "checkpoints"])
def test_a_second_attempt_starts_clean_or_from_a_checkpoint(tmp_path: Path, on_retry: Any) -> None:
    (tmp_path / "in.txt").write_text("as given")
    sweep = quick(
        tmp_path / "s",
        sh(
            "cat in.txt; ls check 2>/dev/null; "
            'test "$MULTIRUN_ATTEMPT" = 2 || { echo changed > in.txt; touch check rest; exit 1; }'
        ),
        retries=1,
        **({"checkpoints": ["check"]} if on_retry == "checkpoints" else {"on_retry": on_retry}),
        input_files=[FileResource(tmp_path / "in.txt", "copy")],
    )
    found = "" if on_retry == "restore" else "check\n"
    assert sweep.runs[0].stdout.read_text() == "as given" + found
    assert (sweep.runs[0].cwd / "rest").exists() == (on_retry == "keep")


def test_a_pickled_result_is_loaded_only_where_that_is_safe(tmp_path: Path) -> None:
    code = (
        "from fractions import Fraction; from multirun_core import postRunResults; "
        "postRunResults(Fraction(1, 3))"
    )
    sweep = quick(tmp_path / "s", [sys.executable, "-c", code])
    assert sweep.results == [Fraction(1, 3)]
    assert pickle.loads((sweep.runs[0].cwd / "results.pkl").read_bytes()) == Fraction(1, 3)
    opened = Sweep.open(tmp_path / "s")
    with pytest.raises(ResultsError, match="allow_pickle"):
        opened.results[0]
    assert "allow_pickle" in opened.to_dataframe()["result_error"][0]
    assert Sweep.open(tmp_path / "s", allow_pickle=True).results == [Fraction(1, 3)]


def test_a_torn_result_is_a_row_with_an_error(tmp_path: Path) -> None:
    sweep = quick(tmp_path / "s", sh("printf '{\"a\": 1' > results.json"), 2)
    assert sweep.statistics.success_count == 2
    with pytest.raises(ResultsError, match=r"results\.json"):
        sweep.results[1]
    assert all("results.json" in text for text in sweep.to_dataframe()["result_error"])


def test_large_results_are_read_from_their_file(tmp_path: Path) -> None:
    code = "from multirun_core import *; postRunResults(['x' * 100_000])"
    sweep = quick(tmp_path / "s", [sys.executable, "-c", code])
    assert sweep.results == [["x" * 100_000]]
    assert Sweep.open(tmp_path / "s").results == sweep.results


def test_an_ordinary_run_costs_at_most_five_inodes(tmp_path: Path) -> None:
    quick(tmp_path / "s", sh("echo 1 | tee results.json; echo 2 >&2"), 3)
    quick(tmp_path / "quiet", ["true"], 3)
    for root, most in ((tmp_path / "s", 5), (tmp_path / "quiet", 2)):
        for folder in (root / "runs").iterdir():
            assert 1 + len(list(folder.rglob("*"))) <= most


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_DRIVER", "driver")
    sweep = multirun(
        runs=[{"a": [1, {"b": None}], "no identifier": 1, "Twin": 1, "twin": 2, "text": HOSTILE}],
        cmd=[sys.executable, "-c", "import json, os; json.dump(dict(os.environ), open('e', 'w'))"],
        output_path=tmp_path / "s",
        env={"SECRET": "s3cr3t"},
        progress=False,
    )
    env = json.loads((sweep.runs[0].cwd / "e").read_text())
    assert env["MULTIRUN_PARAM_A"] == '[1, {"b": null}]'
    assert env["MULTIRUN_PARAM_TEXT"] == HOSTILE
    assert json.loads(env["MULTIRUN_PARAMS_OMITTED"]) == ["no identifier", "Twin", "twin"]
    assert env["MULTIRUN_RUN_DIR"] == str(sweep.runs[0].cwd)
    assert (env["MULTIRUN_INDEX"], env["MULTIRUN_ATTEMPT"]) == ("0", "1")
    assert (env["FROM_DRIVER"], env["SECRET"]) == ("driver", "s3cr3t")
    for path in (tmp_path / "s" / "multirun.json", tmp_path / "s" / "journal" / "0001.jsonl"):
        assert "s3cr3t" not in path.read_text()
    assert sweep.manifest["env_names"] == ["SECRET"]


def test_variables_of_the_runner_are_stored_by_name_alone(tmp_path: Path) -> None:
    secret = {"env": {"SECRET": "s3cr3t"}}
    for name, given in (
        ("by name", {"runner": "local", "runner_options": secret}),
        ("by itself", {"runner": ParallelLocalRunner(env=secret["env"])}),
    ):
        sweep = quick(tmp_path / name, sh('test "${#SECRET}" = 6'), **given)
        assert sweep.statistics.success_count == 1
        files = [path for path in sweep.path.rglob("*") if path.is_file()]
        assert {"multirun.json", "0001.jsonl", "params.json"} <= {path.name for path in files}
        telling = [path for path in files if b"s3cr3t" in path.read_bytes()]
        assert telling == []


def test_a_shortage_of_room_is_said_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Disk:
        f_frsize, f_bavail, f_favail, f_files = 4096, 1, 10**9, 10**10

    monkeypatch.setattr(os, "statvfs", lambda path: Disk)
    quick(tmp_path / "silent", ["true"], 3)
    multirun(runs=[{}] * 3, cmd=["true"], output_path=tmp_path / "s")
    told = capsys.readouterr().err.splitlines()
    assert "3 runs need some" in told[0]
    assert "and 4 KiB are free" in told[0]
    assert len([line for line in told if "are free" in line]) == 1

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(opening, "store_inputs", full)
    with pytest.raises(SweepError, match="No space left"):
        multirun(runs=[{}] * 3, cmd=["true"], output_path=tmp_path / "too full")
    assert "3 runs need some" in capsys.readouterr().err


def test_the_manifest_says_what_was_asked(tmp_path: Path, script: Path) -> None:
    before = time.time()
    sweep = quick(
        tmp_path / "s", ["true", "{n}"], input_files=[script], runner_options={"max_parallel": 3}
    )
    manifest = sweep.manifest
    assert manifest["format"] == 1
    assert manifest["cmd"] == ["true", "{n}"]
    assert manifest["runner"] == {"name": "local", "options": {"max_parallel": 3}}
    assert manifest["inputs"][0]["name"] == script.name
    assert len(manifest["inputs"][0]["sha256"]) == 64
    assert manifest["origin"]["host"] == socket.gethostname()
    assert set(manifest["origin"]) >= {"time", "user", "directory", "versions", "git"}
    assert manifest["origin"]["user"] == getpass.getuser()
    assert manifest["origin"]["directory"] == str(Path.cwd())
    assert before <= manifest["origin"]["time"] <= time.time()
    assert manifest["origin"]["versions"]["python"] == platform.python_version()


def test_everything_is_journaled_before_the_first_process_starts(tmp_path: Path) -> None:
    root = tmp_path / "s"
    quick(root, sh("cat ../../journal/0001.jsonl"), 30, runner=ParallelLocalRunner(max_parallel=1))
    seen = (root / "runs" / "000000" / "stdout.txt").read_text().splitlines()
    kinds = [json.loads(line)["event"] for line in seen]
    assert kinds[:32] == ["driver", *["run"] * 30, "defined"]
    assert "guardian" in kinds


def test_staging_runs_a_bounded_window_ahead(tmp_path: Path) -> None:
    root = tmp_path / "s"
    quick(root, sh("ls .. | wc -l"), 300, runner=ParallelLocalRunner(max_parallel=1))
    assert int((root / "runs" / "000000" / "stdout.txt").read_text()) < 30


def test_one_runner_serves_several_calls(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=2)
    for name in ("a", "b"):
        assert quick(tmp_path / name, ["true"], 3, runner=runner).statistics.success_count == 3
    assert runner.computeStatistics().success_count == 6


@pytest.mark.asyncio
async def test_two_sweeps_in_one_loop(tmp_path: Path) -> None:
    def call(name: str, runner: ParallelLocalRunner | None = None) -> Any:
        return multirunAsync(
            runs=[{"n": n} for n in range(5)],
            cmd=sh("echo $MULTIRUN_PARAM_N > results.json"),
            output_path=tmp_path / name,
            runner=runner,
            progress=False,
        )

    sweeps = await asyncio.gather(call("a"), call("b"))
    assert [sweep.results for sweep in sweeps] == [[0, 1, 2, 3, 4]] * 2
    shared = ParallelLocalRunner()
    outcomes = await asyncio.gather(call("c", shared), call("d", shared), return_exceptions=True)
    assert sum(isinstance(outcome, RunnerClosedError) for outcome in outcomes) == 1


@pytest.mark.asyncio
async def test_multirun_inside_a_running_loop(tmp_path: Path) -> None:
    assert quick(tmp_path / "s", ["true"], 3).statistics.success_count == 3


def test_multirun_in_another_thread(tmp_path: Path) -> None:
    sweeps: list[Sweep] = []
    thread = threading.Thread(target=lambda: sweeps.append(quick(tmp_path / "s", ["true"], 3)))
    thread.start()
    thread.join(30)
    assert sweeps[0].statistics.success_count == 3


@pytest.mark.asyncio
async def test_cancelling_multirun_async(tmp_path: Path) -> None:
    root = tmp_path / "s"
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    task = asyncio.create_task(
        multirunAsync(
            runs=[{"n": n} for n in range(20)],
            cmd=sh("trap '' TERM; setsid sleep 300 & while :; do sleep 1; done"),
            output_path=root,
            runner=ParallelLocalRunner(max_parallel=2, grace=0.2),
            progress=False,
        )
    )
    while len(list(root.glob("runs/*/stdout.txt"))) < 2:
        await asyncio.sleep(0.01)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    assert [signal.getsignal(number) for number in numbers] == before, "signals are its caller's"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes_with(str(root))
    opened = Sweep.open(root)
    assert opened.statistics == RunStatistics(
        failure_count=2, skipped_count=18, complete_count=20, total_count=20
    )
    assert {run.reason for run in opened.runs} == {"cancelled"}
    resumed = quick(root, sh("true"), 20, resume=True, accept_changes=True)
    assert resumed.statistics.success_count == 20


def test_a_runner_of_three_methods_is_journaled_and_resumed(tmp_path: Path, script: Path) -> None:
    def call(runner: AbstractRunner, **keywords: Any) -> Sweep:
        return multirun(
            runs=[{"n": n, "text": HOSTILE} for n in range(4)],
            cmd=[sys.executable, script.name, "{text}"],
            output_path=tmp_path / "s",
            input_files=[script],
            runner=runner,
            progress=False,
            **keywords,
        )

    runner = ThreeMethods()
    sweep = call(runner)
    assert sweep.statistics.success_count == 4
    assert sweep.results[3] == {"argv": [HOSTILE], "params": {"n": 3, "text": HOSTILE}}
    assert sweep.manifest["runner"]["class"].endswith("ThreeMethods")
    again = ThreeMethods()
    assert call(again, resume=True).results == sweep.results
    assert again.runs == []


def test_a_runner_of_three_methods_is_displayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun(
        runs=[{"n": n} for n in range(4)],
        cmd=sh("sleep 1"),
        output_path=tmp_path / "s",
        runner=ThreeMethods(),
        progress=True,
    )
    assert "4/4" in capsys.readouterr().err


def test_a_changed_command_or_input_is_refused_or_accepted(tmp_path: Path, script: Path) -> None:
    root = tmp_path / "s"
    quick(root, sh("exit $MULTIRUN_PARAM_N"), 2, input_files=[script])
    script.write_text("print('new')")
    with pytest.raises(SweepChangedError, match=r"command was.*changed"):
        quick(root, sh("cat *.py"), 2, input_files=[script], resume=True)
    sweep = quick(root, sh("cat *.py"), 2, input_files=[script], resume=True, accept_changes=True)
    assert sweep.runs[1].stdout.read_text() == "print('new')"
    assert (sweep.runs[0].cwd / script.name).read_text() == ECHO
    assert sweep.manifest["cmd"] == sh("cat *.py")


def test_an_unwritable_or_full_place_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"cannot write the sweep in .*/proc/"):
        quick(Path("/proc/no such place"), ["true"])


def test_a_link_that_vanishes_fails_its_run(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    sweep = quick(
        tmp_path / "s",
        sh('rm -f "$DATA"'),
        12,
        runner=ParallelLocalRunner(max_parallel=1),
        env={"DATA": str(tmp_path / "data")},
        input_files=[FileResource(tmp_path / "data", "link")],
    )
    assert sweep.runs[0].status == "success"
    assert (sweep.runs[11].status, sweep.runs[11].reason) == ("failure", "staging")
    assert "data" in (sweep.runs[11].message or "")


def test_python_of_the_driver_is_found_without_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    sweep = quick(tmp_path / "s", ["python", "-c", "import sys; print(sys.prefix)"])
    assert sweep.runs[0].stdout.read_text().strip() == sys.prefix


def test_the_runners_memory_is_not_that_of_the_driver(tmp_path: Path) -> None:
    ballast = b"x" * (300 << 20)
    sweep = quick(tmp_path / "s", ["true"], 2)
    assert len(ballast) > 0
    assert max(run.max_rss_bytes or 0 for run in sweep.runs) < 20 << 20


def test_a_running_sweep_can_be_read(tmp_path: Path) -> None:
    root = tmp_path / "s"
    seen: list[RunStatistics] = []

    def look() -> None:
        wait_until(lambda: list(root.glob("runs/*/go")))
        seen.append(wait_until(lambda: _running(root)).statistics)
        for folder in root.glob("runs/*"):
            (folder / "stop").touch()

    thread = threading.Thread(target=look)
    thread.start()
    quick(root, sh("touch go; until test -e stop; do sleep 0.01; done"), 2)
    thread.join()
    assert seen == [RunStatistics(running_count=2, total_count=2)]


def _running(root: Path) -> Sweep | None:
    sweep = Sweep.open(root)
    return sweep if sweep.statistics.running_count == 2 else None


def test_a_time_limit_of_months_is_one(tmp_path: Path) -> None:
    for number, timeout in enumerate([60 * 86400.0, 1e300, float("inf")]):
        sweep = quick(tmp_path / str(number), ["true"], timeout=timeout)
        assert sweep.statistics.success_count == 1
