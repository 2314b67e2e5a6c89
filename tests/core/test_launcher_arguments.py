"""What the launcher is told: everything as the system has it, however it is put together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multirun_core._runners.launcher.arguments import order

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)  # NUL among them


@given(st.lists(WORDS, max_size=4), WORDS, WORDS, WORDS, st.dictionaries(WORDS, WORDS, max_size=4))
def test_every_word_arrives_as_it_was(
    argv: list[str], cwd: str, stdout: str, stderr: str, env: dict[str, str]
) -> None:
    told = order(argv, "/" + cwd, env, "/" + stdout, "/" + stderr, None, 5)
    assert told == (
        [word.encode() for word in argv],
        b"/" + cwd.encode(),
        {name.encode(): value.encode() for name, value in env.items()},
        b"/" + stdout.encode(),
        b"/" + stderr.encode(),
        None,
        5.0,
    )


def test_paths_and_bytes_that_are_no_text_are_taken(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    words: list[Any] = [tmp_path, odd]
    told = order(words, tmp_path, {odd: odd}, "/out", "/err", 1, 0)
    assert told[:3] == ([os.fsencode(tmp_path), b"\xff"], os.fsencode(tmp_path), {b"\xff": b"\xff"})
    assert told[5:] == (1.0, 0.0)


def test_relative_paths_are_those_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = order(["true"], "a/../b", {}, "out", "err", None, 0)
    here = os.fsencode(tmp_path)
    assert (told[1], told[3], told[4]) == (here + b"/a/../b", here + b"/out", here + b"/err")
