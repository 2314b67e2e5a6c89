"""What runs of this machine need, and get: variables, CPUs, devices, memory, limits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from launcher_tools import opened
from multirun_core._options import parse_option_text
from multirun_core._registry import Registry
from multirun_core._runners.cpus import usable_cpus
from multirun_core._runners.memory import available_memory
from multirun_core._sweep.resuming import resume
from sweeps import events

from multirun_core import (
    AbstractRunner,
    ExitStatus,
    ParallelLocalRunner,
    ParamError,
    Run,
    RunnerError,
    RunStatistics,
    Sweep,
    SweepError,
    TaskRunner,
    UsageError,
    multirun,
)

MIB = 1 << 20
CPUS = sorted(os.sched_getaffinity(0))
# Says what it has got, and since when until when.
TELL = """
import json, os, resource, sys, time
facts = {"began": time.time(), "cpus": sorted(os.sched_getaffinity(0)),
         "data": resource.getrlimit(resource.RLIMIT_DATA)[0], "env": dict(os.environ)}
marks, least = sys.argv[1:]
if marks:
    open(os.path.join(marks, str(os.getpid())), "w").close()
    bound = time.monotonic() + 20
    while len(os.listdir(marks)) < int(least):
        assert time.monotonic() < bound, "nobody runs beside this"
        time.sleep(0.005)
facts["ended"] = time.time()
with open("results.tmp", "w") as file:
    json.dump(facts, file)
os.rename("results.tmp", "results.json")
"""


def tell(marks: Path | None = None, least: int = 0) -> list[str]:
    """Return the command; with marks, no run ends before so many have begun."""
    if marks is not None:
        marks.mkdir()
    return [sys.executable, "-S", "-I", "-c", TELL, str(marks or ""), str(least)]


def sweep(path: Path, count: int, cmd: Sequence[str], **options: Any) -> Sweep:
    return multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=cmd,
        output_path=path,
        progress=False,
        **options,
    )


def facts_of(done: Sweep) -> list[dict[str, Any]]:
    assert [run.status for run in done.runs] == ["success"] * len(done), [
        (run.reason, run.message, run.stderr.exists() and run.stderr.read_text())
        for run in done.runs
    ]
    return list(done.results)


def together(facts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return, for the start of each run, all that went on then."""
    return [
        [one for one in facts if one["began"] <= other["began"] < one["ended"]] for other in facts
    ]


# CPUs.


def test_libraries_are_told_how_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setenv("MKL_NUM_THREADS", "9")
    (plain,) = facts_of(sweep(tmp_path / "plain", 1, tell()))
    assert plain["env"]["OMP_NUM_THREADS"] == "9"
    assert "GOMAXPROCS" not in plain["env"]
    runner = ParallelLocalRunner(cpus_per_run=1, env={"OMP_NUM_THREADS": "7"})
    (told,) = facts_of(sweep(tmp_path / "told", 1, tell(), runner=runner))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMAXPROCS")
    assert [told["env"][name] for name in names] == ["7", "1", "1", "1"]
    assert plain["cpus"] == told["cpus"] == CPUS
    assert plain["data"] == told["data"]


def test_pinned_runs_have_cpus_of_their_own(tmp_path: Path) -> None:
    slots = usable_cpus()
    cmd = tell(tmp_path / "marks", slots)
    runner = ParallelLocalRunner(max_parallel="auto", pin=True)
    assert runner.max_parallel == slots
    facts = facts_of(sweep(tmp_path / "s", 3 * slots, cmd, runner=runner))
    for at_once in together(facts):
        used = [cpu for one in at_once for cpu in one["cpus"]]
        assert len(used) == len(set(used)) == len(at_once) <= slots
        assert set(used) <= set(CPUS)
    assert max(map(len, together(facts))) == slots
    assert sorted(os.sched_getaffinity(0)) == CPUS


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["process", "threads"])
async def test_a_launcher_confines_what_it_starts_and_not_itself(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIRUN_LAUNCHER", kind)
    async with opened(tmp_path) as bench:

        async def run(**confined: Any) -> tuple[ExitStatus, str]:
            folder = bench.directory()
            command = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status; ulimit -S -d"]
            out, err = str(folder / "out"), str(folder / "err")
            end = await bench.launcher.run(
                command, folder, {}, out, err, timeout=None, grace=0.3, **confined
            )
            return end, (folder / "out").read_text()

        free = await run()
        end, text = await run(cpus=[CPUS[-1]])
        assert end.ok
        assert text.splitlines()[0].split() == ["Cpus_allowed_list:", str(CPUS[-1])]
        end, _ = await run(cpus=[100_000])
        assert (end.code, end.reason) == (None, "submit")
        assert (end.message or "").startswith("cannot use the CPUs 100000: ")
        assert (await run())[1] == free[1]
        if kind == "process":
            for asked, kib in [(64 * MIB, 64 << 10), (1, 32 << 10)]:  # with less nothing loads
                assert (await run(data_bytes=asked))[1].splitlines()[1] == str(kib)
            assert (await run(data_bytes=64 * MIB, cpus=CPUS))[0].ok
            assert (await run())[1] == free[1]
        else:
            with pytest.raises(RunnerError, match="memory_limit needs"):
                await run(data_bytes=64 * MIB)


# Devices.


def test_two_runs_never_share_a_device(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel="auto", gpus=["GPU-8d2a", "GPU-77"])
    cmd = tell(tmp_path / "marks", 2)
    facts = facts_of(sweep(tmp_path / "s", 7, cmd, runner=runner))
    for at_once in together(facts):
        used = [one["env"]["CUDA_VISIBLE_DEVICES"] for one in at_once]
        assert len(set(used)) == len(used)
        assert set(used) <= {"GPU-8d2a", "GPU-77"}
    assert max(map(len, together(facts))) == 2


def test_runs_may_need_several_devices_or_none(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(gpus=[0, 1])
    done = sweep(
        tmp_path / "s", 6, tell(), runner=runner, resources=lambda params: {"gpus": params["n"] % 3}
    )
    facts = facts_of(done)
    seen = [one["env"]["CUDA_VISIBLE_DEVICES"] for one in facts]
    assert (seen[0], seen[3]) == ("-1", "-1")
    assert sorted(seen[2].split(",")) == sorted(seen[5].split(",")) == ["0", "1"]
    assert {seen[1], seen[4]} <= {"0", "1"}
    for at_once in together(facts):
        used = [one["env"]["CUDA_VISIBLE_DEVICES"].split(",") for one in at_once]
        devices = [device for names in used for device in names if device != "-1"]
        assert len(devices) == len(set(devices))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": [0, 0]}, "name each device once"),
        ({"gpus": []}, "name each device once"),
        ({"gpus": ["0,1"]}, "name each device once"),
        ({"gpus": [-1]}, "name each device once"),
        ({"gpus": "01"}, "name each device once"),
        ({"gpus": range(8)}, "say max_parallel='auto' for one a device"),
        ({"cpus_per_run": 0}, "cpus_per_run is 0"),
        ({"cpus_per_run": 1.5}, "cpus_per_run is 1.5"),
        ({"memory_per_run": "lots"}, "'lots' is no size of memory"),
        ({"timeout": "5 median"}, "timeout is '5 median'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ParallelLocalRunner(**options)


def test_auto_counts_what_each_run_is_given() -> None:
    cpus = usable_cpus()
    assert ParallelLocalRunner(max_parallel="auto", cpus_per_run=2).max_parallel == max(
        1, cpus // 2
    )
    assert ParallelLocalRunner(max_parallel="auto", gpus=range(99)).max_parallel == 99
    for gpus, slots in [([0], 1), (range(10_000), cpus)]:
        both = ParallelLocalRunner(max_parallel="auto", gpus=gpus, cpus_per_run=1)
        assert both.max_parallel == slots


# Memory.


def test_runs_start_when_their_memory_is_free(tmp_path: Path) -> None:
    free = available_memory()
    assert free is not None
    cmd = tell(tmp_path / "marks", 2)
    runner = ParallelLocalRunner(max_parallel=4, memory_per_run=free // 5 * 2)
    facts = facts_of(sweep(tmp_path / "s", 7, cmd, runner=runner))
    assert max(map(len, together(facts))) == 2


def test_a_limit_of_memory_ends_what_allocates_more(tmp_path: Path) -> None:
    program = "import sys; bytearray(int(sys.argv[1]) << 20)"
    done = multirun(
        runs=[{"mib": 8}, {"mib": 1000}],
        cmd=[sys.executable, "-S", "-I", "-c", program, "{mib}"],
        output_path=tmp_path / "s",
        runner=ParallelLocalRunner(memory_limit=True),
        resources=lambda params: {"memory": "128MiB"},
        progress=False,
    )
    assert [run.status for run in done.runs] == ["success", "failure"]
    assert "MemoryError" in done.runs[1].stderr.read_text()


def test_a_limit_of_memory_needs_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIRUN_LAUNCHER", "threads")
    runner = ParallelLocalRunner(memory_per_run="64MiB", memory_limit=True)
    with pytest.raises(RunnerError, match="memory_limit needs"):
        sweep(tmp_path / "s", 2, ["true"], runner=runner)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_per_run": "900PiB"}, "it needs 900 PiB of memory, but only .* are free for runs"),
        ({"cpus_per_run": 10**6}, "it needs 1000000 CPUs, but this process may use "),
    ],
)
def test_what_no_run_can_ever_get_is_refused_before_anything_is_created(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sweep(tmp_path / "s", 2, ["true"], runner="local", runner_options=options)
    assert not (tmp_path / "s").exists()
    runner = ParallelLocalRunner(**options)
    run = runner.add(["true"], tmp_path)
    asyncio.run(runner.gather())
    assert (run.status, run.reason, run.attempts) == ("failure", "submit", 0)


@pytest.mark.asyncio
async def test_a_run_that_waits_for_a_device_is_pending_and_was_never_started(
    tmp_path: Path,
) -> None:
    runner = ParallelLocalRunner(gpus=[0], max_parallel=2, grace=0.2)
    first, second, third = (runner.add(["sleep", "1000"], tmp_path) for _ in range(3))
    while first.status != "running":
        await asyncio.sleep(0.005)
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert (second.status, second.attempts, second.started) == ("pending", 0, None)
    assert second.task is not None
    second.task.cancel()
    await asyncio.wait([second.task])
    assert (second.status, second.reason, second.attempts) == ("skipped", "cancelled", 0)
    assert first.task is not None
    first.task.cancel()
    while third.status != "running":
        await asyncio.sleep(0.005)
    assert (first.status, third.attempts) == ("failure", 1)
    assert third.task is not None
    third.task.cancel()
    await runner.gather()


# By parameters.


def test_a_run_that_cannot_get_what_it_asks_for_fails_alone(tmp_path: Path) -> None:
    def needs(params: dict[str, Any]) -> dict[str, Any]:
        if params["n"] == 1:
            return {"memory": "900PiB"}
        if params["n"] == 2:
            return {"memory": params["size"]}
        return {"cpus": 1, "memory": "1MiB"}

    done = sweep(tmp_path / "s", 4, tell(), resources=needs)
    assert [run.status for run in done.runs] == ["success", "failure", "failure", "success"]
    assert [run.reason for run in done.runs[1:3]] == ["submit", "submit"]
    assert [run.attempts for run in done.runs] == [1, 0, 0, 1]
    assert (done.runs[1].message or "").startswith("it needs 900 PiB of memory, but only ")
    assert done.runs[2].message == "run 2: resources({'n': 2}): KeyError: 'size'"
    started = [event["run"] for event in events(tmp_path / "s") if event["event"] == "start"]
    assert sorted(started) == [0, 3]
    assert done.results[0]["env"]["OMP_NUM_THREADS"] == "1"


def test_a_function_that_fails_for_the_first_run_ends_the_call(tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="run 0: resources"):
        sweep(tmp_path / "s", 2, ["true"], resources=lambda params: {"memory": params["size"]})
    with pytest.raises(UsageError, match=r"resources is .*; it must be a function"):
        sweep(tmp_path / "s", 2, ["true"], resources={"cpus": 1})
    assert not (tmp_path / "s").exists()


class Knowing(TaskRunner):
    """Knows resources, as a runner of any backend may."""

    knows_resources = True
    seen: list[tuple[int | None, int | None, int | None]]

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    async def execute(self, run: Run) -> ExitStatus:
        needs = self.needs(run)
        self.seen.append((needs.cpus, needs.memory_bytes, needs.gpus))
        return ExitStatus(code=0)


class Ignorant(TaskRunner):
    async def execute(self, run: Run) -> ExitStatus:
        return ExitStatus(code=0)


class Foreign(AbstractRunner):
    def computeStatistics(self) -> RunStatistics:
        return RunStatistics()

    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        raise AssertionError("nothing is to be added")

    async def gather(self) -> None:
        raise AssertionError("nothing is to be gathered")


def test_any_runner_can_know_resources(tmp_path: Path) -> None:
    runner = Knowing()
    done = sweep(
        tmp_path / "s", 2, ["x"], runner=runner, resources=lambda params: {"cpus": params["n"] + 1}
    )
    assert done.statistics.success_count == 2
    assert sorted(runner.seen) == [(1, None, None), (2, None, None)]


@pytest.mark.parametrize("kind", [Ignorant, Foreign])
def test_a_runner_that_does_not_know_resources_is_named(
    tmp_path: Path, kind: type[AbstractRunner]
) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}' does not know resources"):
        sweep(tmp_path / "s", 1, ["true"], runner=kind(), resources=lambda params: {})
    assert not (tmp_path / "s").exists()


# On the command line, and later.


def test_options_as_text() -> None:
    texts = ["cpus_per_run=1", "pin=yes", "gpus=0,1", "memory_per_run=1MiB", "timeout=5x median"]
    spec = Registry().resolve("local")
    options = dict(parse_option_text(spec, text) for text in texts)
    assert options == {
        "cpus_per_run": 1,
        "pin": True,
        "gpus": [0, 1],
        "memory_per_run": "1MiB",
        "timeout": "5x median",
    }
    runner = Registry().create("local", options)
    assert isinstance(runner, ParallelLocalRunner)
    assert runner.policy.time_limit == "5x median"
    assert parse_option_text(spec, "gpus=GPU-8d2a,MIG-1") == ("gpus", ["GPU-8d2a", "MIG-1"])
    assert parse_option_text(spec, "memory_per_run=4096") == ("memory_per_run", 4096)


def test_what_was_asked_for_holds_on_resume(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(
        cpus_per_run=1, gpus=[0, 1], memory_per_run="1MiB", retry_delay=0.0, pin=True
    )
    cmd = [
        "sh",
        "-c",
        "echo $OMP_NUM_THREADS $CUDA_VISIBLE_DEVICES; exit $((MULTIRUN_ATTEMPT - 2))",
    ]
    first = sweep(tmp_path / "s", 1, cmd, runner=runner, timeout="5x median")
    assert first.failures
    manifest = json.loads((tmp_path / "s/multirun.json").read_text())
    assert manifest["limits"]["timeout"] == "5x median"
    assert manifest["runner"]["options"] == {
        "max_parallel": 4,
        "retry_delay": 0.0,
        "grace": 5.0,
        "cpus_per_run": 1,
        "pin": True,
        "gpus": ["0", "1"],
        "memory_per_run": MIB,
    }
    again = resume(tmp_path / "s", progress=False)
    assert again.runs[0].status == "success"
    assert again.runs[0].stdout.read_text().split() == ["1", "0"]


def test_needs_that_a_function_said_take_the_script_to_resume(tmp_path: Path) -> None:
    sweep(tmp_path / "s", 1, ["false"], resources=lambda params: {"cpus": 1})
    with pytest.raises(SweepError, match="call that script again with resume=True"):
        resume(tmp_path / "s", progress=False)
    again = sweep(tmp_path / "s", 1, ["false"], resources=lambda params: {"cpus": 1}, resume=True)
    assert again.runs[0].attempts == 2


# Time limits relative to others.


def test_a_limit_relative_to_those_that_succeeded(tmp_path: Path) -> None:
    def call(count: int, **options: Any) -> Sweep:
        return multirun(
            runs=[{"seconds": 0.01 * n if n < 5 else 1000 + n} for n in range(count)],
            cmd=["sleep", "{seconds}"],
            output_path=tmp_path / "s",
            timeout="20x median",
            progress=False,
            **options,
        )

    done = call(6, runner=ParallelLocalRunner(max_parallel=1, grace=0.1))
    assert [(run.status, run.reason) for run in done.runs] == [("success", None)] * 5 + [
        ("failure", "timeout")
    ]
    assert "ended by its time limit of " in (done.runs[5].message or "")
    # A new driver knows what has succeeded before, so that the limit holds at once.
    more = call(7, runner=ParallelLocalRunner(grace=0.1), resume=True)
    assert [run.reason for run in more.runs[5:]] == ["timeout", "timeout"]


class Slow(TaskRunner):
    """Leaves time limits to its base."""

    async def execute(self, run: Run) -> ExitStatus:
        if run.cmd == ["hang"]:
            await asyncio.Event().wait()
        return ExitStatus(code=0)


@pytest.mark.asyncio
async def test_every_runner_has_relative_limits() -> None:
    runner = Slow(max_parallel=1, timeout="2x median")
    runs = [runner.add([word]) for word in ["ok"] * 5 + ["hang"]]
    await runner.gather()
    assert [run.reason for run in runs] == [None] * 5 + ["timeout"]
    assert runs[5].message == "it took longer than 1 s"


def test_a_limit_is_given_once(tmp_path: Path) -> None:
    for own, given in [("5x median", 3.0), (3.0, "5x median"), ("5x median", "6x median")]:
        with pytest.raises(UsageError, match="timeout is given to multirun and to the runner too"):
            sweep(
                tmp_path / "s", 1, ["true"], runner=ParallelLocalRunner(timeout=own), timeout=given
            )


def test_the_limit_is_of_this_sweep_alone(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(timeout="2x median", max_parallel=1)
    quick = sweep(tmp_path / "quick", 5, ["true"], runner=runner)
    slow = sweep(tmp_path / "slow", 1, ["sleep", "1.2"], runner=runner)
    assert (quick.statistics.success_count, slow.statistics.success_count) == (5, 1)
