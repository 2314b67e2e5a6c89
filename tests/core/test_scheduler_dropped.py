"""Runs on a queue system when nothing more is to start: what has begun may end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import queue_program
from multirun_core._runners.scheduler.here import Here
from multirun_core._runners.scheduler.site import Site
from multirun_core._runners.scheduler.submission import Submission, Work
from multirun_core._transport.wrapper import Event
from multirun_core.testing.loop import run_bounded
from queue_tools import QueueRunner

from multirun_core import BackendError, Sweep, multirunAsync

COUNT = 3
# The first one fails once the others have begun, which end when they are let.
SCRIPT = (
    'echo "$MULTIRUN_ATTEMPT" >> began; cd ../..; '
    "if test $MULTIRUN_PARAM_N = 0; then "
    "until test -e fail; do sleep 0.02; done; exit 1; fi; "
    "until test -e go; do sleep 0.02; done"
)


class Unheard(Here):
    """Tells of no run but the first one until the others are not needed."""

    silent = True
    kept: list[tuple[Submission, Event]]

    def __init__(self, place: Site, runner: QueueRunner) -> None:
        assert isinstance(place, Here)
        super().__init__(place.transport, runner._threads)
        self.kept = []

    async def news(self, submissions: Sequence[Submission]) -> list[tuple[Submission, Event]]:
        told = await super().news(submissions)
        if self.silent:
            self.kept += [one for one in told if one[1].index != 0]
            return [one for one in told if one[1].index == 0]
        kept, self.kept = self.kept, []
        return [*kept, *told]

    async def spare(self, works: Sequence[Work]) -> list[bool]:
        spared = await super().spare(works)
        self.silent = False
        (works[0].run.cwd.parents[1] / "go").touch()
        return spared


class Runner(QueueRunner):
    def _reach(self) -> Site:
        self.place = Unheard(super()._reach(), self)
        return self.place


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Return where a sweep will be; its runs end when the test does."""
    yield tmp_path / "s"
    (tmp_path / "s").mkdir(exist_ok=True)
    for name in ("go", "fail"):
        (tmp_path / "s" / name).touch()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def sweeping(root: Path, on: QueueRunner, **options: Any) -> asyncio.Future[Sweep]:
    runs = [{"n": n} for n in range(COUNT)]
    common: dict[str, Any] = {"output_path": root, "resume": True, "progress": False}
    return asyncio.ensure_future(
        multirunAsync(runs=runs, cmd=["sh", "-c", SCRIPT], runner=on, **common, **options)
    )


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def all_began(root: Path) -> bool:
    return len(list(root.glob("runs/*/began"))) == COUNT


def ends(sweep: Sweep) -> list[tuple[str, str | None, int]]:
    return [(run.status, run.reason, run.attempts) for run in sweep.runs]


EXPECTED = [("failure", "exit", 1), ("success", None, 1), ("success", None, 1)]


def test_what_has_begun_unheard_goes_on(root: Path, home: Path) -> None:
    async def work() -> Sweep:
        sweep = sweeping(root, Runner(home), max_failures=0)
        await until(lambda: all_began(root))
        (root / "fail").touch()
        return await sweep

    assert ends(run_bounded(work(), 60)) == EXPECTED
    assert queue_program.alive_tasks(home) == 0


def test_what_an_earlier_driver_began_goes_on(root: Path, home: Path) -> None:
    async def leave() -> None:
        on = QueueRunner(home)
        on.leaves_on_interrupt = True
        sweep = sweeping(root, on, max_failures=0)
        await until(lambda: all_began(root))
        sweep.cancel()
        await asyncio.wait([sweep])

    async def resume() -> Sweep:
        sweep = sweeping(root, Runner(home), max_failures=0)
        (root / "fail").touch()
        return await sweep

    run_bounded(leave(), 30)
    assert ends(run_bounded(resume(), 60)) == EXPECTED
    assert {path.read_text() for path in root.glob("runs/*/began")} == {"1\n"}


@pytest.mark.parametrize("how", ["queued", "being found"])
def test_what_has_not_begun_never_does(root: Path, home: Path, how: str) -> None:
    on = QueueRunner(home)
    on.scheduler.fault("hold")
    if how == "being found":

        async def leave() -> None:
            before = QueueRunner(home)
            before.leaves_on_interrupt = True
            sweep = sweeping(root, before)
            await until(lambda: len(before.runs) == COUNT and before._all_out())
            sweep.cancel()
            await asyncio.wait([sweep])

        run_bounded(leave(), 30)

    async def work() -> Sweep:
        sweep = sweeping(root, on)
        await until(lambda: len(on.runs) == COUNT and all(run.handle for run in on.runs))
        await until(lambda: on._loops is not None and all(map(known, on.runs)))
        for run in on.runs:
            on.drop(run)
            on.drop(run)
        return await sweep

    def known(run: Any) -> bool:
        return run in on._overseer._out or run in on._overseer._sought

    assert ends(run_bounded(work(), 60)) == [("skipped", "cancelled", 0)] * COUNT
    assert queue_program.alive_tasks(home) == 0
    assert not list(root.glob("runs/*/began"))


def test_where_it_cannot_be_told_what_has_begun_all_goes_on(
    root: Path, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(place: Unheard, works: Sequence[Work]) -> list[bool]:
        place.silent = False
        (root / "go").touch()
        raise BackendError("the login refuses")

    monkeypatch.setattr(Unheard, "spare", refuse)
    test_what_has_begun_unheard_goes_on(root, home)
    assert "2 runs may begin that are not needed: the login refuses" in caplog.text
