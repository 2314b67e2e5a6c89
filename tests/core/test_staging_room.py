from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from multirun_core._staging.room import check_room

from multirun_core import FileResource

from .staging_help import Sweep, tree_of

MIB = 1 << 20


class Disk:
    """What statvfs(3) says, as far as it is asked."""

    f_frsize = 4096

    def __init__(self, free: int, inodes: int = 10**9, all_inodes: int = 10**10) -> None:
        self.f_bavail = free // self.f_frsize
        self.f_favail = inodes
        self.f_files = all_inodes


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    def is_now(*values: int) -> None:
        monkeypatch.setattr(os, "statvfs", lambda _: Disk(*values))

    return is_now


@pytest.fixture
def big(tmp_path: Path) -> Path:
    (tmp_path / "big").write_bytes(bytes(MIB))
    return tmp_path / "big"


def test_the_real_disk_has_room_for_a_run(tmp_path: Path) -> None:
    assert check_room(tmp_path / "not" / "there yet", [], 1) == []


def test_no_disk_has_room_for_everything(tmp_path: Path) -> None:
    warnings = check_room(tmp_path, [], 10**15)
    assert warnings
    assert str(tmp_path) in warnings[0]


def test_bytes_of_runs_and_copies(tmp_path: Path, big: Path, disk: Any) -> None:
    for linkage, copies in (("link", 0), ("shared", 1), ("copy", 11)):
        sweep = Sweep(tmp_path / linkage, FileResource(big, linkage))  # type: ignore[arg-type]
        need = copies * MIB + 10 * 3 * 4096
        disk(need)
        assert check_room(sweep.root, sweep.inputs, 10) == []
        disk(need - 4096)
        [warning] = check_room(sweep.root, sweep.inputs, 10)
        assert "10 runs need some" in warning
        assert "output_path" in warning
        # What is stored already is not needed again.
        disk(need - MIB * (copies > 0))
        assert check_room(sweep.root, sweep.records, 10) == []


def test_inodes(tmp_path: Path, big: Path, disk: Any) -> None:
    data = tree_of(tmp_path / "data", x="1", y="2")
    given = [FileResource(big, "shared", "deep/big"), FileResource(data, "copy")]
    sweep = Sweep(tmp_path / "study", *given)
    need = 10 * (5 + 2 + 3) + 1 + 3
    disk(10**15, need)
    assert check_room(sweep.root, sweep.inputs, 10) == []
    disk(10**15, need - 1)
    [warning] = check_room(sweep.root, sweep.inputs, 10)
    assert f"{need} inodes" in warning
    assert f"{need - 1} are free" in warning


def test_a_file_system_that_does_not_tell_its_inodes(tmp_path: Path, disk: Any) -> None:
    disk(10**15, 0, 0)
    assert check_room(tmp_path, [], 10) == []


@pytest.mark.parametrize(("free", "said"), [(0, "0 bytes"), (8192, "8 KiB"), (3 * MIB, "3 MiB")])
def test_sizes_in_words(tmp_path: Path, disk: Any, free: int, said: str) -> None:
    disk(free)
    [warning] = check_room(tmp_path, [], 10**8)
    assert f"{said} are free" in warning
    assert "need some 1.118 TiB" in warning


def test_an_original_that_is_gone(tmp_path: Path, big: Path) -> None:
    sweep = Sweep(tmp_path / "study", big)
    big.unlink()
    assert check_room(sweep.root, sweep.inputs, 1) == []
