from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from multirun_core._registry import LOCAL, Registry, may_be_named
from multirun_core._runners import plugin as own_plugin
from multirun_core._runners.local import ParallelLocalRunner
from multirun_core.errors import (
    MultirunError,
    RunnerConflictError,
    RunnerError,
    RunnerNotFoundError,
    RunnerOptionError,
    RunnerUnavailableError,
)
from multirun_core.plugins import RunnerSpec, hookimpl
from registry_tools import FakeEntryPoint, Simple, plugin, registry, simple


def test_local_touches_no_entry_point() -> None:
    def explode() -> list[Any]:
        raise AssertionError

    found = Registry(explode)
    assert found.resolve("local") == LOCAL
    runner = found.create("local", {"max_parallel": 2})
    assert isinstance(runner, ParallelLocalRunner)


def test_local_imports_neither_pluggy_nor_metadata() -> None:
    program = (
        "import sys; from multirun_core._registry import Registry; "
        "Registry().create('local', {}); "
        "print(sorted({'pluggy', 'importlib.metadata', 'rich', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_plugin_is_found_and_loaded_once() -> None:
    point = FakeEntryPoint("p", plugin(simple()))
    found = registry(point)
    assert point.loaded == []
    assert found.resolve("simple") == simple()
    assert found.resolve("simple") == simple()
    assert point.loaded == ["p"]
    made = found.create("simple", {"hosts": ["a"], "depth": 3})
    assert isinstance(made, Simple)
    assert made.options == {"hosts": ["a"], "depth": 3, "note": None}
    assert [str(one.provider) for one in found.installed()][1:] == ["acme 1.2"]


def test_the_hook_may_be_a_generator_in_a_module() -> None:
    module = ModuleType("acme_plugin")

    @hookimpl
    def multirun_register_runners() -> Iterator[RunnerSpec]:
        yield simple("one")
        yield simple("two")

    module.multirun_register_runners = multirun_register_runners  # type: ignore[attr-defined]
    found = registry(FakeEntryPoint("p", module))
    assert [one.spec.name for one in found.installed()] == ["local", "one", "two"]


def test_a_broken_plugin_costs_the_others_nothing() -> None:
    def lazy_failure() -> Iterator[RunnerSpec]:
        yield simple("half")
        raise RuntimeError("in the\nmiddle")

    class Failing:
        multirun_register_runners = staticmethod(hookimpl(lazy_failure))

    found = registry(
        FakeEntryPoint("k8s", ModuleNotFoundError("No module named 'kubernetes'"), "acme-k8s"),
        FakeEntryPoint("exits", SystemExit(3)),
        FakeEntryPoint("failing", Failing()),
        FakeEntryPoint("good", plugin(simple())),
    )
    assert found.resolve("simple").summary == "Does nothing"
    assert [(one.provider.entry_point, one.why) for one in found.failures()] == [
        ("k8s", "ModuleNotFoundError: No module named 'kubernetes'"),
        ("exits", "SystemExit: 3"),
        ("failing", "RuntimeError: in the middle"),
    ]


def test_ctrl_c_during_loading_is_no_failure_of_a_plugin() -> None:
    with pytest.raises(KeyboardInterrupt):
        registry(FakeEntryPoint("p", KeyboardInterrupt())).installed()


def test_a_misspelt_hook_is_that_plugins_failure() -> None:
    class Misspelt:
        @hookimpl
        def multirun_register_runner(self) -> list[RunnerSpec]:
            return [simple("never")]

    class WrongArguments:
        @hookimpl
        def multirun_run_changed(self, sweep: Any, job: Any) -> None: ...

    found = registry(
        FakeEntryPoint("bad", Misspelt()),
        FakeEntryPoint("worse", WrongArguments()),
        FakeEntryPoint("good", plugin(simple())),
    )
    assert found.resolve("simple")
    assert [one.provider.entry_point for one in found.failures()] == ["bad", "worse"]
    assert "multirun_register_runner" in found.failures()[0].why


def test_two_entry_points_of_one_name_are_both_loaded() -> None:
    found = registry(
        FakeEntryPoint("p", plugin(simple("one")), "acme"),
        FakeEntryPoint("p", plugin(simple("two")), "emca"),
    )
    assert [one.spec.name for one in found.installed()] == ["local", "one", "two"]


@pytest.mark.parametrize("name", ["", "Simple", "1st", "a b", "é", "a\n", "-x"])
def test_a_name_must_be_usable(name: str) -> None:
    found = registry(FakeEntryPoint("p", plugin(simple(name), simple("fine"))))
    assert [one.spec.name for one in found.installed()] == ["local", "fine"]
    assert "must match" in found.failures()[0].why


def test_what_is_no_spec_is_said() -> None:
    found = registry(FakeEntryPoint("p", plugin("simple")))
    assert "no RunnerSpec" in found.failures()[0].why


def test_a_clash_matters_only_to_who_asks_for_that_name() -> None:
    found = registry(
        FakeEntryPoint("a", plugin(simple("twice"), simple("once")), "acme"),
        FakeEntryPoint("b", plugin(simple("twice")), "emca"),
    )
    assert found.resolve("once")
    with pytest.raises(RunnerConflictError, match=r"'twice' is provided by acme 1.2 and emca 1.2"):
        found.resolve("twice")


def test_local_cannot_be_replaced() -> None:
    found = registry(
        FakeEntryPoint("local", own_plugin, "multirun-core"),
        FakeEntryPoint("p", plugin(simple("local")), "evil"),
    )
    assert found.resolve("local") == LOCAL
    assert [one.spec for one in found.installed()] == [LOCAL]
    assert "belongs to multirun-core" in found.failures()[0].why


def test_message_for_an_unknown_name() -> None:
    found = registry(
        FakeEntryPoint("k8s", ModuleNotFoundError("No module named 'kubernetes'"), "acme-k8s"),
        FakeEntryPoint("p", plugin(simple("ssh")), "multirun-ssh"),
    )
    with pytest.raises(RunnerNotFoundError) as caught:
        found.resolve("slrum")
    lines = str(caught.value).splitlines()
    assert lines[0] == "no runner named 'slrum'. Did you mean 'slurm'?"
    assert lines[1].startswith("  installed:      local (multirun-core ")
    assert lines[1].endswith("), ssh (multirun-ssh 1.2)")
    assert lines[2] == "  not installed:  slurm: pip install multirun-slurm"
    assert lines[3] == (
        "  failed to load: k8s (acme-k8s 1.2): ModuleNotFoundError: No module named 'kubernetes'"
    )
    assert not isinstance(caught.value, KeyError)


def test_a_factory_that_cannot_be_imported_names_distribution_and_module() -> None:
    found = registry(
        FakeEntryPoint(
            "p",
            plugin(
                simple("gone", "no_such_module_anywhere:Runner"),
                simple("nameless", "registry_tools:Nothing"),
                simple("odd", "registry_tools"),
            ),
        )
    )
    for name, why in (
        ("gone", "No module named 'no_such_module_anywhere'"),
        ("nameless", "Nothing"),
        ("odd", "package.module:Class"),
    ):
        assert found.resolve(name)
        with pytest.raises(RunnerUnavailableError, match=r"acme 1\.2") as caught:
            found.create(name, {})
        assert why in str(caught.value)
        assert caught.value.__cause__ is not None


def test_a_dotted_factory_is_imported_late() -> None:
    found = registry(FakeEntryPoint("p", plugin(simple("s", "registry_tools:Simple"))))
    assert isinstance(found.create("s", {"hosts": []}), Simple)


def test_a_factory_that_makes_no_runner() -> None:
    found = registry(FakeEntryPoint("p", plugin(simple("s", lambda: 3))))
    with pytest.raises(RunnerError, match="returned int"):
        found.create("s", {})


def test_strict_makes_failures_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    points = FakeEntryPoint("bad", OSError("x")), FakeEntryPoint("good", plugin(simple()))
    assert registry(*points).resolve("simple")
    monkeypatch.setenv("MULTIRUN_STRICT_PLUGINS", "1")
    with pytest.raises(RunnerUnavailableError, match=r"bad \(acme 1\.2\): OSError: x"):
        registry(*points).resolve("simple")
    assert registry(*points).resolve("local")


def test_options_are_checked_before_anything_is_made() -> None:
    found = registry(FakeEntryPoint("p", plugin(simple())))
    for options, said in (
        ({"hosts": ["a"], "deep": 3}, "no option 'deep'. Did you mean 'depth'"),
        ({"hosts": "a"}, "'a' .str. is not of the type list.str."),
        ({"hosts": ["a"], "depth": 1.5}, "1.5 .float. is not of the type int"),
        ({}, "needs the option 'hosts'"),
    ):
        with pytest.raises(RunnerOptionError, match=said) as caught:
            found.create("simple", options)
        assert "hosts: list[str], depth: int = 1" in str(caught.value)
        assert isinstance(caught.value, MultirunError)


def test_the_installed_entry_points_hold_our_own() -> None:
    found = Registry()
    assert found.installed()[0].spec == LOCAL
    assert not [one for one in found.failures() if one.provider.distribution == "multirun-core"]
    assert own_plugin.multirun_register_runners() == [LOCAL]


@pytest.mark.parametrize("found_in", ["dist-info", "egg-info", "egg", "zip", "finder"])
def test_an_observer_is_not_overlooked_wherever_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found_in: str
) -> None:
    unread = ["/" + "x" * 300, "nul\0", str(tmp_path / "gone")]
    monkeypatch.setattr(sys, "path", [*unread, str(tmp_path), ""])
    monkeypatch.chdir(tmp_path)
    plain = tmp_path / "plain-1.dist-info"
    plain.mkdir()
    (plain / "entry_points.txt").write_text("[multirun]\nrunner = plain\n")
    (tmp_path / "old-1.egg-info").write_text("Metadata-Version: 1.0\n")
    (tmp_path / "bare-1.dist-info").mkdir()
    assert not may_be_named("observer")
    if found_in.endswith("-info"):
        folder = tmp_path / f"watching-1.{found_in}"
        folder.mkdir()
        (folder / "entry_points.txt").write_text("[multirun]\nobserver_of_mine = watching\n")
    elif found_in == "egg":
        (tmp_path / "watching-1.egg").mkdir()
    elif found_in == "zip":
        (tmp_path / "all.zip").write_bytes(b"")
        sys.path.append(str(tmp_path / "all.zip"))
    else:
        finder = SimpleNamespace(find_distributions=lambda _: [], find_spec=lambda *_: None)
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert may_be_named("observer")


def test_observers_can_be_called() -> None:
    seen: list[Any] = []

    class Observer:
        @hookimpl
        def multirun_run_changed(self, run: Any, previous: str) -> None:
            seen.append((run, previous))

        @hookimpl
        def multirun_sweep_finished(self, sweep: Any) -> None:
            seen.append(sweep)

    hook = registry(FakeEntryPoint("p", Observer())).plugins.hook
    hook.multirun_run_changed(sweep="s", run="r", previous="pending")
    hook.multirun_sweep_finished(sweep="s")
    assert seen == [("r", "pending"), "s"]
