"""The pages tell the truth: their code runs and prints what they show, and their links lead on."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from login_node import LoginNode
from slurm_cluster import SlurmCluster
from ssh_bed import SSHBed

import multirun_core
from multirun_core import (
    FileResource,
    ParallelLocalRunner,
    Run,
    RunStatistics,
    Sweep,
    errors,
    multirun,
)

from .pages import ROOT, anchors, blocks, links, pages

RUN_PAGE = Path(__file__).with_name("run_page.py")
REFERENCE = ROOT / "docs" / "reference"
RUN_LANGUAGES = {"python", "console"}

SLURM, SSH = "slurm.md", "ssh.md"
RUN_PAGES = [
    page for page in pages() if any(block.language in RUN_LANGUAGES for block in blocks(page))
]

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def run_page(
    page: Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 55
) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-W", "error", RUN_PAGE, page],
        cwd=cwd,
        env={**os.environ, "PATH": path, "COLUMNS": "200", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def check_page(
    page: Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 55
) -> None:
    done = run_page(page, cwd, env, timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "page",
    [page for page in RUN_PAGES if page.name not in (SLURM, SSH)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    check_page(page, tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [page for page in RUN_PAGES if page.name == SLURM],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_about_slurm_runs(
    page: Path, tmp_path: Path, slurm: SlurmCluster, login_node: LoginNode
) -> None:
    """Its login node is called `cluster` in the user's own configuration."""
    settings = tmp_path / "home" / ".ssh"
    settings.mkdir(parents=True)
    (settings / "config").write_text(login_node.bed.ssh_config.read_text())
    work = tmp_path / "work"
    work.mkdir()
    env = {"SLURM_CONF": str(slurm.conf), "HOME": str(tmp_path / "home")}
    check_page(page, work, env, timeout=250)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [page for page in RUN_PAGES if page.name == SSH],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_about_ssh_runs(page: Path, tmp_path: Path, bed: SSHBed) -> None:
    """Its hosts are those of the bed, which the user's own configuration names."""
    settings = tmp_path / "home" / ".ssh"
    settings.mkdir(parents=True)
    (settings / "config").write_text(bed.ssh_config.read_text())
    work = tmp_path / "work"
    work.mkdir()
    check_page(page, work, {"HOME": str(tmp_path / "home")}, timeout=250)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```python\n1 / 0\n```\n", 'page.md", line 2'),
        ("```console\n$ true; false\n```\n", "ended with 1, not 0"),
        ("```console\n$ echo one two\none  three\n```\n", "but it prints"),
        ("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n", "but it prints"),
    ],
)
def test_a_page_that_is_wrong_fails(text: str, told: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    done = run_page(page, tmp_path)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: a.txt -->\n```text\nhello\n```\n\n```python\nx = open('a.txt').read()\n```\n"
        "in between\n```python\nprint(x)\n```\n<!-- output -->\n```text\nh…o\n```\n"
        "<!-- not run: it is wrong -->\n```python\n1 / 0\n```\n"
        "<!-- exit: 3 -->\n```console\n$ echo one; echo two; \\\n  echo 3\none\n…\n$ exit 3\n```\n"
    )
    done = run_page(page, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@each_page
def test_blocks_name_their_language_and_reasons(page: Path) -> None:
    for block in blocks(page):
        assert block.language, f"{page}:{block.line}: say which language it is, `text` for none"
        assert block.kind != "not run" or block.value, f"{page}:{block.line}: say why"
        if block.language == "toml":
            assert block.kind, f"{page}:{block.line}: write it to a file that is read, or say why"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}; there are {anchors(target)}"


def test_the_index_names_every_page() -> None:
    docs = ROOT / "docs"
    named = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "README.md")}
    assert set(docs.rglob("*.md")) - {docs / "README.md"} <= named


def test_the_reference_names_every_public_name() -> None:
    text = (REFERENCE / "api.md").read_text() + (REFERENCE / "errors.md").read_text()
    missing = [name for name in multirun_core.__all__ if f"`{name}" not in text]
    assert not missing


def test_the_reference_names_every_argument_and_attribute() -> None:
    text = (REFERENCE / "api.md").read_text()
    functions = (multirun, ParallelLocalRunner, FileResource, Sweep.open)
    names = {name for function in functions for name in inspect.signature(function).parameters}
    classes = (Run, Sweep, RunStatistics)
    names |= {name for kind in classes for name in dir(kind) if not name.startswith("_")}
    hidden = {"restore", "take", "amend", "inline_result", "keeper", "observer", "of", "open"}
    missing = [name for name in names - hidden if not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_the_reference_names_every_event_of_the_journal() -> None:
    text = (REFERENCE / "run-directory.md").read_text()
    sources = ROOT / "multirun_core" / "src" / "multirun_core" / "_sweep"
    code = "".join(path.read_text() for path in sources.glob("*.py"))
    events = set(re.findall(r'(?:"event": |\.event\()"(\w+)"', code))
    assert {"driver", "run", "end"} <= events
    assert not [event for event in events if f"| `{event}` |" not in text]


def test_the_reference_names_every_error_with_its_parent() -> None:
    text = (REFERENCE / "errors.md").read_text()
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.MultirunError):
            row = re.search(rf"^\| `{error.__name__}` \| (.*?) \|", text, re.MULTILINE)
            assert row, error.__name__
            parents = {base.__name__ for base in error.__bases__} - {"Exception"}
            assert set(re.findall(r"`(\w+)`", row[1])) == parents, error.__name__


def test_the_reference_names_every_command_and_option() -> None:
    text = (REFERENCE / "cli.md").read_text()
    from multirun_core._cli.program import COMMANDS, program

    missing = [name for name in COMMANDS if f"## multirun {name}\n" not in text]
    for name in COMMANDS:
        command = program.get_command(click.Context(program), name)
        assert command is not None
        missing += [
            f"{name}: {option}"
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-") and not re.search(rf"`{option}[ `]", text)
        ]
    assert not missing
