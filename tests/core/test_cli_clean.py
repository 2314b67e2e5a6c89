"""`multirun clean`, from a shell and on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from cli_tools import PROGRAM, begin, call
from sweeps import wait_until

from multirun_core import Sweep


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A sweep of three runs of which one failed, in a directory with an awkward name."""
    home = tmp_path / "a 'b' $c;*\n\u00e9"
    home.mkdir()
    script = "echo out {a}; echo '{\"b\": {a}}' > results.json; touch more; test {a} != 3"
    done = call("run", "-p", "a=1,2,3", "-o", "study", "--", "sh", "-c", script, cwd=home)
    assert done.returncode == 1, done.stderr
    return home / "study"


def answer(text: str, *words: str, cwd: Path) -> tuple[int, str]:
    """Run the program on a terminal where somebody answers; return status and what was shown."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [*PROGRAM, *words], cwd=cwd, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = b""
    os.set_blocking(master, False)

    def read() -> bool:
        nonlocal seen
        try:
            seen += os.read(master, 65536)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return b"?" in seen

    wait_until(read)
    os.write(master, text.encode())
    status = child.wait(30)
    read()
    os.close(master)
    return status, seen.decode()


def test_it_thins(study: Path) -> None:
    done = call("clean", "study", "--keep", "failed", "--yes", cwd=study.parent)
    assert (done.returncode, done.stdout) == (0, "")
    assert "thinned 2 run directories of study; 1 stay whole" in done.stderr
    assert [path.name for path in (study / "runs").iterdir()] == ["000002"]
    again = call("clean", "study", "--keep", "results", "-y", cwd=study.parent)
    assert "thinned 1 run directories" in again.stderr
    assert sorted(path.name for path in (study / "runs" / "000002").iterdir()) == ["stdout.txt"]
    sweep = Sweep.open(study)
    assert list(sweep.results) == [{"b": 1}, {"b": 2}, {"b": 3}]
    assert call("logs", "study", "2", cwd=study.parent).stdout == "out 3\n"
    gone = call("logs", "study", "0", cwd=study.parent)
    assert (gone.returncode, "output of run 0 was not kept" in gone.stderr) == (0, True)
    table = call("results", "study", "--format", "csv", cwd=study.parent)
    assert table.stdout.count("\n") == 4


def test_it_removes(study: Path) -> None:
    done = call("clean", "study", "--yes", cwd=study.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "multirun: removed study\n")
    assert list(study.parent.iterdir()) == []
    gone = call("clean", "study", "--yes", cwd=study.parent)
    assert (gone.returncode, "holds no sweep" in gone.stderr) == (2, True)


def test_it_removes_through_a_link_to_the_directory(study: Path) -> None:
    link = study.with_name("link")
    link.symlink_to("study")
    assert call("clean", "link", "--yes", cwd=study.parent).returncode == 0
    assert not study.exists()


def test_it_does_nothing_where_nobody_can_be_asked(study: Path) -> None:
    before = sorted(study.rglob("*"))
    for words in (["study"], ["study", "--keep", "results"]):
        done = call("clean", *words, cwd=study.parent, text="y\n")
        assert done.returncode == 2
        assert "say --yes" in done.stderr
    assert sorted(study.rglob("*")) == before


def test_it_asks_on_a_terminal(study: Path) -> None:
    before = sorted(study.rglob("*"))
    status, seen = answer("n\n", "clean", "study", cwd=study.parent)
    assert status == 1
    assert "(3 runs, 2 of them succeeded)? [y/N]" in seen
    status, _ = answer("\x04", "clean", "study", cwd=study.parent)
    assert status == 130
    assert sorted(study.rglob("*")) == before
    status, seen = answer("y\n", "clean", "study", "--keep", "failed", cwd=study.parent)
    assert status == 0
    assert "successful runs" in seen
    assert len(list((study / "runs").iterdir())) == 1
    status, _ = answer("y\n", "clean", "study", cwd=study.parent)
    assert status == 0
    assert not study.exists()


def test_it_refuses_what_is_no_sweep_or_more(study: Path) -> None:
    home = study.parent
    (home / "other").mkdir()
    (home / "other" / "file").write_text("")
    for path in ("other", "nowhere", "other/file"):
        done = call("clean", path, "--yes", cwd=home)
        assert done.returncode == 2, done.stderr
    (study / "my notes").write_text("mine")
    done = call("clean", "study", "--yes", cwd=home)
    assert done.returncode == 2
    assert "'my notes'" in done.stderr
    assert (study / "multirun.json").exists()
    assert call("clean", "study", "--keep", "results", "--yes", cwd=home).returncode == 0


def test_it_refuses_while_a_driver_works(tmp_path: Path) -> None:
    driver = begin("run", "-p", "a=1", "-o", "st", "--", "sleep", "60", cwd=tmp_path)
    wait_until((tmp_path / "st" / "runs" / "000000" / "params.json").exists)
    for words in ([], ["--keep", "results"]):
        done = call("clean", "st", *words, "--yes", cwd=tmp_path)
        assert done.returncode == 2
        assert "working on this sweep" in done.stderr
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=30)
    assert call("clean", "st", "--yes", cwd=tmp_path).returncode == 0
