"""The pages for authors of plugins name all that there is."""

from __future__ import annotations

import inspect
import re

from multirun_core.testing import (
    Declared,
    DeclaredScheduler,
    RunnerConformance,
    SchedulerConformance,
)

from multirun_core import AbstractRunner, ExitStatus, TaskRunner, plugins

from .kit_list import BEGIN, END, PAGE, listing
from .pages import ROOT

CONTRACT = (ROOT / "docs" / "plugins" / "contract.md").read_text()


def kit_checks(kit: type = RunnerConformance) -> set[str]:
    return {name for name in dir(kit) if name.startswith("test_")}


def test_the_list_of_checks_is_that_of_the_kit() -> None:
    listed = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert listed == listing(), "run tests/docs/kit_list.py"
    names = re.findall(r"^- ([^(\n]+?)(?: \(`.*)?$", listed, re.MULTILINE)
    found = ["test_" + name.replace(" ", "_") for name in names]
    assert sorted(found) == sorted([*kit_checks(), *kit_checks(SchedulerConformance)])
    assert len(kit_checks()) > 100, "the page says so"
    assert len(kit_checks(SchedulerConformance)) > 30, "the page says so"


def test_the_page_about_the_kit_names_what_an_author_declares() -> None:
    text = PAGE.read_text()
    runners, queues = text.split("\n## Queue systems\n")
    for kind, part in ((Declared, runners), (DeclaredScheduler, queues)):
        declared = [name for name in inspect.get_annotations(kind) if not name.startswith("_")]
        assert {"slots_option", "can_submit"} & set(declared)
        assert not [name for name in (*declared, "time_scale") if f"| `{name}` |" not in part]
    defaults = r"^\| `(\w+)` \| `(True|None|1\.0|2000|\"\w+\"|\(\)|\{\})`"
    for name, default in re.findall(defaults, text, re.MULTILINE):
        value = getattr(Declared if hasattr(Declared, name) else DeclaredScheduler, name)
        assert repr(value).replace("'", '"') == default, name


def test_the_contract_names_every_hook_with_its_arguments() -> None:
    hooks = [name for name in plugins.__all__ if name.startswith("multirun_")]
    for name in hooks:
        arguments = ", ".join(inspect.signature(getattr(plugins, name)).parameters)
        assert f"| `{name}({arguments})` |" in CONTRACT
    assert {f"`{name}`" for name in ("CONTRACT", "RunnerSpec")} <= set(
        re.findall(r"`\w+`", CONTRACT)
    )


def test_the_contract_names_what_authors_may_rely_on() -> None:
    # What a sweep calls, not an author.
    inner = {"submit", "reserve", "ready", "release", "cancel_all", "recall"}
    members = {name for name in vars(TaskRunner) if not name.startswith("_")} - inner
    members |= {name for name in vars(AbstractRunner) if not name.startswith("_")}
    assert not [name for name in sorted(members) if not re.search(rf"\b{name}\b", CONTRACT)]
    about = (ExitStatus.__doc__ or "").partition("reason:")[2].partition("message:")[0]
    reasons = re.findall(r'"(\w+)"', about)
    assert reasons
    assert not [name for name in reasons if f"`{name}`" not in CONTRACT]
