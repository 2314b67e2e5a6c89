"""Completion in real shells: bash, zsh and fish, as it is when Tab is hit."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sweeps import wait_until

STUDY = "my study; $HOME 'é'"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the program, a study of an odd name, and a file."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "multirun"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m multirun_core "$@"\n')
    program.chmod(0o755)
    (tmp_path / STUDY).mkdir()
    (tmp_path / "mystery.toml").touch()
    (tmp_path / "home").mkdir()
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    return {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "HOME": str(place / "home"),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
    }


def run(place: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_real_bash(place: Path) -> None:
    """Source the script in bash and call its function as bash does when Tab is hit."""
    script = """
        eval "$(multirun completion bash)"
        complete -p multirun
        function=$(complete -p multirun | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function multirun;
                echo "${COMPREPLY[*]}"; }
        tab multirun ru
        tab multirun run -r l
        tab multirun run --on-retry ''
    """
    first, *rest = run(place, "bash", "--norc", "-c", script).splitlines()
    assert "multirun" in first
    assert rest == ["run runners", "local", "restore keep"]


@pytest.fixture
def fish(place: Path) -> Callable[[str], dict[str, str]]:
    """Ask a real fish what it would offer for a line: words, with their help."""
    folder = place / "home" / ".config" / "fish" / "completions"
    folder.mkdir(parents=True)
    (folder / "multirun.fish").write_text(run(place, "multirun", "completion", "fish"))

    def offered(line: str) -> dict[str, str]:
        found = run(place, "fish", "--private", "-c", f"complete --do-complete={_fish(line)}")
        return {word: text for word, _, text in (one.partition("\t") for one in found.splitlines())}

    return offered


def test_a_real_fish(fish: Callable[[str], dict[str, str]]) -> None:
    commands = fish("multirun ru")
    assert set(commands) == {"run", "runners"}
    assert all(commands.values())
    assert list(fish("multirun run -r l")) == ["local"]
    assert list(fish("multirun run -r local -R max_p")) == ["max_parallel="]
    assert set(fish("multirun run --on-retry ")) == {"restore", "keep"}
    assert list(fish("multirun run --max-f")) == ["--max-failures"]
    assert list(fish("multirun status my")) == [f"{STUDY}/"]
    assert set(fish("multirun run my")) == {f"{STUDY}/", "mystery.toml"}


def _fish(text: str) -> str:
    """Quote for fish, whose rules are not those of sh."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Zsh:
    """A zsh on a terminal of its own, where Tab can be hit."""

    def __init__(self, place: Path, terminal: int) -> None:
        self.place = place
        self.terminal = terminal
        self.shown = b""

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def read(self, seconds: float = 0.05) -> None:
        while select.select([self.terminal], [], [], seconds)[0]:
            self.shown += os.read(self.terminal, 65536)

    def wait_for(self, path: Path) -> str:
        """Return a line that the shell has written to a file."""

        def there() -> bool:
            self.read()
            return path.exists() and path.read_text().endswith("\n")

        wait_until(there)
        text = path.read_text()
        path.unlink()
        return text[:-1]

    def do(self, line: str) -> None:
        self.type(f"{line}; print done >done.txt\n")
        assert self.wait_for(self.place / "done.txt") == "done"

    def tab(self, line: str) -> str:
        """Return what becomes of a line when Tab is hit at its end."""
        self.type(f"{line}\t\x18")
        return self.wait_for(self.place / "line.txt")

    def lists(self, line: str, *words: str) -> None:
        """Make sure that these words are listed below a line."""
        self.shown = b""
        self.type(f"{line}\x04")

        def there() -> bool:
            self.read()
            return all(word.encode() in self.shown for word in words)

        try:
            wait_until(there, 10)
        except AssertionError:
            pytest.fail(f"{words} are not listed, but: {self.shown!r}")
        self.type("\x18")
        self.wait_for(self.place / "line.txt")


@contextmanager
def zsh(place: Path) -> Iterator[Zsh]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment(place))  # noqa: S606 - on the terminal
    try:
        shell = Zsh(place, terminal)
        shell.do("PS1=; unsetopt beep; fpath+=~/.zfunc; autoload -U compinit; compinit -u")
        shell.do('show() { print -r -- "$BUFFER" >line.txt; BUFFER= }; zle -N show')
        shell.do("bindkey '^X' show")
        yield shell
    finally:
        os.close(terminal)  # which hangs up
        deadline = time.monotonic() + 20
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("way", ["eval", "fpath"])
def test_a_real_zsh(place: Path, way: str) -> None:
    """By `eval`, and as a function that is loaded when it is first needed."""
    if way == "fpath":
        folder = place / "home" / ".zfunc"
        folder.mkdir()
        (folder / "_multirun").write_text(run(place, "multirun", "completion", "zsh"))
    with zsh(place) as shell:
        if way == "eval":
            shell.do('eval "$(multirun completion zsh)"')
        assert shell.tab("multirun res") == "multirun resu"
        shell.lists("multirun resu", "results", "resume")
        assert shell.tab("multirun runn") == "multirun runners "
        assert shell.tab("multirun run -r l") == "multirun run -r local "
        assert shell.tab("multirun run --max-f") == "multirun run --max-failures "
        assert shell.tab("multirun run --on-retry re") == "multirun run --on-retry restore "
        assert shell.tab("multirun run -R max_p").startswith("multirun run -R max_parallel=")
        [study] = shlex.split(shell.tab("multirun status my").removeprefix("multirun status "))
        assert study == f"{STUDY}/"
        shell.lists("multirun run my", "mystery.toml")
