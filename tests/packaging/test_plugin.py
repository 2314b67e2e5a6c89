"""Plugins of other distributions, installed beside core in a clean environment: good and bad."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from .clean import PIP, ROOT, Environment, attempt, build_wheel, run, write_wheel

EXAMPLE = ROOT / "examples" / "runner_plugin"
SWEEP = """
from multirun_core import multirun
sweep = multirun(runs=[{"x": x} for x in range(3)], cmd=["python", "double.py"],
                 input_files=["double.py"], output_path=%r, runner=%r, progress=False)
print([(run.status, run.result) for run in sweep.runs])
"""
DOUBLE = """
from multirun_core import getRunParams, postRunResults
postRunResults({"y": 2 * getRunParams()["x"]})
"""
SWEPT = "[('success', {'y': 0}), ('success', {'y': 2}), ('success', {'y': 4})]\n"
HOOKS = """
from multirun_core.plugins import RunnerSpec, hookimpl

@hookimpl
def %s():
    return [RunnerSpec(%r, "multirun_core:ParallelLocalRunner", "A name")]
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(EXAMPLE, tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def together(core: Path, example: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install core, the kit and the example from their wheels, and Dask from the index."""
    environment = Environment(tmp_path_factory.mktemp("together"))
    environment.install(core, f"multirun-core[testing] @ {core.as_uri()}", f"{example}[test]")
    (environment.place / "double.py").write_text(DOUBLE)
    return environment


@contextmanager
def installed(
    environment: Environment, place: Path, *plugin: str, **modules: str
) -> Iterator[None]:
    """Have a distribution of a few lines installed for a while."""
    environment.install("--no-deps", write_wheel(place, *plugin, **modules))
    try:
        yield
    finally:
        environment.uninstall(plugin[0])


def listing(environment: Environment) -> Any:
    return json.loads(environment.multirun("runners", "--json"))


def names(environment: Environment) -> list[tuple[str, str]]:
    return [(one["name"], one["distribution"]) for one in listing(environment)["installed"]]


# A good one.


def test_it_is_listed_with_distribution_and_version(together: Environment) -> None:
    line = re.search(r"^dask +multirun-dask 0\.1\.0 +(.*)$", together.multirun("runners"), re.M)
    assert line is not None
    assert line[1] == "Run on a Dask cluster"
    assert listing(together)["failed_to_load"] == []


def test_its_options_are_told_and_checked(together: Environment) -> None:
    told = together.multirun("runners", "dask")
    assert "address (str | None), default None\n      the scheduler of a cluster" in told
    assert "workers (int), default 4" in told
    assert "timeout (float | str | None), default None" in told
    call = "from multirun_core import multirun\nmultirun(runs=[{}], cmd=['true'], runner='dask'"
    told = together.fails(f"{call}, runner_options={{'adress': 'tcp://a:1'}})")
    assert "runner 'dask' has no option 'adress'. Did you mean 'address'?" in told
    told = together.fails(f"{call}, runner_options={{'workers': 'many'}})")
    assert "'many' (str) is not of the type int" in told


def test_it_runs_a_sweep_by_name(together: Environment) -> None:
    assert together.execute(SWEEP % ("by name", "dask")) == SWEPT
    words = ("-r", "dask", "-R", "workers=2", "-i", "double.py", "-o", "by program", "-p", "x=1,2")
    together.multirun("run", *words, "--", "python", "double.py")
    table = together.multirun("results", "by program", "--format", "csv").splitlines()
    column = table[0].split(",").index("y")
    assert [line.split(",")[column] for line in table[1:]] == ["2", "4"]


def test_looking_for_it_imports_no_backend(together: Environment) -> None:
    code = (
        "import sys; from multirun_core._registry import Registry\n"
        "assert Registry().resolve('dask').summary\n"
        "assert not {'dask', 'distributed', 'multirun_dask.runner'} & set(sys.modules)\n"
    )
    together.execute(code)


@pytest.mark.timeout(1200)  # a hundred checks, each with clusters of its own
def test_it_is_conformant(together: Environment, tmp_path: Path) -> None:
    """By the kit, and with a cluster of processes."""
    words = ("-m", "pytest", "-q", "--rootdir", EXAMPLE, "-p", "no:cacheprovider", "--color=no")
    done = attempt(
        together.python,
        "-B",
        *words,
        EXAMPLE / "tests",
        cwd=tmp_path,
        seconds=1100,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    count = re.search(r"multirun conformance of TestDask: (\d+) checks", done.stdout)
    assert count is not None
    assert int(count[1]) >= 60


def test_uninstalled_it_is_an_unknown_name(together: Environment, example: Path) -> None:
    together.uninstall("multirun-dask")
    try:
        told = together.fails(SWEEP % ("gone", "dask"))
        assert "RunnerNotFoundError: no runner named 'dask'." in told
        assert "installed:      local (multirun-core" in told
        assert not (together.place / "gone").exists()
    finally:
        together.install("--no-deps", example)
    assert ("dask", "multirun-dask") in names(together)


# Bad ones.


BROKEN = ("acme-broken", "k8s = acme_broken")
MISSPELT = ("acme-misspelt", "slow = acme_misspelt")
CLASH = ("acme-clash", "dask = acme_clash")


def test_one_that_cannot_be_imported_disturbs_nobody(together: Environment, tmp_path: Path) -> None:
    with installed(together, tmp_path, *BROKEN, acme_broken="import kubernetes_of_acme\n"):
        (failure,) = listing(together)["failed_to_load"]
        assert (failure["distribution"], failure["version"]) == ("acme-broken", "9.9")
        assert failure["error"] == "ModuleNotFoundError: No module named 'kubernetes_of_acme'"
        assert re.search(
            r"^k8s +failed to load +ModuleNotFoundError", together.multirun("runners"), re.M
        )
        assert ("dask", "multirun-dask") in names(together)
        assert together.execute(SWEEP % ("beside broken", "dask")) == SWEPT
        told = together.fails(SWEEP % ("k8s", "k8s"))
        assert "failed to load: k8s (acme-broken 9.9): ModuleNotFoundError" in told


def test_a_misspelt_hook_is_told_and_disturbs_nobody(together: Environment, tmp_path: Path) -> None:
    code = HOOKS % ("multirun_register_runner", "slow")
    with installed(together, tmp_path, *MISSPELT, acme_misspelt=code):
        (failure,) = listing(together)["failed_to_load"]
        assert failure["distribution"] == "acme-misspelt"
        assert "multirun_register_runner" in failure["error"]
        assert "slow" not in dict(names(together))
        assert together.execute(SWEEP % ("beside misspelt", "dask")) == SWEPT


def test_two_of_a_name_are_an_error_when_that_is_used(
    together: Environment, tmp_path: Path
) -> None:
    code = HOOKS % ("multirun_register_runners", "dask")
    with installed(together, tmp_path, *CLASH, acme_clash=code):
        assert {"multirun-dask", "acme-clash"} <= {
            home for name, home in names(together) if name == "dask"
        }
        assert together.execute(SWEEP % ("beside a clash", "local")) == SWEPT
        told = together.fails(SWEEP % ("clash", "dask"))
        assert "RunnerConflictError: the runner name 'dask' is provided by " in told
        assert "multirun-dask 0.1.0" in told
        assert "acme-clash 9.9" in told
    assert together.execute(SWEEP % ("after the clash", "dask")) == SWEPT


def test_strict_makes_any_failure_fatal(together: Environment, tmp_path: Path) -> None:
    strict = {"MULTIRUN_STRICT_PLUGINS": "1"}
    assert together.execute(SWEEP % ("strict", "dask"), env=strict) == SWEPT
    with installed(together, tmp_path, *BROKEN, acme_broken="import kubernetes_of_acme\n"):
        told = together.fails(SWEEP % ("strict and broken", "dask"), env=strict)
        assert (
            "MULTIRUN_STRICT_PLUGINS is set, and a plugin cannot be loaded: k8s (acme-broken"
            in told
        )
        done = attempt(together.programs / "multirun", "runners", cwd=together.place, env=strict)
        assert done.returncode != 0
        assert together.execute(SWEEP % ("strict local", "local"), env=strict) == SWEPT


# An observer.


def test_an_observer_that_is_broken_is_told_and_disturbs_nobody(
    together: Environment, tmp_path: Path
) -> None:
    plugin = ("acme-deaf", "observer-deaf = acme_deaf")
    sweep = "from multirun_core import multirun\nmultirun(runs=[{}], cmd=['true'])"
    with installed(together, tmp_path, *plugin, acme_deaf=HOOKS % ("multirun_sweep_ended", "x")):
        assert together.execute(SWEEP % ("beside deaf", "local")) == SWEPT
        done = attempt(together.python, "-c", sweep, cwd=together.place)
        assert done.returncode == 0
        told = [line for line in done.stderr.splitlines() if "observer" in line]
        assert len(told) == 1
        assert "acme-deaf 9.9" in told[0]
        assert "multirun_sweep_ended" in told[0]
        told_strictly = together.fails(sweep, env={"MULTIRUN_STRICT_PLUGINS": "1"})
        assert "MULTIRUN_STRICT_PLUGINS is set" in told_strictly
        assert "acme-deaf" in told_strictly


def test_an_observer_that_is_installed_hears_of_every_sweep(
    together: Environment, tmp_path: Path
) -> None:
    posted: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    together.install("--no-deps", build_wheel(ROOT / "examples" / "observer", tmp_path))
    try:
        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}/"
            env = {"MULTIRUN_WEBHOOK": url, "no_proxy": "127.0.0.1"}
            assert together.execute(SWEEP % ("heard of", "local"), env=env) == SWEPT
            server.shutdown()
            thread.join()
    finally:
        together.uninstall("multirun-webhook")
    assert posted == [{"text": "heard of: 3 of 3 succeeded"}]
    run(together.python, *PIP, "check", cwd=together.place)
