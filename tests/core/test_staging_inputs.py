from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._staging.inputs import Input, check_inputs

from multirun_core import FileResource, StagingError

from .staging_help import HOSTILE, as_plain_user, components, snapshot, tree_of


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.dat"
    path.write_text("1 2 3")
    return path


def test_no_inputs() -> None:
    assert check_inputs(None) == []
    assert check_inputs([]) == []


def test_plain_paths_are_shared_under_their_own_name(mesh: Path) -> None:
    expected = Input("mesh.dat", mesh, "shared")
    assert check_inputs([str(mesh)]) == [expected]
    assert check_inputs(iter([mesh])) == [expected]
    assert check_inputs((FileResource(mesh),)) == [expected]


def test_relative_paths_are_made_absolute_and_links_are_not_resolved(
    tmp_path: Path, mesh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latest").symlink_to("mesh.dat")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert check_inputs(["../latest"]) == [Input("latest", tmp_path / "latest", "shared")]


def test_nothing_is_made_or_changed(tmp_path: Path, mesh: Path) -> None:
    tree_of(tmp_path / "data", x="1")
    before = snapshot(tmp_path)
    check_inputs([mesh, tmp_path / "data"])
    with pytest.raises(StagingError):
        check_inputs([mesh, mesh])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("linkage", ["copy", "shared", "link"])
def test_hostile_names_are_names(tmp_path: Path, name: str, linkage: Any) -> None:
    path = tmp_path / name
    path.write_text("x")
    assert check_inputs([FileResource(path, linkage)]) == [Input(name, path, linkage)]
    renamed = FileResource(path, linkage, f"{name}/{name}")
    assert [item.name for item in check_inputs([renamed])] == [f"{name}/{name}"]


@given(parts=st.lists(components, min_size=1, max_size=4))
def test_any_relative_path_is_a_name(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.touch()
    name = "/".join(parts)
    assert check_inputs([FileResource(path, rename=name)])[0].name == Path(name).as_posix()


@given(rename=st.text(max_size=30))
def test_any_text_is_a_name_inside_the_run_directory_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rename: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.touch()
    try:
        name = check_inputs([FileResource(path, rename=rename)])[0].name
    except StagingError:
        return
    home = "/a/b/c"
    assert os.path.normpath(f"{home}/{name}").startswith(f"{home}/")


@pytest.mark.parametrize(
    ("rename", "why"),
    [
        ("", "empty"),
        (".", "empty"),
        ("./", "empty"),
        ("..", "leave"),
        ("a/../../b", "leave"),
        ("a/..", "leave"),
        ("/etc/passwd", "absolute"),
        ("params.json", "for multirun"),
        ("./params.json", "for multirun"),
        ("params.json/x", "for multirun"),
        ("results.json", "for multirun"),
        ("results.pkl", "for multirun"),
        ("results.npz", "for multirun"),
        ("stdout.txt", "for multirun"),
        ("stderr.txt", "for multirun"),
        (".multirun", "for multirun"),
        (".multirun/attempts/1/x", "for multirun"),
        (".multirun.part-x", "for multirun"),
        ("nul\0", "NUL"),
        ("\ud800", "character"),
        ("x" * 256, "255 bytes"),
        (3, "text or a Path"),
    ],
)
def test_refused_names(mesh: Path, rename: Any, why: str) -> None:
    with pytest.raises(StagingError, match=why) as caught:
        check_inputs([FileResource(mesh, rename=rename)])
    assert "input_files[0]" in str(caught.value)


def test_own_names_are_free_in_sub_directories(mesh: Path) -> None:
    given = FileResource(mesh, rename="case/params.json")
    assert check_inputs([given])[0].name == "case/params.json"


def test_a_file_of_ours_cannot_be_given_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(StagingError, match="rename="):
        check_inputs([tmp_path / "params.json"])


@pytest.mark.parametrize("path", [".", "..", "/", "sub/.."])
def test_a_path_without_a_name_needs_one(path: str) -> None:
    with pytest.raises(StagingError, match="add rename="):
        check_inputs([path])


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="no such file") as caught:
        check_inputs([tmp_path / "absent"])
    assert str(tmp_path / "absent") in str(caught.value)


def test_dangling_link_and_circle(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(StagingError, match="link to 'gone', which does not exist"):
        check_inputs([tmp_path / "dangling"])
    with pytest.raises(StagingError, match="cannot be looked at"):
        check_inputs([tmp_path / "circle"])


def test_below_a_file(mesh: Path) -> None:
    with pytest.raises(StagingError, match="cannot be looked at"):
        check_inputs([mesh / "x"])


@pytest.mark.parametrize("linkage", ["copy", "shared", "link"])
def test_special_files(tmp_path: Path, linkage: Any) -> None:
    os.mkfifo(tmp_path / "fifo")
    # A socket's path is limited to some 100 characters, so it is bound from beside.
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)
        try:
            bound.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
    for path in (tmp_path / "fifo", tmp_path / "socket", Path("/dev/null")):
        with pytest.raises(StagingError, match="neither a file nor a directory"):
            check_inputs([FileResource(path, linkage)])


@pytest.mark.parametrize("linkage", ["copy", "shared", "link"])
def test_unreadable(tmp_path: Path, mesh: Path, linkage: Any) -> None:
    closed = tree_of(tmp_path / "closed", x="1")
    inner = tree_of(tmp_path / "inner", x="1")

    def work() -> None:
        mesh.chmod(0)
        closed.chmod(0o400)
        for path in (mesh, closed):
            with pytest.raises(StagingError, match="cannot be read"):
                check_inputs([FileResource(path, linkage)])
        (inner / "x").chmod(0)
        if linkage != "link":
            with pytest.raises(StagingError, match="cannot be read"):
                check_inputs([FileResource(inner, linkage)])

    try:
        as_plain_user(work)
    finally:
        closed.chmod(0o755)


def test_nul_and_unencodable_paths() -> None:
    for path in ("a\0b", "a\ud800b"):
        with pytest.raises(StagingError, match="no file name can hold"):
            check_inputs([FileResource(path, rename="x")])


@pytest.mark.parametrize("given", [3, None, b"bytes", ["nested"]])
def test_wrong_types(given: Any) -> None:
    with pytest.raises(StagingError, match=r"input_files\[0\]"):
        check_inputs([given])


@pytest.mark.parametrize("given", ["mesh.dat", Path("mesh.dat"), FileResource("mesh.dat")])
def test_one_input_that_is_no_list(given: Any) -> None:
    with pytest.raises(StagingError, match="must be a list"):
        check_inputs(given)


def test_a_changed_resource_is_checked_again(mesh: Path) -> None:
    resource = FileResource(mesh)
    resource.linkage = "hardlink"  # type: ignore[assignment]
    with pytest.raises(StagingError, match="hardlink"):
        check_inputs([resource])
    text = FileResource("other")
    text.path = str(mesh)  # type: ignore[assignment]
    assert check_inputs([text])[0].source == mesh


def test_two_inputs_with_one_name(tmp_path: Path, mesh: Path) -> None:
    other = tree_of(tmp_path / "other", **{"mesh.dat": "x"}) / "mesh.dat"
    with pytest.raises(StagingError, match=r"would both be 'mesh\.dat'") as caught:
        check_inputs([mesh, other])
    assert str(mesh) in str(caught.value)
    assert str(other) in str(caught.value)
    assert len(check_inputs([mesh, FileResource(other, rename="other.dat")])) == 2


def test_one_input_inside_another(tmp_path: Path, mesh: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    for name in ("data/x", "data/deep/er"):
        with pytest.raises(StagingError, match="would lie inside the input 'data'"):
            check_inputs([FileResource(mesh, rename=name), data])
    assert len(check_inputs([FileResource(mesh, rename="data.txt"), data])) == 2


def test_all_problems_are_named_at_once(tmp_path: Path, mesh: Path) -> None:
    with pytest.raises(StagingError) as caught:
        check_inputs(
            [mesh, tmp_path / "absent", FileResource(mesh, rename="../x"), FileResource(mesh)]
        )
    said = str(caught.value)
    assert "3 problems" in said
    assert "input_files[1]" in said
    assert "input_files[2]" in said
    assert "would both be" in said


def test_what_cannot_be_copied_in_a_directory_is_named(tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    os.mkfifo(data / "pipe")
    (data / "dangling").symlink_to("gone")
    for linkage in ("copy", "shared"):
        with pytest.raises(StagingError) as caught:
            check_inputs([FileResource(data, linkage)])
        assert str(data / "pipe") in str(caught.value)
        assert str(data / "dangling") in str(caught.value)
    assert len(check_inputs([FileResource(data, "link")])) == 1


def test_the_sweep_inside_an_input(tmp_path: Path) -> None:
    data = tree_of(tmp_path / "data", x="1")
    with pytest.raises(StagingError, match="lies inside it"):
        check_inputs([data], root=data / "study")
    with pytest.raises(StagingError, match="lies inside it"):
        check_inputs([data], root=data)
    assert check_inputs([FileResource(data, "link")], root=data / "study")
    assert check_inputs([data], root=tmp_path / "data-study")


def test_an_original_may_be_gone_where_the_sweep_holds_a_copy(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert check_inputs([gone], stored={"gone"}) == [Input("gone", gone, "shared")]
    with pytest.raises(StagingError):
        check_inputs([FileResource(gone, "link")], stored={"gone"})
