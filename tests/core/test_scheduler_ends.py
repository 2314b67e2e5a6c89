"""Interrupted sweeps on a queue system: what could not be ended has no end, and is found again."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import queue_program
from multirun_core._model.run import ExitStatus, Run
from multirun_core._runners.scheduler import client, haste, runner
from multirun_core._runners.scheduler.command import JobState, Refusal
from multirun_core._runners.scheduler.ending import Ender
from multirun_core._runners.scheduler.here import Here
from multirun_core._runners.scheduler.site import Site
from multirun_core._runners.scheduler.submission import Demand, Submission, Work
from multirun_core._sweep import abandoned
from multirun_core._transport.wrapper import Event
from multirun_core.errors import SubmitError
from multirun_core.testing.loop import run_bounded
from queue_tools import Queue, QueueRunner
from sweeps import remake_by

from multirun_core import BackendError, Sweep, multirun, multirunAsync

SCRIPT = (
    'echo "$MULTIRUN_ATTEMPT" >> began; until test -e ../../go; do sleep 0.05; done; '
    "echo $MULTIRUN_ATTEMPT > part; mv part results.json"
)
COUNT = 3


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Return where a sweep will be; its runs end when the test does."""
    yield tmp_path / "s"
    (tmp_path / "s").mkdir(exist_ok=True)
    (tmp_path / "s" / "go").touch()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second Ctrl-C be obeyed sooner."""
    monkeypatch.setattr(haste, "_HURRIED_SECONDS", 0.3)
    monkeypatch.setattr(haste, "_LEAST_SECONDS", 0.1)


class Faulty(Here):
    """A file system that does as the test says."""

    def __init__(self, place: Site, runner: QueueRunner) -> None:
        assert isinstance(place, Here)
        super().__init__(place.transport, runner._threads)
        self.reached = False
        self.released = threading.Event()

    async def hang(self) -> None:
        self.reached = True
        await asyncio.Event().wait()


class FaultyRunner(QueueRunner):
    """Has its files in a faulty file system."""

    site: type[Faulty] = Faulty

    def _reach(self) -> Site:
        self.place = self.site(super()._reach(), self)
        return self.place


def calling(root: Path, on: QueueRunner) -> dict[str, Any]:
    return {
        "runs": [{"n": n} for n in range(COUNT)],
        "cmd": ["sh", "-c", SCRIPT],
        "output_path": root,
        "runner": on,
        "resume": True,
        "progress": False,
    }


def sweeping(root: Path, on: QueueRunner) -> asyncio.Future[Sweep]:
    return asyncio.ensure_future(multirunAsync(**calling(root, on)))


def resumed(root: Path, on: QueueRunner) -> Sweep:
    """Carry on with a sweep whose runs may end now."""
    (root / "go").touch()
    return multirun(**calling(root, on))


async def begun(root: Path, on: QueueRunner) -> asyncio.Future[Sweep]:
    """Return a sweep all of whose runs have begun."""
    sweep = sweeping(root, on)
    await until(all_began(root))
    return sweep


async def interrupt(sweep: asyncio.Future[Sweep]) -> None:
    """Interrupt a sweep, and wait for its end."""
    sweep.cancel()
    await asyncio.wait([sweep])
    assert sweep.cancelled()


def statuses(root: Path) -> list[str]:
    return [run.status for run in Sweep.open(root).runs]


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def all_began(root: Path) -> Callable[[], bool]:
    return lambda: len(list(root.glob("runs/*/began"))) == COUNT


def leave_behind(root: Path, on: QueueRunner) -> None:
    """Begin a sweep, and leave its runs to the next driver."""

    async def work() -> None:
        on.leaves_on_interrupt = True
        await interrupt(await begun(root, on))

    run_bounded(work(), 30)
    assert statuses(root) == ["pending"] * COUNT


def executions(root: Path) -> Counter[str]:
    return Counter("".join(path.read_text() for path in root.glob("runs/*/began")).split())


def is_as_it_was(root: Path, home: Path) -> bool:
    """Whether the runs go on, have no end, and the next driver takes them over."""
    assert statuses(root) == ["pending"] * COUNT
    assert [run.index for run in abandoned.left_running(root)] == list(range(COUNT))
    sweep = resumed(root, QueueRunner(home))
    assert sweep.results == [1] * COUNT, [(run.reason, run.message) for run in sweep.runs]
    return executions(root) == {"1": COUNT}


# Ending.


def test_one_whose_directory_is_gone_does_not_keep_the_others_from_being_ended(
    root: Path, home: Path
) -> None:
    async def work() -> None:
        sweep = await begun(root, QueueRunner(home, grace=0.2))
        shutil.rmtree(root / "runs" / "000001")
        await interrupt(sweep)

    run_bounded(work(), 60)
    assert [run.reason for run in Sweep.open(root).runs] == ["cancelled"] * COUNT
    assert queue_program.alive_tasks(home) == 0


class Late(Faulty):
    """Takes until the runs have been concluded to say that nobody begins them."""

    async def prevent(self, works: Sequence[Work]) -> list[bool]:
        await asyncio.wait([work.done for work in works])
        return await super().prevent(works)


class Refused(Queue):
    def refusal(self, code: int, printed: str, complained: str) -> Refusal:
        return Refusal(message="this queue is closed")


def test_runs_that_are_refused_while_they_are_ended_never_began(
    root: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        on = FaultyRunner(home)
        on.site, on.scheduler = Late, Refused(home)
        on.scheduler.fail("submit")
        (home / "slow-submit").write_text("1")
        sweep = sweeping(root, on)
        await until(lambda: (home / "calls").exists())
        await interrupt(sweep)

    run_bounded(work(), 60)
    assert statuses(root) == ["skipped"] * COUNT
    assert "failed" not in caplog.text


class Untold(Queue):
    """Cannot be told anything in the end."""

    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        return ["true"]

    def nudge(self, ids: Sequence[str], number: str) -> Sequence[str] | None:
        raise KeyError(number)


def test_where_ending_breaks_down_runs_stay_as_they_were(root: Path, home: Path) -> None:
    async def work() -> None:
        on = FaultyRunner(home)
        on.scheduler = Untold(home)
        await interrupt(await begun(root, on))

    run_bounded(work(), 60)
    assert statuses(root) == ["pending"] * COUNT
    assert [run.index for run in abandoned.left_running(root)] == list(range(COUNT))


class GivenUp(Faulty):
    """Is out of reach for good when runs are to be ended."""

    async def prevent(self, works: Sequence[Work]) -> list[bool]:
        self.reached = True
        await asyncio.wait([work.done for work in works])
        raise BackendError("the login refuses")

    async def news(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Event]]:
        if self.reached:
            raise BackendError("the login refuses")
        return await super().news(submissions)


def test_a_backend_that_is_lost_while_runs_are_ended_is_no_verdict(root: Path, home: Path) -> None:
    async def work() -> None:
        on = FaultyRunner(home)
        on.site = GivenUp
        await interrupt(await begun(root, on))

    run_bounded(work(), 60)
    assert is_as_it_was(root, home)


def claimed_for_nobody(root: Path, home: Path) -> None:
    """Leave runs behind that have begun, in a job that no trace is left of."""
    leave_behind(root, QueueRunner(home))
    queue = Queue(home)
    queue.end_all()
    shutil.rmtree(home / "jobs")
    (home / "jobs").mkdir()
    for answer in root.glob("jobs/*/answer"):
        answer.write_text("")


def test_runs_that_had_begun_in_a_job_that_left_no_trace_are_lost(root: Path, home: Path) -> None:
    claimed_for_nobody(root, home)
    (root / "go").touch()

    async def work() -> Sweep:
        return await sweeping(root, QueueRunner(home, infrastructure_retries=0))

    sweep = run_bounded(work(), 60)
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "lost")] * COUNT


def test_they_can_be_cancelled(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed_for_nobody(root, home)
    remake_by(monkeypatch, lambda: QueueRunner(home, grace=0.2))
    sweep = abandoned.end_left(root, progress=False)
    assert {run.reason for run in sweep.runs} <= {"cancelled", "lost"}
    assert all(run.done for run in sweep.runs)


# Asked twice.


class HangsPreventing(Faulty):
    async def prevent(self, works: Sequence[Work]) -> list[bool]:
        await self.hang()
        return []


class HangsBringing(Faulty):
    async def bring(self, work: Work, end: ExitStatus) -> ExitStatus:
        await self.hang()
        return end


class Deaf(Queue):
    """Accepts that jobs are to be ended, and lets them go on."""

    asked = False

    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        self.asked = True
        return ["true"]


async def asked_twice(root: Path, on: FaultyRunner, reached: Callable[[], bool]) -> None:
    """Interrupt a sweep; when it has reached a point, interrupt it again: it ends soon."""
    sweep = await begun(root, on)
    sweep.cancel()
    await until(reached)
    on.hurry()
    await asyncio.wait([sweep], timeout=10)
    assert sweep.cancelled()


@pytest.mark.usefixtures("quick")
def test_a_hung_file_system_is_not_waited_for_when_asked_twice(root: Path, home: Path) -> None:
    on = FaultyRunner(home)
    on.site = HangsPreventing
    run_bounded(asked_twice(root, on, lambda: on.place.reached), 60)
    assert is_as_it_was(root, home)


@pytest.mark.usefixtures("quick")
def test_jobs_that_go_on_are_not_waited_for_when_asked_twice(root: Path, home: Path) -> None:
    on = FaultyRunner(home, grace=0.0)
    on.scheduler = deaf = Deaf(home)
    run_bounded(asked_twice(root, on, lambda: deaf.asked), 60)
    assert statuses(root) == ["pending"] * COUNT


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("verb", ["signal", "cancel"])
def test_a_command_that_hangs_is_not_waited_for_when_asked_twice(
    verb: str, root: Path, home: Path
) -> None:
    on = FaultyRunner(home, grace=1.0 if verb == "signal" else 0.0)
    queue = Queue(home)
    (home / f"slow-{verb}").write_text("60")
    run_bounded(asked_twice(root, on, lambda: queue.calls()[verb]), 60)
    assert [run.index for run in abandoned.left_running(root)] == list(range(COUNT))


@pytest.mark.usefixtures("quick")
def test_files_are_not_waited_for_when_asked_twice(root: Path, home: Path) -> None:
    on = FaultyRunner(home, grace=0.0)
    on.site = HangsBringing
    run_bounded(asked_twice(root, on, lambda: on.place.reached), 60)
    assert [run.reason for run in Sweep.open(root).runs] == ["cancelled"] * COUNT


class HangsFinding(Faulty):
    async def find(self, token: str, directory: Path, local: Path) -> Submission | None:
        await self.hang()
        return None


@pytest.mark.usefixtures("quick")
def test_what_is_looked_for_is_not_waited_for_when_asked_twice(root: Path, home: Path) -> None:
    leave_behind(root, QueueRunner(home))
    on = FaultyRunner(home)
    on.site = HangsFinding

    async def work() -> None:
        sweep = sweeping(root, on)
        await until(lambda: on._site is not None and on.place.reached)
        sweep.cancel()
        await asyncio.sleep(0)
        on.hurry()
        await asyncio.wait([sweep], timeout=10)
        assert sweep.cancelled()

    run_bounded(work(), 60)
    assert is_as_it_was(root, home)


class HangsReading(Faulty):
    """Has a thread that does not come back, as a network file system does."""

    async def news(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Event]]:
        if all_began(submissions[0].directory.parent.parent)():
            self.reached = True
            await self._do(self.released.wait)
        return await super().news(submissions)


@pytest.mark.parametrize("twice", [True, False])
def test_a_thread_that_hangs_does_not_keep_a_runner_from_closing(
    twice: bool, root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not twice:
        monkeypatch.setattr(runner, "_CLOSE_SECONDS", 0.3)
    on = FaultyRunner(home)
    on.site = HangsReading
    on.leaves_on_interrupt = True

    async def work() -> None:
        sweep = sweeping(root, on)
        await until(lambda: on._site is not None and on.place.reached)
        sweep.cancel()
        await until(lambda: not on._loops)
        if twice:
            on.hurry()
        try:
            await asyncio.wait([sweep], timeout=10)
            assert sweep.cancelled()
        finally:
            on.place.released.set()

    run_bounded(work(), 60)
    assert is_as_it_was(root, home)


# Nobody looks after jobs.


class Confused(Queue):
    def states(self, printed: str) -> Mapping[str, JobState]:
        raise KeyError(printed)


class Undecided(QueueRunner):
    def at_once(self, demand: Demand, pack: int) -> int:
        raise KeyError(pack)


def test_a_queue_that_nobody_can_read_stops_the_sweep(root: Path, home: Path) -> None:
    on = QueueRunner(home)
    on.scheduler = Confused(home)

    async def work() -> None:
        with pytest.raises(BackendError, match=r"broke down: KeyError.*resume the sweep later"):
            await sweeping(root, on)

    run_bounded(work(), 30)
    assert resumed(root, QueueRunner(home)).results == [1] * COUNT
    assert executions(root) == {"1": COUNT}


def test_submitting_that_breaks_down_stops_the_sweep(root: Path, home: Path) -> None:
    async def work() -> None:
        with pytest.raises(BackendError, match=r"broke down: KeyError.*resume the sweep later"):
            await sweeping(root, Undecided(home))

    run_bounded(work(), 30)
    assert resumed(root, QueueRunner(home)).results == [1] * COUNT


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_loop_that_is_cancelled_lets_no_run_wait_for_ever(
    root: Path, home: Path, which: int
) -> None:
    async def work() -> None:
        on = QueueRunner(home)
        sweep = sweeping(root, on)
        await until(all_began(root))
        assert on._loops is not None
        on._loops._tasks[which].cancel()
        with pytest.raises(BackendError, match=r"broke down: it was cancelled.*resume the sweep"):
            await sweep

    run_bounded(work(), 30)
    assert resumed(root, QueueRunner(home)).results == [1] * COUNT
    assert executions(root) == {"1": COUNT}


def test_what_nobody_waits_for_any_more_fails_without_a_word(
    root: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        on = QueueRunner(home)
        await on.ready()
        run = Run(cmd=["true"], cwd=root)
        for _ in range(2):
            on._overseer._ordering.work(run).done.set_exception(BackendError("it is gone"))
        await on.release()

    run_bounded(work(), 30)
    gc.collect()
    assert "never retrieved" not in caplog.text


class Unsettled(QueueRunner):
    """Cannot say how its first run ended, and takes its time with the others."""

    async def settle(self, run: Run) -> None:
        if run.index == 0:
            raise BackendError("the first one is a riddle")
        await asyncio.sleep(0.5)
        await super().settle(run)


def test_an_end_that_cannot_be_told_does_not_keep_the_others_from_being_written_down(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(root, QueueRunner(home))
    made = (Unsettled(home, grace=0.2), {"name": "made", "options": {}})
    monkeypatch.setattr(abandoned, "runner_of", lambda *_: made)
    with pytest.raises(BackendError, match="a riddle"):
        abandoned.end_left(root, progress=False)
    reasons = [run.reason for run in Sweep.open(root).runs]
    assert reasons == [None] + ["cancelled"] * (COUNT - 1)


# Finding again.


class Stricter(QueueRunner):
    """Gives nobody anything."""

    def demand(self, run: Run, *, memory: float, seconds: float) -> Demand:
        raise SubmitError("that can never be given")


def test_what_runs_need_is_not_asked_again_of_those_that_are_out(root: Path, home: Path) -> None:
    leave_behind(root, QueueRunner(home))
    assert resumed(root, Stricter(home)).results == [1] * COUNT
    assert executions(root) == {"1": COUNT}


def test_what_runs_need_does_not_keep_them_from_being_ended(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(root, QueueRunner(home))
    remake_by(monkeypatch, lambda: Stricter(home, grace=0.2))
    sweep = abandoned.end_left(root, progress=False)
    assert [run.reason for run in sweep.runs] == ["cancelled"] * COUNT
    assert queue_program.alive_tasks(home) == 0


def test_cancel_writes_down_what_it_could_end_where_one_run_goes_on(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(root, QueueRunner(home))
    remake_by(monkeypatch, lambda: QueueRunner(home, grace=0.2))
    end = Ender.end

    async def end_others(self: Ender, work: Work, grace: float) -> None:
        if work.run.index != 0:
            await end(self, work, grace)

    monkeypatch.setattr(Ender, "end", end_others)
    with pytest.raises(BackendError, match="1 runs could not be seen to end"):
        abandoned.end_left(root, progress=False)
    reasons = [run.reason for run in Sweep.open(root).runs]
    assert reasons == [None] + ["cancelled"] * (COUNT - 1)
    (root / "go").touch()
    assert resumed(root, QueueRunner(home)).results == [1] + [2] * (COUNT - 1)


class Garbled(Queue):
    """Is cut off once when it says which jobs there are."""

    looks = 0

    def found(self, printed: str, name: str) -> Sequence[str]:
        self.looks += 1
        if self.looks == 1:
            raise ValueError("it was cut off")
        return super().found(printed, name)


def test_a_list_of_jobs_that_is_cut_off_says_nothing(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.05)
    on = QueueRunner(home)
    on.scheduler = garbled = Garbled(home)
    (home / "no-answer").write_text("1")  # so that it has to be looked for

    async def work() -> None:
        sweep = sweeping(root, on)
        await until(lambda: all_began(root)() and garbled.looks > 1)
        (root / "go").touch()
        assert (await sweep).results == [1] * COUNT

    run_bounded(work(), 60)
    assert executions(root) == {"1": COUNT}


class Elsewhere(QueueRunner):
    """Leaves handles of another kind."""

    async def keep_handle(self, run: Run, handle: Any) -> None:
        await super().keep_handle(run, {"host": "h1", "number": 1})


def test_runs_of_another_kind_of_runner_are_left_to_it(root: Path, home: Path) -> None:
    leave_behind(root, Elsewhere(home))
    with pytest.raises(BackendError, match=r"run \d was not handed over to the queue; carry on"):
        resumed(root, QueueRunner(home))
    assert statuses(root) == ["pending"] * COUNT
