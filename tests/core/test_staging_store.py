from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from multirun_core._staging import content
from multirun_core._staging.changes import changes
from multirun_core._staging.files import move, remove
from multirun_core._staging.inputs import check_inputs
from multirun_core._staging.store import InputRecord, store_inputs, stored_names
from multirun_core._staging.tree import scan

from multirun_core import FileResource, StagingError

from .staging_help import HOSTILE, Sweep, as_plain_user, parts_in, snapshot, tree_of

BIG = 3 * (1 << 20) + 17  # some blocks and a rest


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.dat"
    path.write_bytes(os.urandom(BIG))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "study"
    path.mkdir()
    return path


def stored(root: Path, record: InputRecord) -> Path:
    assert record.stored is not None
    return root / record.stored


def again(sweep: Sweep, *files: FileResource | str | Path) -> list[InputRecord]:
    """Do what a later driver of the sweep does."""
    known = [InputRecord.from_json(json.loads(json.dumps(r.to_json()))) for r in sweep.records]
    assert known == sweep.records
    inputs = check_inputs(files, stored=stored_names(sweep.root, known))
    return store_inputs(sweep.root, inputs, known)


@pytest.mark.parametrize("linkage", ["copy", "shared"])
def test_one_copy_with_digest_mode_and_time(
    root: Path, mesh: Path, linkage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.chmod(0o750)
    os.utime(mesh, ns=(1_000_000_007, 1_000_000_007))
    opened: list[Any] = []
    real = os.open
    with monkeypatch.context() as patched:
        patched.setattr(
            os, "open", lambda path, *a, **k: opened.append(str(path)) or real(path, *a, **k)
        )
        [record] = Sweep(root, FileResource(mesh, linkage)).records
    assert opened.count(str(mesh)) == 1  # it is hashed while it is copied
    copy = stored(root, record)
    assert copy.read_bytes() == mesh.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o750
    assert copy.stat().st_mtime_ns == 1_000_000_007
    assert record == InputRecord(
        name="mesh.dat",
        linkage=linkage,
        path=str(mesh),
        kind="file",
        size=BIG,
        sha256=hashlib.sha256(mesh.read_bytes()).hexdigest(),
        stored=str(copy.relative_to(root)),
    )
    assert copy.is_relative_to(root / "shared")


def test_a_link_is_recorded_and_not_copied(root: Path, mesh: Path, tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    records = Sweep(root, FileResource(mesh, "link"), FileResource(data, "link")).records
    assert [(r.kind, r.size, r.mtime_ns, r.sha256, r.stored) for r in records] == [
        ("file", BIG, mesh.stat().st_mtime_ns, None, None),
        ("directory", 0, data.stat().st_mtime_ns, None, None),
    ]
    assert snapshot(root) == {}


def test_hostile_names(root: Path, tmp_path: Path) -> None:
    files = [tree_of(tmp_path / "in" / str(n)) / name for n, name in enumerate(HOSTILE)]
    for number, file in enumerate(files):
        file.write_text(str(number))
    sweep = Sweep(root, *files)
    assert [stored(root, r).read_text() for r in sweep.records] == list(map(str, range(len(files))))
    assert again(sweep, *files) == sweep.records


def test_files_of_a_set_stay_side_by_side(root: Path, tmp_path: Path) -> None:
    files = tree_of(tmp_path / "in", a="1", b="2")
    [a, b] = Sweep(root, FileResource(files / "a", rename="pkg/a"), files / "b").records
    assert stored(root, a).parent.parent == stored(root, b).parent


def test_a_copy_is_read_again_only_where_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"content" * 10_000)
    told = content.copy_and_digest(scan(str(source)), str(copy))
    with monkeypatch.context() as patched:
        patched.setattr(content, "sha256", None)
        assert content.digest(scan(str(copy))) == told
    when = copy.stat()
    copy.write_bytes(b"CONTENT" * 10_000)
    os.utime(copy, ns=(when.st_atime_ns, when.st_mtime_ns))
    assert content.digest(scan(str(copy))) != told


def test_the_digest_of_a_directory_tells_everything_that_matters(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return content.digest(scan(str(path)))

    data = tree_of(tmp_path / "data", x="1", sub__y="2")
    (data / "link").symlink_to("sub")
    same = tree_of(tmp_path / "other name", sub__y="2", x="1")
    (same / "link").symlink_to("sub")
    os.utime(same / "x", (1, 1))
    (same / "x").chmod(0o600)
    seen = {digest(data)}
    assert {digest(same)} == seen

    for change in (
        lambda: (data / "x").write_text("3"),
        lambda: (data / "x").chmod(0o755),
        lambda: (data / "x").rename(data / "z"),
        lambda: (data / "empty").mkdir(),
        lambda: (data / "empty").rmdir() or (data / "empty").touch(),
        lambda: (data / "link").unlink() or (data / "link").symlink_to("empty"),
        lambda: (data / "sub" / "y").rename(data / "y"),
    ):
        change()
        seen.add(digest(data))
    assert len(seen) == 8


def test_a_directory_is_copied_with_its_inner_links(root: Path, tmp_path: Path) -> None:
    outside = tree_of(tmp_path / "outside", o="out", deep__p="deep")
    data = tree_of(tmp_path / "data", sub__y="yy", x="xx", empty__gone="")
    (data / "empty" / "gone").unlink()
    (data / "x").chmod(0o755)
    (data / "inner").symlink_to("sub/y")
    (data / "sub" / "up").symlink_to("../x")
    (data / "to-dir").symlink_to("sub")
    (data / "self").symlink_to(".")
    (data / "absolute").symlink_to(data / "sub" / "y")
    (data / "detour").symlink_to("../data/x")
    (data / "out-file").symlink_to(outside / "o")
    (data / "out-dir").symlink_to("../outside")
    (outside / "back").symlink_to(data / "x")

    [record] = Sweep(root, data).records
    assert snapshot(stored(root, record)) == {
        "x": ("file", b"xx", True),
        "sub": ("directory",),
        "sub/y": ("file", b"yy", False),
        "sub/up": ("link", "../x"),
        "empty": ("directory",),
        "inner": ("link", "sub/y"),
        "to-dir": ("link", "sub"),
        "self": ("link", "."),
        "absolute": ("link", "sub/y"),
        "detour": ("link", "x"),
        "out-file": ("file", b"out", False),
        "out-dir": ("directory",),
        "out-dir/o": ("file", b"out", False),
        "out-dir/deep": ("directory",),
        "out-dir/deep/p": ("file", b"deep", False),
        "out-dir/back": ("link", "../x"),
    }
    assert record.kind == "directory"
    assert record.size == len("xx" + "yy" + "out" + "out" + "deep")
    # The copy is whole without the originals.
    remove(str(outside))
    remove(str(data))
    for path in stored(root, record).rglob("*"):
        assert path.exists()


def test_the_input_itself_may_be_a_link(root: Path, tmp_path: Path, mesh: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    (data / "inner").symlink_to("x")
    (tmp_path / "latest").symlink_to("data")
    (tmp_path / "latest.dat").symlink_to(mesh)
    [folder, file] = Sweep(root, tmp_path / "latest", tmp_path / "latest.dat").records
    assert snapshot(stored(root, folder))["inner"] == ("link", "x")
    assert stored(root, file).is_file()
    assert not stored(root, file).is_symlink()


def test_links_that_lead_in_a_circle(root: Path, tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    (data / "up").symlink_to("..")
    with pytest.raises(StagingError, match="circle"):
        check_inputs([data])


def test_read_only_directories_and_files(root: Path, tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", sub__y="1")
    (data / "sub" / "y").chmod(0o444)
    for path in (data / "sub", data):
        path.chmod(0o555)

    def work() -> None:
        sweep = Sweep(root, FileResource(data, "copy"))
        place = stored(root, sweep.records[0])
        assert place.stat().st_mode & 0o777 == 0o555
        assert (place / "sub").stat().st_mode & 0o777 == 0o555
        assert snapshot(place) == snapshot(data)
        home = sweep.stage()
        assert snapshot(home / "data") == snapshot(data)
        (home / "data").chmod(0o755)
        (home / "data" / "new").touch()
        (home / "data").chmod(0o555)
        sweep.stage(2)
        assert snapshot(home / "data") == snapshot(data)
        assert (home / ".multirun/attempts/1/data/new").exists()
        assert (home / ".multirun/attempts/1/data").stat().st_mode & 0o777 == 0o555

    as_plain_user(work)
    for place, _, _ in os.walk(tmp_path):  # so that pytest can remove them
        Path(place).chmod(0o755)


def test_permissions_beyond_the_usual_ones_are_dropped(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    (tmp_path / "tool").chmod(0o4755)
    [record] = Sweep(root, tmp_path / "tool").records
    assert stored(root, record).stat().st_mode & 0o7777 == 0o755


def test_the_same_inputs_again_use_the_same_copies(root: Path, mesh: Path, tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", x="1", sub__y="2")
    sweep = Sweep(root, mesh, FileResource(data, "copy"))
    inodes = {path: path.stat().st_ino for path in (root / "shared").rglob("*")}
    assert again(sweep, mesh, FileResource(data, "copy")) == sweep.records
    (tmp_path / "data" / "x").touch()  # another time of change, same content
    assert again(sweep, mesh, FileResource(data, "copy")) == sweep.records
    assert again(sweep, mesh) == sweep.records[:1]
    assert {path: path.stat().st_ino for path in (root / "shared").rglob("*")} == inodes


def test_each_file_is_read_once_when_a_sweep_is_resumed(
    root: Path, mesh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(root, mesh)
    opened: list[Any] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: opened.append(path) or real(path, *a, **k)
    )
    inputs = check_inputs([mesh])
    assert changes(inputs, sweep.records) == ([], [])
    assert store_inputs(root, inputs, sweep.records) == sweep.records
    assert opened == [str(mesh)]


def test_a_changed_input_is_stored_beside_the_old_one(
    root: Path, mesh: Path, tmp_path: Path
) -> None:
    helper = tmp_path / "helper.py"
    helper.write_text("help")
    sweep = Sweep(root, mesh, helper)
    old = sweep.stage() / "mesh.dat"
    before = old.read_bytes()
    mesh.write_bytes(b"new")
    [changed, same] = again(sweep, mesh, helper)
    assert old.read_bytes() == before
    assert stored(root, changed).read_bytes() == b"new"
    assert changed.sha256 == hashlib.sha256(b"new").hexdigest()
    # Programs look for modules beside the file that a link leads to; no second copy is made.
    assert stored(root, same).parent == stored(root, changed).parent
    assert stored(root, same).samefile(stored(root, sweep.records[1]))
    # What it was at first is found again.
    mesh.write_bytes(before)
    assert again(sweep, mesh, helper) == sweep.records


def test_a_change_that_keeps_size_and_time_is_seen(root: Path, mesh: Path) -> None:
    mesh.write_bytes(b"old")
    sweep = Sweep(root, mesh)
    time = mesh.stat().st_mtime_ns
    mesh.write_bytes(b"new")
    os.utime(mesh, ns=(time, time))
    assert len(changes(check_inputs([mesh]), sweep.records).differences) == 1
    [record] = again(sweep, mesh)
    assert stored(root, record).read_bytes() == b"new"


def test_a_file_that_became_executable_is_so_in_its_copy(root: Path, mesh: Path) -> None:
    sweep = Sweep(root, mesh)
    mesh.chmod(0o755)
    [record] = again(sweep, mesh)
    assert os.access(stored(root, record), os.X_OK)


def test_a_directory_that_was_a_file(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("file")
    sweep = Sweep(root, data)
    data.unlink()
    tree_of(data, x="1")
    assert "was a file" in changes(check_inputs([data]), sweep.records).differences[0]
    [record] = again(sweep, data)
    assert record.kind == "directory"
    nested = FileResource(data / "x", rename="data/x")
    [record] = again(sweep, nested)
    assert stored(root, record).read_text() == "1"
    assert stored(root, sweep.records[0]).read_text() == "file"


def test_a_damaged_copy_is_made_again(root: Path, mesh: Path) -> None:
    sweep = Sweep(root, mesh)
    os.truncate(stored(root, sweep.records[0]), 5)
    [record] = again(sweep, mesh)
    assert stored(root, record).read_bytes() == mesh.read_bytes()
    remove(str(stored(root, record)))
    [record] = again(sweep, mesh)
    assert stored(root, record).read_bytes() == mesh.read_bytes()


def test_an_original_that_is_gone(root: Path, mesh: Path, tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    sweep = Sweep(root, mesh, data)
    mesh.unlink()
    remove(str(data))
    inputs = check_inputs([mesh, data], stored=stored_names(root, sweep.records))
    found = changes(inputs, sweep.records)
    assert found.differences == []
    assert [str(mesh) in found.warnings[0], str(data) in found.warnings[1]] == [True, True]
    assert again(sweep, mesh, data) == sweep.records
    # Together with a new input, the copies that are there go into the new set.
    other = tree_of(tmp_path / "in", other="o") / "other"
    records = again(sweep, mesh, data, other)
    assert [record.sha256 for record in records[:2]] == [r.sha256 for r in sweep.records]
    assert stored(root, records[0]).stat().st_size == BIG
    assert [record.size for record in records] == [BIG, 1, 1]


def test_an_original_that_is_gone_with_a_damaged_copy(root: Path, mesh: Path) -> None:
    sweep = Sweep(root, mesh)
    mesh.unlink()
    stored(root, sweep.records[0]).write_bytes(b"damaged")
    with pytest.raises(StagingError, match="put the file back"):
        again(sweep, mesh)
    remove(str(stored(root, sweep.records[0])))
    with pytest.raises(StagingError, match="no such file"):
        again(sweep, mesh)


def test_changes_in_words(root: Path, mesh: Path, tmp_path: Path) -> None:
    files = tree_of(tmp_path / "in", a="1", b="2", c="3", d="4")
    sweep = Sweep(
        root,
        files / "a",
        files / "b",
        FileResource(files / "c", "link"),
        FileResource(files / "d", "link"),
        mesh,
    )
    same = [r.path for r in sweep.records[:2]]
    links = [FileResource(r.path, "link") for r in sweep.records[2:4]]
    assert changes(check_inputs([*same, *links, mesh]), sweep.records) == ([], [])

    mesh.write_bytes(b"new")
    (files / "c").write_text("longer")
    os.utime(files / "d", (1, 1))
    given = [FileResource(files / "a", "copy"), *links, mesh, FileResource(mesh, rename="extra")]
    found = changes(check_inputs(given), sweep.records)
    new = hashlib.sha256(b"new").hexdigest()[:12]
    old = str(sweep.records[4].sha256)[:12]
    assert found.differences == [
        "input 'a' had linkage 'shared' when the sweep began, now 'copy'",
        f"input 'c' ('{files}/c') has changed since the sweep began (1 bytes, now 6)",
        f"input 'd' ('{files}/d') has changed since the sweep began (time of change)",
        f"input 'mesh.dat' has changed since the sweep began (sha256 {old}…, now {new}…)",
        "input 'extra' was added",
        "input 'b' was removed",
    ]
    elsewhere = FileResource(files / "a", "link", "c")
    assert "was a link to" in changes(check_inputs([elsewhere]), sweep.records).differences[0]


def test_a_source_that_changes_while_it_is_copied(
    root: Path, mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tree_of(tmp_path / "data", x="1")
    real = content.write

    def change(path: Path, text: str) -> None:
        def write(fd: int, block: bytes) -> None:
            real(fd, block)
            path.write_text(text)

        monkeypatch.setattr(content, "write", write)

    for changed, source in ((mesh, mesh), (data / "y", data)):
        change(changed, "meanwhile")
        with pytest.raises(StagingError, match="changed while it was copied"):
            Sweep(root, source)
        assert [path.name for path in (root / "shared").iterdir()] == []


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(root: Path, mesh: Path) -> None:
    inputs = check_inputs([mesh])
    tree = scan(str(mesh))
    mesh.unlink()
    os.mkfifo(mesh)
    with pytest.raises(StagingError, match="no longer a file"):
        content.copy(tree, str(root / "x"))
    with pytest.raises(StagingError, match="neither"):
        store_inputs(root, inputs)


def test_leftovers_of_a_killed_driver_are_removed(root: Path, mesh: Path) -> None:
    left = tree_of(root / "shared" / ".multirun.part-0a1b2c3d", **{"mesh.dat": "half", "d__e": "x"})
    (left / "d").chmod(0o555)
    as_plain_user(lambda: again(Sweep(root, mesh), mesh) and None)
    assert parts_in(root) == []


@pytest.mark.parametrize("size", [0, 1, BIG])
@pytest.mark.parametrize("refuses", ["nothing", "clone", "both", "at once"])
def test_copies_are_whole_whatever_the_kernel_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, refuses: str
) -> None:
    import fcntl

    (tmp_path / "source").write_bytes(os.urandom(size))

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    if refuses != "nothing":
        monkeypatch.setattr(fcntl, "ioctl", refuse)
    if refuses == "both":
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    if refuses == "at once":  # it says that it is done, too early
        real = getattr(os, "copy_file_range", None)
        calls: list[int] = []

        def once(source: int, target: int, _count: int) -> int:
            calls.append(1)
            return 0 if len(calls) > 1 or real is None else real(source, target, 1000)

        monkeypatch.setattr(os, "copy_file_range", once, raising=False)
    content.copy(scan(str(tmp_path / "source")), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel copies on Linux only")
def test_a_file_system_that_can_is_asked_for_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Btrfs and XFS do, done by other means: they are rarely there to be tried."""
    import fcntl

    asked: list[int] = []

    def clone(target: int, request: int, source: int) -> int:
        asked.append(request)
        assert os.sendfile(target, source, 0, BIG) == BIG
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    monkeypatch.setattr(os, "copy_file_range", lambda *_: pytest.fail("it is cloned already"))
    data = os.urandom(BIG)
    (tmp_path / "source").write_bytes(data)
    content.copy(scan(str(tmp_path / "source")), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == data
    assert asked == [0x40049409]  # FICLONE in linux/fs.h


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel copies on Linux only")
@pytest.mark.parametrize("step", ["ioctl", "copy_file_range"])
def test_a_full_disk_is_no_reason_to_copy_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    import fcntl

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    (tmp_path / "source").write_text("x")
    monkeypatch.setattr(fcntl, "ioctl", full if step == "ioctl" else refuse)
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="full"):
        content.copy(scan(str(tmp_path / "source")), str(tmp_path / "copy"))


def test_hard_links_that_are_not_possible_become_copies(
    root: Path, mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not here")

    sweep = Sweep(root, mesh)
    monkeypatch.setattr(os, "link", refuse)
    other = tree_of(tmp_path / "in", other="o") / "other"
    [record, _] = again(sweep, mesh, other)
    assert stored(root, record).read_bytes() == mesh.read_bytes()
    assert not stored(root, record).samefile(stored(root, sweep.records[0]))


def test_a_file_too_large_for_the_disk(root: Path, mesh: Path) -> None:
    """The limit of setrlimit(2) on file sizes stands for a disk that is full."""
    import resource
    import signal

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        inputs = check_inputs([mesh])
        with pytest.raises(OSError, match="File too large"):
            store_inputs(root, inputs)
        assert list((root / "shared").iterdir()) == []
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        [record] = store_inputs(root, inputs)
        assert stored(root, record).read_bytes() == mesh.read_bytes()

    as_plain_user(work)


def test_a_directory_that_cannot_be_written(root: Path, mesh: Path) -> None:
    def work() -> None:
        root.chmod(0o555)
        with pytest.raises(PermissionError):
            store_inputs(root, check_inputs([mesh]))
        root.chmod(0o755)
        store_inputs(root, check_inputs([mesh]))

    as_plain_user(work)


def test_moving_what_cannot_be_moved_says_so(tmp_path: Path) -> None:
    tree_of(tmp_path / "closed", x="1")

    def work() -> None:
        (tmp_path / "closed").chmod(0o555)
        with pytest.raises(PermissionError):
            move(str(tmp_path / "closed" / "x"), str(tmp_path / "x"))
        (tmp_path / "closed").chmod(0o755)

    as_plain_user(work)
