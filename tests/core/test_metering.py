"""What accounts tell of memory: about this attempt of this run, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from multirun_core._model.run import Run
from multirun_core._runners.scheduler import metering
from multirun_core._runners.scheduler.command import JobState
from multirun_core._runners.scheduler.haste import Haste
from multirun_core._runners.scheduler.metering import Meter
from multirun_core._transport.base import Completed
from multirun_core.errors import TransportError


class Accounts:
    """A queue system's accounts, and who asks them."""

    def __init__(self, **states: JobState) -> None:
        self.states = states
        self.asked: list[list[str]] = []
        self.hangs = self.fails = self.breaks = False
        self.title = "the accounts"
        self.haste = Haste()
        self.meter = Meter(cast(Any, self), cast(Any, self), self.haste)

    def account(self, ids: Sequence[str]) -> Sequence[str] | None:
        return list(ids)

    def accounted(self, printed: str) -> Mapping[str, JobState]:
        return {key: state for key, state in self.states.items() if key in printed.split()}

    async def call(self, kind: str, argv: Sequence[str]) -> Completed:
        assert kind == "account"
        self.asked.append(list(argv))
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise TransportError("no accounts")
        if self.breaks:
            raise KeyError("a plugin that is wrong")
        return Completed(0, " ".join(argv).encode(), b"")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "_LAG_SECONDS", 0.01)
    monkeypatch.setattr(metering, "_CLOSE_SECONDS", 0.2)


def ended(memory: int | None, name: str = "ours") -> JobState:
    return JobState(phase="ended", word="COMPLETED", max_rss_bytes=memory, name=name)


def a_run(attempts: int = 1) -> Run:
    run = Run()
    run.attempts = attempts
    run.restore("success")
    return run


@pytest.mark.asyncio
async def test_all_are_asked_about_together() -> None:
    accounts = Accounts(a=ended(10), b=ended(20))
    runs = {name: a_run() for name in "ab"}
    for name, run in runs.items():
        accounts.meter.note(run, name, "ours")
    await accounts.meter.complete()
    assert [run.max_rss_bytes for run in runs.values()] == [10, 20]
    assert accounts.asked == [["a", "b"]]
    await accounts.meter.complete()
    assert len(accounts.asked) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "state",
    [
        pytest.param(ended(10, "of-somebody-else"), id="an id that was given again"),
        pytest.param(ended(None), id="nobody measured"),
        pytest.param(JobState(phase="running", word="RUNNING", max_rss_bytes=10), id="goes on"),
    ],
)
async def test_what_is_not_known_for_sure_is_not_taken(state: JobState) -> None:
    accounts, run = Accounts(a=state), a_run()
    accounts.meter.note(run, "a", "ours")
    await accounts.meter.complete()
    assert accounts.asked == [["a"]]
    assert run.max_rss_bytes is None


@pytest.mark.asyncio
async def test_another_attempt_is_not_taken_for_this_one() -> None:
    accounts, again = Accounts(a=ended(10)), a_run()
    accounts.meter.note(again, "a", "ours")
    again.attempts = 2
    await accounts.meter.complete()
    assert again.max_rss_bytes is None


@pytest.mark.asyncio
async def test_whose_results_are_still_being_collected_is_asked_about_again() -> None:
    accounts, run = Accounts(a=ended(10)), a_run()
    run.restore("running")
    accounts.meter.note(run, "a", "ours")
    await accounts.meter.complete()
    assert run.max_rss_bytes is None
    run.restore("success")
    await accounts.meter.complete()
    assert run.max_rss_bytes == 10


@pytest.mark.asyncio
async def test_what_a_record_has_told_stays_and_a_job_that_ended_badly_is_told() -> None:
    state = JobState(phase="ended", word="NODE_FAIL", reason="node_fail", cpu_seconds=3.0)
    accounts, known, unknown = Accounts(a=state, b=state), a_run(), a_run()
    known.cpu_seconds, known.message = 1.0, "already said"
    unknown.restore("failure")
    for key, run in (("a", known), ("b", unknown)):
        accounts.meter.note(run, key, "ours")
    await accounts.meter.complete()
    assert (known.cpu_seconds, known.message) == (1.0, "already said")
    assert (unknown.cpu_seconds, unknown.message) == (3.0, None)
    late = a_run()
    accounts.meter.note(late, "a", "ours")
    await accounts.meter.complete()
    assert late.message == "exit status 0, although its job is NODE_FAIL"


@pytest.mark.asyncio
async def test_who_asks_twice_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "_LAG_SECONDS", 50.0)
    monkeypatch.setattr(metering, "_CLOSE_SECONDS", 50.0)
    accounts = Accounts(a=ended(10))
    accounts.meter.note(a_run(), "a", "ours")
    completing = asyncio.ensure_future(accounts.meter.complete())
    await asyncio.sleep(0)
    accounts.haste.hurry()
    await asyncio.wait_for(completing, 30)
    await asyncio.wait_for(accounts.meter.complete(), 30)
    assert accounts.asked == []


@pytest.mark.asyncio
async def test_accounts_that_hang_or_fail_hold_nothing_up() -> None:
    for trouble in ("hangs", "fails", "breaks"):
        accounts, run = Accounts(a=ended(10)), a_run()
        setattr(accounts, trouble, True)
        accounts.meter.note(run, "a", "ours")
        await asyncio.wait_for(accounts.meter.complete(), 30)
        assert accounts.asked
        assert run.max_rss_bytes is None


@pytest.mark.asyncio
async def test_without_accounts_nothing_is_asked() -> None:
    accounts, run = Accounts(), a_run()
    accounts.account = lambda ids: None  # type: ignore[method-assign]
    accounts.meter.note(run, "a", "ours")
    await accounts.meter.complete()
    assert accounts.asked == []


@pytest.mark.asyncio
async def test_in_a_long_sweep_it_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "_PAUSE_SECONDS", 0.02)
    accounts, run = Accounts(), a_run()
    accounts.meter.note(run, "a", "ours")
    serving = asyncio.ensure_future(accounts.meter.serve())
    while len(accounts.asked) < 2:  # accounts may hear of it late
        await asyncio.sleep(0.01)
    accounts.states["a"] = ended(10)
    while run.max_rss_bytes is None:
        await asyncio.sleep(0.01)
    serving.cancel()
    await asyncio.wait([serving])
