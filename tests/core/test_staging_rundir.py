from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._staging.inputs import check_inputs
from multirun_core._staging.rundir import Stager, tidy
from multirun_core._staging.store import store_inputs

from multirun_core import FileResource, StagingError

from .staging_help import (
    HOSTILE,
    Sweep,
    as_plain_user,
    components,
    names_in,
    parts_in,
    snapshot,
    tree_of,
)
from .sweeps import wait_until

PARAMS = '{"mass": 1}'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Inputs: two files, and a directory with a link in it."""
    root = tree_of(tmp_path / "in", a="aaa", b="bbb", data__x="xx", data__sub__y="yy")
    (root / "data" / "link").symlink_to("sub/y")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "stu dy"


def everything(root: Path, files: Path, **options: Any) -> Sweep:
    """Return a sweep with an input of each kind, under its own name and deeper."""
    return Sweep(
        root,
        FileResource(files / "a", "shared"),
        FileResource(files / "a", "link", "deep/er/link"),
        FileResource(files / "a", "copy", "deep/copy"),
        FileResource(files / "b", "copy"),
        FileResource(files / "data", "copy", "own"),
        FileResource(files / "data", "shared", "deep/data"),
        FileResource(files / "data", "link", "ext"),
        **options,
    )


def moved(home: Path, attempt: int = 1) -> dict[str, Any]:
    """Return what was moved away before the attempt after `attempt`."""
    return snapshot(home / ".multirun" / "attempts" / str(attempt))


def test_a_first_attempt_costs_two_inodes(root: Path) -> None:
    sweep = Sweep(root)
    home = sweep.stage(params='{"a": 1}')
    assert home == root / "runs" / "000042"
    assert snapshot(root / "runs") == {
        "000042": ("directory",),
        "000042/params.json": ("file", b'{"a": 1}', False),
    }
    assert not sweep.stager.heavy


def test_numbers_take_more_digits_when_needed(root: Path) -> None:
    stager = Stager(root, [])
    assert stager.directory(0).name == "000000"
    assert stager.directory(1_234_567).name == "1234567"


def test_all_linkages(root: Path, files: Path) -> None:
    sweep = everything(root, files)
    home = sweep.stage()
    assert sweep.stager.heavy
    content = {name: (home / name).read_text() for name in ("a", "deep/er/link", "deep/copy", "b")}
    assert content == {"a": "aaa", "deep/er/link": "aaa", "deep/copy": "aaa", "b": "bbb"}
    assert (home / "deep/er/link").readlink() == files / "a"
    assert (home / "ext").readlink() == files / "data"
    assert not (home / "a").readlink().is_absolute()
    assert (home / "a").resolve().is_relative_to(root / "shared")
    assert (home / "deep/data/sub/y").resolve().is_relative_to(root / "shared")
    assert not (home / "b").is_symlink()
    assert snapshot(home / "own") == snapshot(files / "data")
    assert not (home / ".multirun").exists()
    assert sweep.begun() == 0


def test_a_sweep_can_be_moved_as_a_whole(root: Path, files: Path, tmp_path: Path) -> None:
    Sweep(root, files / "a", FileResource(files / "b", rename="deep/er/b")).stage()
    root.rename(tmp_path / "elsewhere")
    home = tmp_path / "elsewhere" / "runs" / "000042"
    assert ((home / "a").read_text(), (home / "deep/er/b").read_text()) == ("aaa", "bbb")


def test_editing_an_original_changes_no_later_run(root: Path, files: Path) -> None:
    sweep = Sweep(root, FileResource(files / "a", "copy"), files / "b")
    (files / "a").write_text("edited")
    (files / "b").write_text("edited")
    home = sweep.stage()
    assert ((home / "a").read_text(), (home / "b").read_text()) == ("aaa", "bbb")


def test_editing_a_copy_changes_no_other_run(root: Path, files: Path) -> None:
    sweep = Sweep(root, FileResource(files / "a", "copy"))
    (sweep.stage(index=1) / "a").write_text("edited")
    assert (sweep.stage(index=2) / "a").read_text() == "aaa"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("linkage", ["copy", "shared", "link"])
def test_hostile_names(tmp_path: Path, name: str, linkage: Any) -> None:
    source = tree_of(tmp_path / "in", **{name: "x"}) / name
    sweep = Sweep(tmp_path / name, FileResource(source, linkage, f"{name}/{name}"))
    home = sweep.stage()
    assert (home / name / name).read_text() == "x"
    assert sweep.begun() == 0
    (home / name / name).unlink()
    (home / name / name).write_text("other")
    assert sweep.begun() == 1
    sweep.stage(2)
    assert (home / name / name).read_text() == "x"
    assert (home / ".multirun/attempts/1" / name / name).read_text() == "other"


@given(
    names=st.lists(st.lists(components, min_size=1, max_size=3), min_size=1, max_size=4),
    linkages=st.lists(st.sampled_from(["copy", "shared", "link"]), min_size=4, max_size=4),
    left=components,
)
def test_whatever_the_names_a_second_attempt_is_like_the_first(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[list[str]],
    linkages: list[Any],
    left: str,
) -> None:
    base = tmp_path_factory.mktemp("any")
    (base / "source").write_text("x")
    given = [
        FileResource(base / "source", linkage, "/".join(parts))
        for parts, linkage in zip(names, linkages, strict=False)
    ]
    try:
        inputs = check_inputs(given)
    except StagingError:
        return  # one name inside another
    stager = Stager(base, store_inputs(base, inputs))
    stager.stage(0, PARAMS, 1)
    home = stager.directory(0)
    first = snapshot(home)
    assert stager.begun(0) == 0
    for item in inputs:
        assert (home / item.name).read_text() == "x"
    if os.path.lexists(home / left):
        return
    (home / left).write_text("left")
    assert stager.begun(0) == 1
    stager.stage(0, PARAMS, 2)
    assert stager.begun(0) == 1
    second = snapshot(home)
    assert moved(home) == {left: ("file", b"left", False)}
    assert {rel: what for rel, what in second.items() if not rel.startswith(".multirun")} == first


def test_staging_again_changes_nothing(root: Path, files: Path) -> None:
    sweep = everything(root, files)
    home = sweep.stage()
    before = {path: path.lstat().st_ino for path in home.rglob("*")}
    sweep.stage()
    assert {path: path.lstat().st_ino for path in home.rglob("*")} == before
    assert sweep.begun() == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda home: (home / "params.json").unlink(),
        lambda home: (home / "params.json").write_text('{"ma'),
        lambda home: (home / "params.json").write_text(""),
        lambda home: (home / "a").unlink(),
        lambda home: (home / "b").unlink(),
        lambda home: tree_of(home, **{".multirun.part-00112233__own__x": "half"}),
        lambda home: tree_of(home, **{".multirun.part-00112233": "half"}),
    ],
)
def test_a_half_staged_first_attempt_is_completed(
    root: Path, files: Path, damage: Callable[[Path], Any]
) -> None:
    sweep = everything(root, files)
    home = sweep.stage()
    whole = snapshot(home)
    damage(home)
    assert sweep.begun() == 0
    sweep.stage()
    assert snapshot(home) == whole


TRACES: list[Callable[[Path], Any]] = [
    lambda home: (home / "stdout.txt").touch(),
    lambda home: (home / "stderr.txt").touch(),
    lambda home: (home / "results.json").write_text("1"),
    lambda home: (home / "results.pkl").write_text("1"),
    lambda home: (home / ".results-12-ab.tmp").touch(),
    lambda home: (home / "core").touch(),
    lambda home: (home / "output").mkdir(),
    lambda home: (home / "deep" / "output").touch(),
    lambda home: tree_of(home, **{".multirun__exit": "0"}),
    lambda home: (home / "b").write_text("edited"),
    lambda home: (home / "b").chmod(0o755),
    lambda home: (home / "own" / "new").touch(),
    lambda home: (home / "own" / "x").unlink(),
    lambda home: os.mkfifo(home / "own" / "pipe"),
    lambda home: (home / "a").unlink() or (home / "a").write_text("edited"),
    lambda home: (home / "a").unlink() or (home / "a").symlink_to("elsewhere"),
    lambda home: (home / "dangling").symlink_to("nowhere"),
    lambda home: os.mkfifo(home / "pipe"),
]


def _wait_for_another_time(home: Path) -> None:
    """Wait until the file system's clock, which may be coarse, has moved on since the staging."""
    prepared = (home / ".multirun" / "attempt").stat().st_mtime_ns
    probe = home.parent / "probe"

    def later() -> bool:
        probe.write_text("x")
        return probe.stat().st_ctime_ns > prepared

    wait_until(later)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("on_retry", ["restore", "keep"])
def test_any_trace_of_an_execution_counts(
    root: Path, files: Path, trace: Callable[[Path], Any], on_retry: Any
) -> None:
    sweep = everything(root, files, on_retry=on_retry)
    home = sweep.stage()
    trace(home)
    assert sweep.begun() == 1
    sweep.stage(2)
    assert sweep.begun() == 1
    _wait_for_another_time(home)
    # In the second attempt, a file that was kept is no trace, but one that is written again is.
    if on_retry == "keep":
        for path in list(home.iterdir()):
            if path.name in ("core", "output", "dangling", "pipe"):
                path.rename(home / "other")
                (home / "other").rename(path)
                break
        else:
            trace(home)
    else:
        trace(home)
    assert sweep.begun() == 2
    sweep.stage(3)
    assert sweep.begun() == 2


def test_a_run_that_was_never_staged(root: Path) -> None:
    sweep = Sweep(root)
    assert sweep.begun() == 0
    sweep.stage(index=1)
    assert sweep.begun() == 0


def test_what_is_written_for_a_backend_is_no_trace(root: Path) -> None:
    sweep = Sweep(root)
    home = sweep.stage()
    tree_of(home, **{".multirun__order": "{}"})
    before = snapshot(home)
    assert sweep.begun() == 0
    sweep.stage()
    assert snapshot(home) == before
    sweep.stage(2)
    assert moved(home) == {
        ".multirun": ("directory",),
        ".multirun/order": ("file", b"{}", False),
    }


def test_a_directory_staged_with_older_inputs_shows_no_execution(root: Path, files: Path) -> None:
    first = Sweep(root, files / "a", files / "b")
    home = first.stage()
    (files / "a").write_text("changed")
    later = Sweep(root, files / "a")
    assert later.begun() == 0
    later.stage()
    assert (home / "a").read_text() == "changed"
    assert not os.path.lexists(home / "b")
    assert later.begun() == 0


def execute(home: Path) -> None:
    """Leave what a program may leave."""
    (home / "stdout.txt").write_text("out")
    (home / "stderr.txt").write_text("err")
    (home / "results.json").write_text("1")
    (home / "results.pkl").write_text("pickle")
    (home / ".results-1-ab.tmp").write_text("half")
    tree_of(home, **{".multirun__exit.json": "{}", "deep__mine": "mine", "check__point": "5"})


def test_a_second_attempt_starts_clean(root: Path, files: Path) -> None:
    sweep = everything(root, files)
    home = sweep.stage()
    first = snapshot(home)
    execute(home)
    (home / "b").write_text("changed by the program")
    (home / "own" / "x").write_text("changed too")
    (home / "a").unlink()
    (home / "a").write_text("no link any more")
    (home / "params.json").write_text("{}")
    assert sweep.begun() == 1
    sweep.stage(2)
    assert (home / ".multirun" / "attempt").read_text() == "2\n"
    second = snapshot(home)
    assert {rel: what for rel, what in second.items() if not rel.startswith(".multirun")} == first
    assert moved(home) == {
        "stdout.txt": ("file", b"out", False),
        "stderr.txt": ("file", b"err", False),
        "results.json": ("file", b"1", False),
        "results.pkl": ("file", b"pickle", False),
        ".results-1-ab.tmp": ("file", b"half", False),
        ".multirun": ("directory",),
        ".multirun/exit.json": ("file", b"{}", False),
        "deep": ("directory",),
        "deep/mine": ("file", b"mine", False),
        "check": ("directory",),
        "check/point": ("file", b"5", False),
        "b": ("file", b"changed by the program", False),
        "own": ("directory",),
        "own/x": ("file", b"changed too", False),
        "own/sub": ("directory",),
        "own/sub/y": ("file", b"yy", False),
        "own/link": ("link", "sub/y"),
        "a": ("file", b"no link any more", False),
        "params.json": ("file", b"{}", False),
    }
    execute(home)
    sweep.stage(3)
    assert "stdout.txt" in moved(home, 2)
    assert moved(home)["stdout.txt"] == ("file", b"out", False)
    assert (home / ".multirun" / "attempt").read_text() == "3\n"


def test_keep_leaves_what_is_the_programs_own(root: Path, files: Path) -> None:
    sweep = everything(root, files, on_retry="keep")
    home = sweep.stage()
    first = snapshot(home)
    execute(home)
    (home / "b").write_text("changed by the program")
    (home / "a").unlink()
    (home / "a").write_text("no link any more")
    sweep.stage(2)
    second = {r: what for r, what in snapshot(home).items() if not r.startswith(".multirun")}
    kept = {"deep/mine", "check", "check/point"}
    assert {rel: what for rel, what in second.items() if rel not in kept} == first
    assert kept < set(second)
    assert set(moved(home)) == {
        "stdout.txt",
        "stderr.txt",
        "results.json",
        "results.pkl",
        ".results-1-ab.tmp",
        ".multirun",
        ".multirun/exit.json",
        "b",
        "a",
    }
    assert sweep.begun() == 1
    _wait_for_another_time(home)
    (home / "check" / "point").write_text("6")
    assert sweep.begun() == 2


def test_an_attempt_that_left_nothing_is_counted(root: Path) -> None:
    sweep = Sweep(root)
    home = sweep.stage()
    sweep.stage(2)
    assert sweep.begun() == 1
    assert set(snapshot(home)) == {"params.json", ".multirun", ".multirun/attempt"}
    sweep.stage(3)
    assert sweep.begun() == 2


def test_a_directory_that_was_taken_away(root: Path, files: Path) -> None:
    sweep = everything(root, files)
    home = sweep.stage(3)
    assert (home / ".multirun" / "attempt").read_text() == "3\n"
    assert sweep.begun() == 2
    assert (home / "deep/data/x").read_text() == "xx"


def test_nothing_is_overwritten_among_earlier_attempts(root: Path) -> None:
    sweep = Sweep(root)
    home = sweep.stage()
    for text in ("first", "second", "third"):
        (home / "out").write_text(text)
        sweep.stage(2)
    assert moved(home) == {
        "out": ("file", b"first", False),
        "out~1": ("file", b"second", False),
        "out~2": ("file", b"third", False),
    }


def test_an_orphans_results_have_their_place_before_the_next_attempt_begins(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(root)
    home = sweep.stage()
    (home / "stdout.txt").touch()
    said: list[str] = []
    real = os.rename

    def rename(source: str, target: str) -> None:
        if source.endswith("/stdout.txt"):
            said.append((home / ".multirun" / "attempt").read_text())
            (home / "results.json").write_text("posted while the directory was being cleared")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    sweep.stage(2)
    assert said == ["2\n"]
    assert not (home / "results.json").exists()
    assert "results.json" in moved(home)


def hostile_leftovers(home: Path) -> None:
    (home / "pipe").unlink(missing_ok=True)
    os.mkfifo(home / "pipe")
    (home / "dangling").symlink_to("nowhere/at/all")
    (home / "circle").symlink_to("circle")
    (home / "root").symlink_to("/")
    tree_of(home, closed__x="1", readonly__x="1")
    (home / "closed").chmod(0)
    (home / "readonly").chmod(0o500)
    (home / "unreadable").touch()
    (home / "unreadable").chmod(0)
    for name in HOSTILE:
        tree_of(home / name, inner="x")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(".", os.O_RDONLY)
        os.chdir(home)
        try:
            bound.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)


def test_anything_can_be_moved_away(root: Path, files: Path) -> None:
    def work() -> None:
        sweep = everything(root, files)
        home = sweep.stage()
        first = snapshot(home)
        names = names_in(home)
        hostile_leftovers(home)
        left = names_in(home) - names
        (home / "deep").chmod(0o500)
        home.chmod(0o500)
        assert sweep.begun() == 1
        sweep.stage(2)
        attempt = home / ".multirun" / "attempts" / "1"
        assert names_in(attempt) == left
        assert (attempt / "closed").stat().st_mode & 0o777 == 0
        assert (attempt / "readonly").stat().st_mode & 0o777 == 0o500
        for name in ("closed", "readonly", "unreadable"):
            (attempt / name).chmod(0o700)
        second = snapshot(home)
        assert {r: w for r, w in second.items() if not r.startswith(".multirun")} == first

    as_plain_user(work)


def test_a_program_that_closed_everything(root: Path, files: Path) -> None:
    def work() -> None:
        sweep = everything(root, files)
        home = sweep.stage()
        (home / "stdout.txt").touch()
        sweep.stage(2)
        for rel in (".multirun/attempts/1", ".multirun/attempts", ".multirun", "deep/er", "deep"):
            (home / rel).chmod(0)
        home.chmod(0)
        assert sweep.begun() == 1
        home.chmod(0o700)
        (home / "stdout.txt").touch()
        home.chmod(0)
        assert sweep.begun() == 2
        sweep.stage(3)
        assert "stdout.txt" in moved(home, 2)

    as_plain_user(work)


@pytest.mark.parametrize("on_retry", ["restore", "keep"])
def test_a_program_that_put_other_things_in_the_place_of_ours(
    root: Path, files: Path, tmp_path: Path, on_retry: Any
) -> None:
    precious = tree_of(tmp_path / "precious", copy="not yours")
    sweep = everything(root, files, on_retry=on_retry)
    home = sweep.stage()
    first = snapshot(home)
    (home / "deep").rename(home / "elsewhere")
    (home / "deep").symlink_to(precious)
    (home / "params.json").unlink()
    (home / "params.json").mkdir()
    (home / "a").unlink()
    (home / "a").mkdir()
    (home / "own").rename(home / "own-too")
    (home / "own").symlink_to("/")
    (home / "stdout.txt").mkdir()
    (home / ".multirun").symlink_to(precious)
    assert sweep.begun() == 1
    sweep.stage(2)
    assert snapshot(precious) == {"copy": ("file", b"not yours", False)}
    assert first.items() <= snapshot(home).items()
    assert {"deep", "params.json", "a", "own", "stdout.txt"} <= set(moved(home))
    assert (home / ".multirun").is_dir()
    assert not (home / ".multirun").is_symlink()


@pytest.mark.parametrize("name", ["attempts", "attempt", "attempts/1", "attempts/1/deep"])
@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_things_in_the_place_of_our_folders(
    root: Path, files: Path, tmp_path: Path, name: str, kind: str
) -> None:
    precious = tree_of(tmp_path / "precious")
    sweep = everything(root, files)
    home = sweep.stage()
    path = home / ".multirun" / name
    path.parent.mkdir(parents=True)
    if kind == "file":
        path.write_text("weird")
    elif kind == "link":
        path.symlink_to(precious)
    else:
        path.mkdir()
    (home / "deep" / "mine").write_text("mine")
    sweep.begun()
    sweep.stage(2)
    assert (home / ".multirun/attempts/1/deep/mine").read_text() == "mine"
    assert (home / ".multirun/attempt").read_text() == "2\n"
    assert snapshot(precious) == {}


def test_a_link_whose_target_is_gone(root: Path, files: Path) -> None:
    sweep = Sweep(root, FileResource(files / "a", "link"))
    (files / "a").unlink()
    with pytest.raises(StagingError, match="put it back") as caught:
        sweep.stage()
    assert str(files / "a") in str(caught.value)
    (files / "a").write_text("back")
    assert (sweep.stage() / "a").read_text() == "back"


def test_a_run_directory_that_is_none(root: Path) -> None:
    sweep = Sweep(root)
    (root / "runs").mkdir()
    (root / "runs" / "000042").touch()
    (root / "runs" / "000043").symlink_to(root)
    for index in (42, 43):
        assert sweep.begun(index) == 0
        with pytest.raises(StagingError, match="move it away"):
            sweep.stage(index=index)


def test_a_sweep_that_was_deleted_is_not_made_again(root: Path) -> None:
    sweep = Sweep(root)
    root.rmdir()
    with pytest.raises(FileNotFoundError):
        sweep.stage()
    assert not root.exists()


def test_the_sweeps_own_copy_is_gone(root: Path, files: Path) -> None:
    sweep = Sweep(root, FileResource(files / "a", "copy"))
    (root / str(sweep.records[0].stored)).unlink()
    with pytest.raises(FileNotFoundError, match="shared"):
        sweep.stage()


def test_parameters_that_changed_are_rewritten(root: Path) -> None:
    sweep = Sweep(root)
    home = sweep.stage(params='{"mass": 1}')
    sweep.stage(params='{"mass": 2}')
    assert (home / "params.json").read_text() == '{"mass": 2}'
    assert parts_in(root) == []


def test_large_parameters(root: Path) -> None:
    params = '{"text": "' + "x" * (1 << 21) + '"}'
    assert (Sweep(root).stage(params=params) / "params.json").read_text() == params


def test_an_input_as_large_as_several_blocks(root: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom((1 << 21) + 3))
    sweep = Sweep(root, FileResource(tmp_path / "big", "copy"))
    home = sweep.stage()
    with (home / "big").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"one spot")
    sweep.stage(2)
    assert (home / "big").read_bytes() == (tmp_path / "big").read_bytes()


def test_tidy(tmp_path: Path) -> None:
    (tmp_path / "stdout.txt").touch()
    (tmp_path / "stderr.txt").write_text("x")
    tidy(tmp_path)
    assert names_in(tmp_path) == {"stderr.txt"}
    tidy(str(tmp_path))
    (tmp_path / "stderr.txt").unlink()
    (tmp_path / "stderr.txt").symlink_to("/dev/null")
    (tmp_path / "stdout.txt").mkdir()
    tidy(tmp_path)
    assert names_in(tmp_path) == {"stderr.txt", "stdout.txt"}
