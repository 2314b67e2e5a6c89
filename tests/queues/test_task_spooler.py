"""A second real queue system: task-spooler, by the code that the page about queue systems shows."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import guardian
import pytest
from multirun_core.testing import RunnerConformance, SchedulerConformance
from multirun_core.testing.promises import required_by

ROOT = Path(__file__).parents[2]


def tsp(*argv: str) -> str:
    done = subprocess.run(["tsp", *argv], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def spooler(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return the module of the page."""
    pages = load("pages_of_docs", ROOT / "tests" / "docs" / "pages.py")
    page = pages.blocks(ROOT / "docs" / "plugins" / "queue-system.md")
    (code,) = (block.code for block in page if block.value == "multirun_tsp.py")
    path = tmp_path_factory.mktemp("page") / "multirun_tsp.py"
    path.write_text(code)
    assert len(code.splitlines()) <= 100
    return load("multirun_tsp", path)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the directory of a server of one's own, with four slots; end all of it afterwards."""
    # The name of a socket is short: no directory of pytest's.
    home = Path(tempfile.mkdtemp(prefix="multirun-tsp-", dir="/tmp"))
    monkeypatch.setenv("TS_SOCKET", f"{home}/socket")
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setenv("TS_SLOTS", "4")
    # The server becomes of the first call, and keeps its arguments: not to be taken for a run's.
    tsp("-l")
    yield home
    monkeypatch.undo()
    assert not guardian.end(home)
    shutil.rmtree(home)


@pytest.mark.long
class TestTaskSpooler(RunnerConformance):
    slots_option: ClassVar[str | None] = "max_jobs"
    time_scale: ClassVar[float] = 2.0
    many: ClassVar[int] = 100
    # The wrapper, a shell script, cannot tell a run's memory.
    measures_usage: ClassVar[bool] = False
    # Each job is a process of tsp's, which is not in the driver's mounts.
    sees_private_mounts: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _own_queue(self, queue: Path, spooler: ModuleType) -> None:
        self.source = str(spooler.__file__)

    def make_runner(self, **options: Any) -> Any:
        # Drivers are processes of their own, for some checks.
        spooler = sys.modules.get("multirun_tsp") or load("multirun_tsp", Path(self.source))
        fast = {"poll_interval": (0.2, 1.0), "record_grace": 1.0, "retry_delay": 0.05}
        return spooler.TaskSpoolerRunner(**(fast | options))


HEADER = "ID   State      Output               E-Level  Times(r/u/s)   Command [run=1/4]\n"
LIST = HEADER + (
    "4    running    /tmp/ts-out.uC6QmE                           [multirun-0a1b2c]sh /s/script\n"
    "12   queued     (file)                                       [multirun-0a1b2c3]sh /t/script\n"
    "7    queued     (file)                                       sleep 300\n"
    "3    finished   /tmp/ts-out.mkx6pK   0        0.00/0.00/0.00 [multirun-3c4d]sh /u/script\n"
    "5    skipped    (no output)                                  [multirun-9f]sh /v/script\n"
)


class TestScheduler(SchedulerConformance):
    printed_by_submit: ClassVar = {"4\n": "4", "1234\n": "1234"}
    printed_by_status: ClassVar = {
        HEADER: {},
        LIST: {"4": "running", "12": "waiting", "3": "ended", "5": "ended"},
    }
    printed_by_find: ClassVar = {
        LIST: {"multirun-0a1b2c": ["4"], "multirun-0a1b2c3": ["12"], "multirun-9f": ["5"]}
    }

    @pytest.fixture(autouse=True)
    def _own_queue(self, request: pytest.FixtureRequest, spooler: ModuleType) -> None:
        self.spooler = spooler
        if "can_submit" in required_by(request.function):
            request.getfixturevalue("queue")

    def make_scheduler(self) -> Any:
        return self.spooler.TaskSpooler()


def test_the_real_list_is_read(queue: Path, spooler: ModuleType) -> None:
    scheduler = spooler.TaskSpooler()
    assert scheduler.states(tsp("-l")) == {}
    command = ("-N", "4", "-L")
    running = scheduler.job_id(tsp(*command, "multirun-a", "sleep", "300"))
    waiting = scheduler.job_id(tsp(*command, "multirun-b", "sleep", "300"))
    tsp("sleep", "300")  # somebody else's
    deadline = time.monotonic() + 30
    while scheduler.states(tsp("-l"))[running].phase != "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    states = scheduler.states(tsp("-l"))
    assert {job: (s.phase, s.name) for job, s in states.items()} == {
        running: ("running", "multirun-a"),
        waiting: ("waiting", "multirun-b"),
    }
    assert scheduler.found(tsp("-l"), "multirun-b") == [waiting]
    subprocess.run(scheduler.cancel([running, waiting, "99"]), check=True, timeout=30)
    deadline = time.monotonic() + 30
    while any(state.phase != "ended" for state in scheduler.states(tsp("-l")).values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (ended,) = scheduler.states(tsp("-l")).values()
    assert ended.message == "tsp says finished, -1"
