"""What stays of finished runs by `keep`, whatever becomes of the driver, and of runs done again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep import cleaning, thinning
from sweeps import events, processes_with, wait_until
from thin_driver import expected, run

from multirun_core import (
    Sweep,
    SweepError,
    SweepLockedError,
    SweepNotFoundError,
    UsageError,
    multirun,
)

DRIVER = Path(__file__).with_name("thin_driver.py")
THINNED = {"000001": ["results.json"], "000002": ["results.json"],
           "000003": ["stderr.txt", "stdout.txt"]}  # fmt: skip


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "the marks"
    monkeypatch.setenv("MARKS", str(path))
    return path


def there(root: Path) -> dict[str, list[str]]:
    """Return the run directories there are, with the names in each."""
    runs = root / "runs"
    return {
        path.name: sorted(one.name for one in path.iterdir())
        for path in (runs.iterdir() if runs.exists() else ())
    }


def test_keep_all(tmp_path: Path, marks: Path) -> None:
    sweep = run(tmp_path / "s", keep="all")
    assert list(sweep.results) == [expected(n) for n in range(4)]
    found = there(sweep.path)
    assert len(found) == 4
    assert all("params.json" in names and "scratch" in names for names in found.values())


def test_keep_failed(tmp_path: Path, marks: Path) -> None:
    sweep = run(tmp_path / "s", keep="failed")
    found = there(sweep.path)
    assert "scratch" in found.pop("000003")
    assert found == {"000001": ["results.json"], "000002": ["results.json"]}
    assert sweep.manifest["limits"]["keep"] == "failed"
    for one in (sweep, Sweep.open(sweep.path)):
        assert list(one.results) == [expected(n) for n in range(4)]
        assert [run.status for run in one.runs] == ["success"] * 3 + ["failure"]
        assert not one.runs[0].stdout.exists()


def test_keep_results(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s 'x' $HOME\n"
    sweep = run(root)
    assert there(root) == THINNED
    assert sweep.runs[3].stderr.read_text() == "failed\n"
    for one in (sweep, Sweep.open(root)):
        assert list(one.results) == [expected(n) for n in range(4)]
        assert [run.exit_code for run in one.runs] == [0, 0, 0, 1]


def test_the_end_is_told_when_the_directory_is_thin(tmp_path: Path, marks: Path) -> None:
    class Observer:
        seen: dict[int, bool] = {}  # noqa: RUF012 - of this test alone

        def multirun_run_changed(self, run: Any) -> None:
            if run.done:
                self.seen[run.index] = (run.cwd / "scratch").exists()

    from multirun_core.plugins import hookimpl

    Observer.multirun_run_changed = hookimpl(Observer.multirun_run_changed)  # type: ignore[method-assign]
    run(tmp_path / "s", keep="failed", observers=[Observer()])
    assert Observer.seen == {0: False, 1: False, 2: False, 3: True}


def test_thinned_runs_are_executed_again(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    run(root)
    run(root)
    assert [one.attempts for one in Sweep.open(root).runs] == [1, 1, 1, 2]
    sweep = run(root, rerun="all")
    assert [one.attempts for one in sweep.runs] == [2, 2, 2, 3]
    assert there(root) == {
        "000001": [".multirun", "results.json"], "000002": [".multirun", "results.json"],
        "000003": [".multirun", "stderr.txt", "stdout.txt"],
    }  # fmt: skip
    for number, attempt in ((1, 2), (3, 3)):  # by it, an orphan of an earlier attempt knows
        private = root / "runs" / f"00000{number}" / ".multirun"
        assert [(one.name, one.read_text()) for one in private.iterdir()] == [
            ("attempt", f"{attempt}\n")
        ]
    assert list(sweep.results) == [expected(n) for n in range(4)]
    numbers = [(one["run"], one["attempt"]) for one in events(root) if one["event"] == "start"]
    assert len(set(numbers)) == len(numbers) == 9


def test_a_run_that_is_tried_again_is_not_thinned_before(tmp_path: Path) -> None:
    script = 'echo "$MULTIRUN_ATTEMPT" >> ../../seen; ls >> ../../seen; touch mine; ' \
        'test "$MULTIRUN_ATTEMPT" = 3'  # fmt: skip
    sweep = multirun(
        runs=[{}], cmd=["sh", "-c", script], output_path=tmp_path / "s", keep="results",
        on_retry="keep", retries=2, runner="local", runner_options={"retry_delay": 0.0},
        progress=False,
    )  # fmt: skip
    assert sweep.runs[0].status == "success"
    assert (tmp_path / "s" / "seen").read_text().split().count("mine") == 2
    assert there(sweep.path) == {}


@pytest.mark.parametrize("how", [{"on_retry": "keep"}, {"checkpoints": "mine"}])
def test_failures_with_checkpoints_stay(tmp_path: Path, how: dict[str, str]) -> None:
    arguments: dict[str, Any] = {
        "runs": [{}], "cmd": ["sh", "-c", "test -e mine || { touch mine; exit 1; }"],
        "output_path": tmp_path / "s", "keep": "results", "progress": False, **how,
    }  # fmt: skip
    assert multirun(**arguments).runs[0].status == "failure"
    assert "mine" in there(tmp_path / "s")["000000"]
    assert multirun(**arguments, resume=True).runs[0].status == "success"
    assert there(tmp_path / "s") == {}


def test_results_that_could_not_be_collected_can_be_later(tmp_path: Path) -> None:
    sweep = multirun(
        runs=[{"n": 1}, {"n": 2}], cmd=["sh", "-c", "echo energy={n}"],
        output_path=tmp_path / "s", keep="results", collect="re:force=(.*)", progress=False,
    )  # fmt: skip
    assert [one.status for one in sweep.runs] == ["success"] * 2
    assert len(there(sweep.path)) == 2
    cleaning.thin_sweep(sweep.path, "results")
    assert len(there(sweep.path)) == 2
    again = Sweep.open(sweep.path)
    again.collect("re:energy=(.*)")
    assert list(again.results) == [1, 2]
    assert cleaning.thin_sweep(sweep.path, "results") == (2, 0)
    again.collect("re:other=(.*)")  # there is nothing left to look at, and nothing is lost by it
    assert list(Sweep.open(sweep.path).results) == [1, 2]


@pytest.mark.parametrize("keep", ["none", None, "", 1])
def test_keep_that_makes_no_sense(keep: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keep is .* 'all', 'failed' or 'results'"):
        run(tmp_path / "s", keep=keep)


def drive(what: str, root: Path, where: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(DRIVER), what, str(root), where]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=50)


def check_whole(root: Path, told: str) -> None:
    """Check that what is known to have ended reads as what it was."""
    try:
        sweep = Sweep.open(root)
    except SweepNotFoundError:
        return
    for one in sweep.runs:
        if one.status == "success":
            assert one.result == expected(one.params["n"]), told
        elif one.status == "failure":
            assert one.result == expected(3), told
            assert one.stderr.read_text() == "failed\n", told


def killed_at(where: int, folder: Path, marks: Path) -> None:
    root, told = folder / "a sweep; 'x'", f"killed at {where}"
    assert drive("run", root, str(where)).returncode == -signal.SIGKILL, told
    check_whole(root, told)
    ended = {one["run"] for one in events(root) if one.get("status") == "success"}
    wait_until(lambda: not processes_with(str(root)), seconds=5)
    marks.unlink(missing_ok=True)
    sweep = run(root)
    executed = set(marks.read_text().split()) if marks.exists() else set()
    assert not executed & {str(index) for index in ended}, told
    assert list(sweep.results) == [expected(n) for n in range(4)], told
    check_whole(root, told)
    found = there(root)
    assert all(set(names) <= {".multirun", "results.json", "stdout.txt", "stderr.txt"}
               for names in found.values()), (told, found)  # fmt: skip
    assert "000000" not in found, told
    shutil.rmtree(folder)


@pytest.mark.timeout(180)
@pytest.mark.long
def test_killed_while_it_thins(tmp_path: Path, marks: Path) -> None:
    total = int(drive("run", tmp_path / "counted", "count").stdout)
    assert total > 40
    for where in range(1, total + 1, total // 10):
        (tmp_path / str(where)).mkdir()
        killed_at(where, tmp_path / str(where), marks)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_killed_at_every_moment_of_thinning(tmp_path: Path, marks: Path) -> None:
    for where in range(1, int(drive("run", tmp_path / "counted", "count").stdout) + 1):
        (tmp_path / str(where)).mkdir()
        killed_at(where, tmp_path / str(where), marks)


def test_cleaning_thins_what_is_there(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    run(root, keep="all")
    assert cleaning.thin_sweep(root, "failed") == (3, 1)
    assert cleaning.thin_sweep(root, "results") == (1, 0)
    assert cleaning.thin_sweep(root, "results") == (0, 0)
    assert there(root) == THINNED
    check_whole(root, "cleaned")
    run(root, rerun="all")
    assert [one.attempts for one in Sweep.open(root).runs] == [2] * 4


@pytest.mark.parametrize("what", ["clean", "remove"])
def test_killed_while_it_cleans(what: str, tmp_path: Path, marks: Path) -> None:
    template = tmp_path / "template"
    run(template, keep="all")

    def fresh(name: str) -> Path:
        root = tmp_path / name
        subprocess.run(["cp", "-a", template, root], check=True)
        return root

    total = int(drive(what, fresh("counted"), "count").stdout)
    assert total > 20
    for where in range(1, total + 1, total // 10):
        root = fresh(f"a sweep {where}")
        assert drive(what, root, str(where)).returncode == -signal.SIGKILL
        told = f"{what} killed at {where}"
        if what == "clean":
            check_whole(root, told)
            cleaning.thin_sweep(root, "results")
            check_whole(root, told)
            assert there(root) == THINNED, told
        elif root.exists():
            if (root / "multirun.json").exists():
                check_whole(root, told)
            else:
                with pytest.raises(SweepNotFoundError):
                    Sweep.open(root)
                with pytest.raises(SweepError):
                    run(root)
            cleaning.remove_sweep(root)
            assert not root.exists(), told


def test_only_a_sweep_is_removed(tmp_path: Path, marks: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", Path("/etc")):
        with pytest.raises(SweepNotFoundError):
            cleaning.remove_sweep(path)
        with pytest.raises(SweepNotFoundError):
            cleaning.thin_sweep(path, "results")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "foreign", ["notes 'x'.txt", "runs/notes", "journal/0001.jsonl.bak", "shared/x", "runs/1"]
)
def test_what_is_not_ours_is_never_removed(foreign: str, tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    run(root, keep="all", input_files=[__file__])
    (root / foreign).write_text("mine")
    before = sorted(root.rglob("*"))
    with pytest.raises(SweepError, match="no part of a sweep: .*" + Path(foreign).name):
        cleaning.remove_sweep(root)
    assert sorted(root.rglob("*")) == before
    (root / foreign).unlink()
    cleaning.remove_sweep(root)
    assert not root.exists()


def test_folders_moved_elsewhere_are_not_followed(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    run(root, keep="all")
    (root / "runs").rename(tmp_path / "elsewhere")
    (root / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SweepError, match="runs"):
        cleaning.remove_sweep(root)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 4


def test_a_damaged_journal_does_not_keep_a_sweep(tmp_path: Path, marks: Path) -> None:
    root = tmp_path / "s"
    run(root)
    (root / "journal" / "0001.jsonl").write_bytes(b"\0\xff{}\n{}\n")
    cleaning.remove_sweep(root)
    assert not root.exists()


def test_nothing_is_done_while_a_driver_works(tmp_path: Path) -> None:
    root = tmp_path / "s"
    program = (
        "import sys; from multirun_core import multirun; "
        "multirun(runs=[{}], cmd=['sleep', '60'], output_path=sys.argv[1], progress=False)"
    )
    driver = subprocess.Popen([sys.executable, "-c", program, root], stderr=subprocess.DEVNULL)
    try:
        wait_until((root / "runs" / "000000" / "params.json").exists)
        for work in (cleaning.remove_sweep, lambda path: cleaning.thin_sweep(path, "results")):
            with pytest.raises(SweepLockedError, match="working on this sweep"):
                work(root)
        assert (root / "runs" / "000000" / "params.json").exists()
    finally:
        driver.send_signal(signal.SIGTERM)
        driver.wait(20)
    cleaning.remove_sweep(root)
    assert not root.exists()


def test_what_cannot_be_removed_is_told_once_and_harms_nobody(
    tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = os.unlink

    def refuse(path: Any, **more: Any) -> None:
        if "stdout.txt" in str(path):
            raise PermissionError(13, "refused", str(path))
        original(path, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        sweep = run(tmp_path / "s", keep="failed")
    assert sweep.statistics.success_count == 3
    assert list(sweep.results) == [expected(n) for n in range(4)]
    assert sum("cannot thin" in one.message for one in caplog.records) == 1
    assert there(sweep.path)["000000"] == ["stdout.txt"]
    run(tmp_path / "s", keep="failed")
    assert "000000" not in there(sweep.path)


def test_results_that_a_program_left_half_written_stay_as_they_are(tmp_path: Path) -> None:
    sweep = multirun(
        runs=[{}], cmd=["sh", "-c", "printf '[1, 2' > results.json; touch other"],
        output_path=tmp_path / "s", keep="results", progress=False,
    )  # fmt: skip
    assert there(sweep.path) == {"000000": ["results.json"]}
    assert "no JSON" in json.dumps(sweep.to_dataframe().result_error[0])


def test_a_directory_is_thinned_only_when_the_end_is_on_disk(
    tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "s"
    ended: list[bool] = []
    original = thinning.thin

    def look(directory: Any, **more: Any) -> None:
        known = {f"{one['run']:06d}" for one in events(root) if one["event"] == "end"}
        ended.append(Path(directory).name in known)
        original(directory, **more)

    monkeypatch.setattr(thinning, "thin", look)
    run(root)
    assert ended == [True] * 4


def test_a_sweep_is_removed_from_the_front(
    tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "s"
    run(root, keep="all")
    removed: list[str] = []
    original = cleaning.remove

    def look(path: str) -> None:
        assert not (root / "multirun.json").exists()
        removed.append(Path(path).name)
        original(path)

    monkeypatch.setattr(cleaning, "remove", look)
    cleaning.remove_sweep(root)
    assert removed == ["runs", "0001.jsonl"]
    assert not root.exists()
