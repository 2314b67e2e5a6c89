from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from multirun_core._staging.inputs import check_inputs
from multirun_core._staging.rundir import OnRetry, Stager
from multirun_core._staging.store import store_inputs

from multirun_core import FileResource

from .staging_help import Sweep, as_plain_user, parts_in, snapshot, tree_of

PARAMS = '{"mass": 1}'
STEPS = ("mkdir", "rename", "symlink", "link", "open", "write", "unlink", "rmdir", "chmod", "utime")


class Died(BaseException):
    """Stands for the death of the process: nothing in our code expects it."""


@contextmanager
def dying_at(monkeypatch: pytest.MonkeyPatch, step: int, *, before: bool) -> Iterator[list[str]]:
    """Die before or after the given system call, counted from 0; yield those that were made.

    After its death, a process makes no more calls: so each later one fails too, whatever handler
    of ours makes it.
    """
    made: list[str] = []

    def replaced(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if len(made) > step:
                raise Died
            made.append(name)
            if len(made) <= step:
                return real(*args, **options)
            if not before:
                done = real(*args, **options)
                if name == "open":
                    os.close(done)
            raise Died

        return call

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, replaced(name, getattr(os, name)))
        yield made


def interrupted_everywhere(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[int], tuple[Callable[[], Any], Callable[[], Any]]],
) -> int:
    """Let an action die at each of its steps in turn, anew each time; return how many there were.

    Args:
        monkeypatch: of the test.
        make: prepares the n-th trial; returns the action and the check that follows its death.
    """
    for before in (True, False):
        step = 0
        while True:
            action, check = make(2 * step + before)
            died = False
            with dying_at(monkeypatch, step, before=before) as made:
                try:
                    action()
                except Died:
                    died = True
            check()
            if not died:
                break
            assert made
            step += 1
    return step


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tree_of(tmp_path / "in", a="aaa", b="bbb", data__x="xx", data__sub__y="yy")
    (root / "data" / "link").symlink_to("sub/y")
    (root / "a").chmod(0o755)
    return root


def given(files: Path) -> list[FileResource]:
    return [
        FileResource(files / "a", "shared", "deep/er/a"),
        FileResource(files / "a", "link"),
        FileResource(files / "b", "copy"),
        FileResource(files / "data", "copy", "deep/own"),
    ]


def test_a_first_attempt(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Sweep(tmp_path / "undisturbed", *given(files))
    expected = snapshot(wanted.stage())

    def make(trial: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        sweep = Sweep(tmp_path / f"study {trial}", *given(files))

        def check() -> None:
            # A later driver knows nothing but what is on the disk.
            later = Stager(sweep.root, sweep.records)
            assert later.begun(42) == 0
            later.stage(42, PARAMS, 1)
            assert snapshot(later.directory(42)) == expected

        return sweep.stage, check

    assert interrupted_everywhere(monkeypatch, make) > 20


def executed(home: Path) -> None:
    for name in ("stdout.txt", "results.json", "mine", "deep/mine"):
        (home / name).write_text(name)
    (home / "folder").mkdir()
    (home / "folder" / "checkpoint").write_text("5")
    (home / "b").write_text("changed")
    (home / "deep" / "own" / "x").unlink()
    (home / "a").unlink()


@pytest.mark.parametrize("on_retry", ["restore", "keep"])
@pytest.mark.parametrize("attempt", [2, 3])
def test_a_further_attempt(
    tmp_path: Path,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_retry: OnRetry,
    attempt: int,
) -> None:
    def prepare(root: Path) -> Sweep:
        sweep = Sweep(root, *given(files), on_retry=on_retry)
        executed(sweep.stage())
        if attempt == 3:
            home = sweep.stage(2)
            if on_retry == "keep":
                (home / "folder").rename(home / "folder 2")
                (home / "folder 2").rename(home / "folder 3")
                (home / "folder 3" / "checkpoint").unlink()
                (home / "folder 3").rmdir()
            executed(home)
        return sweep

    wanted = prepare(tmp_path / "undisturbed")
    expected = snapshot(wanted.stage(attempt))
    assert wanted.begun() == attempt - 1

    def make(trial: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        sweep = prepare(tmp_path / f"study {trial}")

        def check() -> None:
            later = Stager(sweep.root, sweep.records, on_retry)
            # Not one attempt more or less than there were, wherever it died.
            assert later.begun(42) == attempt - 1
            later.stage(42, PARAMS, attempt)
            assert later.begun(42) == attempt - 1
            assert snapshot(later.directory(42)) == expected

        return lambda: sweep.stage(attempt), check

    assert interrupted_everywhere(monkeypatch, make) > 20


def test_a_process_that_dies_and_is_succeeded_by_one_that_dies(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Sweep(tmp_path / "undisturbed", *given(files))
    executed(wanted.stage())
    expected = snapshot(wanted.stage(2))

    sweep = Sweep(tmp_path / "study", *given(files))
    executed(sweep.stage())
    step, deaths = 1, 0
    while True:
        with dying_at(monkeypatch, step, before=False):
            try:
                sweep.stage(2)
                break
            except Died:
                deaths += 1
        assert sweep.begun() == 1
        step += 1
    assert deaths > 10
    assert snapshot(sweep.stager.directory(42)) == expected


def test_storing(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Sweep(tmp_path / "undisturbed", *given(files))
    expected = snapshot(wanted.root)

    def make(trial: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        root = tmp_path / f"study {trial}"
        root.mkdir()
        inputs = check_inputs(given(files))

        def check() -> None:
            assert store_inputs(root, inputs) == wanted.records
            assert snapshot(root) == expected

        return lambda: store_inputs(root, inputs), check

    assert interrupted_everywhere(monkeypatch, make) > 10


def test_storing_what_has_changed(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [
        Sweep(tmp_path / "undisturbed", *given(files)),
        *(Sweep(tmp_path / f"study {trial}", *given(files)) for trial in range(120)),
    ]
    (files / "b").write_text("changed")
    inputs = check_inputs(given(files))
    records = store_inputs(first[0].root, inputs, first[0].records)
    expected = snapshot(first[0].root)

    def make(trial: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        sweep = first[1 + trial]

        def check() -> None:
            assert store_inputs(sweep.root, inputs, sweep.records) == records
            assert snapshot(sweep.root) == expected

        return lambda: store_inputs(sweep.root, inputs, sweep.records), check

    assert interrupted_everywhere(monkeypatch, make) > 10


# Stores the inputs, then stages a run, for each attempt and again and again; says what it has done.
STAGE_FOR_EVER = """
import os, sys
from multirun_core import FileResource
from multirun_core._staging.inputs import check_inputs
from multirun_core._staging.rundir import Stager
from multirun_core._staging.store import store_inputs
from pathlib import Path
root, files = Path(sys.argv[1]), Path(sys.argv[2])
given = [FileResource(files / "a", "shared", "deep/a"), FileResource(files / "big", "copy"),
         FileResource(files / "data", "copy", "deep/own")]
os.write(1, b"s")
records = store_inputs(root, check_inputs(given))
stager = Stager(root, records)
index = 0
while True:
    for attempt in (1, 2, 3):
        assert stager.begun(index) == attempt - 1
        stager.stage(index, '{"mass": 1}', attempt)
        home = stager.directory(index)
        (home / "stdout.txt").write_text(str(attempt))
        (home / "deep" / "mine").write_text(str(attempt))
        (home / "big").write_text("changed")
    index += 1
    os.write(1, b".")
"""


def test_kill_at_any_moment(tmp_path: Path) -> None:
    files = tree_of(tmp_path / "in", a="aaa", data__x="xx", data__sub__y="yy")
    (files / "big").write_bytes(os.urandom(1 << 20))
    names = [("a", "shared", "deep/a"), ("big", "copy", None), ("data", "copy", "deep/own")]
    resources = [FileResource(files / name, linkage, to) for name, linkage, to in names]  # type: ignore[arg-type]
    wanted = Sweep(tmp_path / "undisturbed", *resources)
    expected = snapshot(wanted.stage())
    chance = random.Random(7)
    for trial in range(15):
        root = tmp_path / f"study {trial}"
        root.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", STAGE_FOR_EVER, str(root), str(files)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        # Some die while they store, some while they stage a run, after others or not.
        said = b"s" + b"." * (trial % 3)
        assert process.stdout.read(len(said)) == said
        # The moment of the kill is what is random here; nothing is waited for.
        time.sleep(chance.random() * 0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL

        process.stdout.close()

        records = store_inputs(root, check_inputs(resources))
        assert [record.sha256 for record in records] == [r.sha256 for r in wanted.records]
        assert [path for path in parts_in(root) if path.startswith("shared/")] == []
        stager = Stager(root, records)
        for index in range(len(list((root / "runs").glob("*")))):
            begun = stager.begun(index)
            stager.stage(index, PARAMS, begun + 1)
            home = stager.directory(index)
            found = snapshot(home)
            assert {r: w for r, w in found.items() if not r.startswith(".multirun")} == expected
            # Nothing that an attempt left is lost.
            for attempt in range(1, begun + 1):
                folder = home / ".multirun" / "attempts" / str(attempt)
                for name in ("stdout.txt", "deep/mine"):
                    assert attempt == begun or (folder / name).read_text() == str(attempt)
            stager.stage(index, PARAMS, begun + 1)
            assert snapshot(home) == found


def test_a_disk_that_gets_full(tmp_path: Path) -> None:
    """The limit of setrlimit(2) on file sizes stands for a full disk; see write(2)."""
    files = tree_of(tmp_path / "in")
    (files / "big").write_bytes(os.urandom(1 << 20))
    sweep = Sweep(tmp_path / "study", FileResource(files / "big", "copy"))
    large = '{"text": "' + "x" * (1 << 18) + '"}'

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        for limit, wrong in ((1 << 19, PARAMS), (1 << 17, large)):
            for attempt in (1, 2):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
                with pytest.raises(OSError, match="File too large"):
                    sweep.stage(attempt, params=wrong, index=limit)
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                assert sweep.begun(index=limit) == attempt - 1
                home = sweep.stage(attempt, params=wrong, index=limit)
                assert (home / "params.json").read_text() == wrong
                assert (home / "big").read_bytes() == (files / "big").read_bytes()
                assert parts_in(home) == []
                (home / "stdout.txt").touch()
                (home / "big").unlink()

    as_plain_user(work)


def test_a_directory_that_cannot_be_written(tmp_path: Path, files: Path) -> None:
    sweep = Sweep(tmp_path / "study", *given(files))

    def work() -> None:
        sweep.root.chmod(0o555)
        with pytest.raises(PermissionError):
            sweep.stage()
        sweep.root.chmod(0o755)
        home = sweep.stage()
        (home / "stdout.txt").touch()
        home.parent.chmod(0o555)
        with pytest.raises(PermissionError):
            sweep.stage(index=1)
        sweep.stage(2)
        home.parent.chmod(0o755)

    as_plain_user(work)
