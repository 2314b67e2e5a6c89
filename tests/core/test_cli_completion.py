"""Completion: what shells are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import call
from multirun_core._cli.program import COMMANDS


def offered(line: str, tmp_path: Path, shell: str = "zsh") -> list[str]:
    """Return what is offered for the last word of a line: kind, word, help."""
    words = line.split(" ")
    env = {"_MULTIRUN_COMPLETE": f"{shell}_complete"}
    if shell == "fish":
        env |= {"COMP_WORDS": line, "COMP_CWORD": words[-1]}
    else:
        env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = call(cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert done.stderr == ""
    return done.stdout.splitlines()


def words(line: str, tmp_path: Path) -> list[str]:
    return offered(line, tmp_path)[1::3]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, tmp_path: Path) -> None:
    done = call("completion", shell, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_MULTIRUN_COMPLETE={shell}_complete" in done.stdout
    assert "multirun" in done.stdout
    if shell != "fish":
        assert offered("multirun res", tmp_path, shell)


def test_an_unknown_shell(tmp_path: Path) -> None:
    done = call("completion", "csh", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'csh'" in done.stderr


def test_commands_and_options(tmp_path: Path) -> None:
    assert words("multirun ", tmp_path) == sorted(COMMANDS, key=list(COMMANDS).index)
    assert words("multirun res", tmp_path) == ["results", "resume"]
    assert words("multirun run --max", tmp_path) == ["--max-failures"]
    assert words("multirun run --keep ", tmp_path) == ["all", "failed", "results"]
    assert words("multirun results st --format c", tmp_path) == ["csv"]
    assert words("multirun run sweep.toml --prof", tmp_path) == ["--profile"]
    assert words("multirun nonsense --", tmp_path) == words("multirun --", tmp_path)


def test_runners_and_their_options(tmp_path: Path) -> None:
    assert words("multirun run -r lo", tmp_path) == ["local"]
    assert "max_parallel=" in words("multirun run -R ", tmp_path)
    assert words("multirun run -r local -R max_p", tmp_path) == ["max_parallel="]
    assert words("multirun run -R max_parallel=", tmp_path) == ["max_parallel=auto"]
    assert words("multirun run -R pin=f", tmp_path) == ["pin=false"]
    assert words("multirun run -R nothing=", tmp_path) == []
    assert words("multirun run -r nothing -R ", tmp_path) == []
    assert words("multirun runners lo", tmp_path) == ["local"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("multirun status ", "dir"), ("multirun results ", "dir"), ("multirun resume ", "dir"),
        ("multirun cancel ", "dir"), ("multirun logs ", "dir"), ("multirun clean ", "dir"),
        ("multirun run -o ", "dir"), ("multirun run -i ", "file"), ("multirun run --runs ", "file"),
        ("multirun run ", "file"), ("multirun run -p a=1 -- ", "file"), ("multirun init ", "file"),
        ("multirun demo -o ", "dir"),
    ],
)  # fmt: skip
def test_files_and_directories_are_left_to_the_shell(line: str, kind: str, tmp_path: Path) -> None:
    assert offered(line, tmp_path)[0] == kind
