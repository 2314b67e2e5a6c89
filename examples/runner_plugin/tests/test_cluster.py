"""`DaskRunner` with a cluster of its own processes, some of which are killed."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import pytest
from multirun_core import BackendError, Sweep, multirun

LONG = ["sh", "-c", 'echo $$ > pid; [ "$MULTIRUN_ATTEMPT" != 1 ] || sleep 600']
DRIVER = """
import sys
from multirun_core import multirun
multirun(runs=[{"n": 0}, {"n": 1}], cmd=sys.argv[3:], output_path=sys.argv[2], runner="dask",
         runner_options={"address": sys.argv[1]}, progress=False)
"""


class Cluster:
    """A scheduler, its address, and two workers with one thread each."""

    def __init__(self, place: Path) -> None:
        """Start them."""
        self.place = place
        file = place / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_for(lambda: file.exists() and file.read_text())
        self.address = str(json.loads(file.read_text())["address"])
        self.workers = [self._start("worker", "--nthreads", "1", "--no-nanny") for _ in "ab"]

    def _start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *words]
        command += ["--scheduler-file", str(self.place / "scheduler.json")]
        return subprocess.Popen(command, cwd=self.place, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End what is left of them."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Start a cluster and end it."""
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.kill()


def wait_for(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Return what `condition` does once it is true."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return value


def pids(sweep: Path) -> list[str]:
    """Return the processes that runs of `LONG` have written down."""
    return [text for path in sweep.glob("runs/*/pid") if (text := path.read_text().strip())]


def living(pids: list[str]) -> list[str]:
    """Return those of them that are processes, and no zombies."""
    found: list[str] = []
    for pid in pids:
        with suppress(OSError):
            found += [pid] * bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def ends(sweep: Path) -> list[dict[str, Any]]:
    """Return what the journal says of ends of attempts."""
    lines = [line for path in sweep.glob("journal/*.jsonl") for line in path.open()]
    return [event for line in lines if (event := json.loads(line))["event"] == "end"]


def sweep_on(cluster: Cluster, count: int, cmd: list[str], **keywords: Any) -> Sweep:
    """Carry out so many runs."""
    return multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=cmd,
        output_path=cluster.place / "a sweep",
        runner="dask",
        runner_options={"address": cluster.address},
        progress=False,
        **keywords,
    )


def test_runs_wait_for_a_worker_and_that_is_no_running_time(cluster: Cluster) -> None:
    """Two workers carry out five runs, two at a time."""
    sweep = sweep_on(cluster, 5, ["sleep", "1"], timeout=20)
    assert [run.status for run in sweep.runs] == ["success"] * 5
    assert all(1 <= (run.duration or 0) < 2 for run in sweep.runs)
    for run in sweep.runs:
        moment = run.started or 0
        assert sum((r.started or 0) <= moment < (r.ended or 0) for r in sweep.runs) <= 2


def test_runs_end_when_the_driver_is_killed(cluster: Cluster) -> None:
    """The workers notice, since their results are no longer wanted."""
    sweep = cluster.place / "a sweep"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, cluster.address, sweep, *LONG])
    started = wait_for(lambda: len(pids(sweep)) == 2 and pids(sweep))
    assert living(started) == started
    driver.kill()
    driver.wait()
    wait_for(lambda: not living(started), 10)


def test_a_run_whose_worker_dies_is_lost_and_tried_again(cluster: Cluster) -> None:
    """Once, by multirun and not by Dask as well; nothing is left of the first attempt."""
    path = cluster.place / "a sweep"
    first: list[str] = []

    def kill() -> None:
        first.extend(wait_for(lambda: len(pids(path)) == 2 and pids(path)))
        cluster.workers[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    sweep = sweep_on(cluster, 2, LONG, retries=1, timeout=8)
    killer.join()
    assert [run.status for run in sweep.runs] == ["success"] * 2
    assert not living(first)
    reasons = [event["reason"] for event in ends(path) if event["status"] == "pending"]
    assert sorted(reasons) == ["lost", "timeout"]


def test_without_a_scheduler_nothing_is_lost(cluster: Cluster) -> None:
    """The sweep stops, its runs stay pending."""
    sweep = cluster.place / "a sweep"

    def kill() -> None:
        wait_for(lambda: len(pids(sweep)) == 2)
        cluster.scheduler.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        pytest.raises(BackendError, match="Dask's scheduler"),
    ):
        sweep_on(cluster, 2, LONG)
    killer.join()
    assert [run.status for run in Sweep.open(sweep).runs] == ["pending"] * 2
    wait_for(lambda: not living(pids(sweep)), 20)


def test_no_scheduler_is_told(tmp_path: Path) -> None:
    """Before anything is executed."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(BackendError, match=r"cannot use Dask's scheduler tcp://127\.0\.0\.1:9"),
    ):
        multirun(
            runs=[{}],
            cmd=["true"],
            output_path=tmp_path / "s",
            runner="dask",
            runner_options={"address": "tcp://127.0.0.1:9"},
            progress=False,
        )
