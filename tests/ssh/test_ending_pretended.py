"""Runs that are ended, or given up, at an awkward moment, on hosts that are directories."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from multirun_core._staging.orders import write_order
from multirun_core._transport.base import Completed
from multirun_core._transport.process import start_time
from multirun_core._transport.wrapper import Order
from multirun_core.errors import TransportError
from multirun_ssh.audit import Audit
from multirun_ssh.ending import Ending
from multirun_ssh.job import Job, NotStartedError
from multirun_ssh.luggage import luggage
from multirun_ssh.ordering import order_job
from multirun_ssh.overseeing import end_job, see_through
from multirun_ssh.station import Station
from multirun_ssh.warming import Warming
from pretended import Pretended, PretendedHosts, change_far_side, cut, left, mend

from multirun_core import BackendError, ExitStatus, Run
from multirun_ssh import overseeing, programs, runner, station

pytestmark = pytest.mark.asyncio

PROGRAM = [
    "sh",
    "-c",
    ': > "$0/begun"; until test -e "$0/go"; do sleep 0.02; done; : > "$0/ended"',
]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[PretendedHosts]:
    """A runner with one host; its runs end when there is a file `go` in `tmp_path`."""
    (tmp_path / "run").mkdir()
    one = PretendedHosts(tmp_path / "hosts", hosts=["h1:2"], grace=3600.0)
    yield one
    await one.release()


def the_station(made: PretendedHosts) -> Station:
    assert made._pool is not None
    return made._pool.stations[0]


async def lost_on_its_way(made: PretendedHosts, tmp_path: Path) -> tuple[Station, Job]:
    """Return a job that is to be sent anew, since its first start was not heard of."""
    await made.ready()
    there = the_station(made)
    run = Run(cmd=[*PROGRAM, str(tmp_path)], cwd=tmp_path / "run")
    job = order_job(run, there, made.limits(run), None)
    job.state, job.grace = "sending", 0.0
    there.busy += 1
    there.jobs[job.token] = job
    await there.audit.all(again=True)
    assert job in there.starting.lane
    return there, job


async def test_a_host_that_is_given_up_may_still_begin_what_was_sent_to_it(
    made: PretendedHosts, tmp_path: Path
) -> None:
    there, job = await lost_on_its_way(made, tmp_path)
    there.give_up(5.0)
    end = await job.done
    assert end is not None
    assert end.cause == "lost"
    assert list(there.lost.values()) == [job]


async def test_what_was_sent_once_is_not_taken_for_never_begun(
    made: PretendedHosts, tmp_path: Path
) -> None:
    there, job = await lost_on_its_way(made, tmp_path)
    await end_job(made, there, job)
    assert job.done.done()
    assert (end := job.done.result()) is not None
    assert end.cause == "cancelled"


async def test_a_second_interrupt_waits_no_longer_for_a_host_that_is_away(
    made: PretendedHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overseeing, "HURRIED_SECONDS", 1.0)
    made.add([*PROGRAM, str(tmp_path)], tmp_path / "run")
    gathering = asyncio.create_task(made.gather())
    try:
        await until((tmp_path / "begun").exists)
        (job,) = the_station(made).jobs.values()
        cut(tmp_path / "hosts", "h1")
        gathering.cancel()
        await until(lambda: job.ending)
        made.hurry()
        await asyncio.wait([gathering], timeout=15)
        assert gathering.cancelled()
    finally:
        (tmp_path / "go").touch()
        mend(tmp_path / "hosts", "h1")
        await asyncio.wait([gathering])
        await until((tmp_path / "ended").exists)


async def test_a_second_interrupt_waits_no_longer_for_clearing_up(
    made: PretendedHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station, "HURRIED_SECONDS", 1.0)
    change_far_side(monkeypatch, "leave)\n", "leave)\n: >~/leaving; sleep 300\n")
    made.add(["true"], tmp_path / "run")
    gathering = asyncio.create_task(made.gather())
    await until((tmp_path / "hosts/h1/leaving").exists)
    made.hurry()
    await asyncio.wait([gathering], timeout=15)
    in_time = gathering.done()
    await asyncio.wait([gathering])
    assert in_time


async def test_a_host_that_is_left_is_not_connected_to_again(
    made: PretendedHosts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its log is gone before it is followed, where a sweep ends as soon as it has begun."""
    change_far_side(
        monkeypatch, "follow)\n", "follow)\n    until [ -e ~/gone ]; do sleep 0.02; done\n"
    )
    change_far_side(
        monkeypatch,
        '    rm -rf -- "$1"\n',
        '    rm -rf -- "$1"\n    : >~/gone; until [ -e ~/go ]; do sleep 0.02; done\n',
    )
    await made.ready()
    there = the_station(made)
    releasing = asyncio.create_task(made.release())
    assert there._keeping is not None
    await until(there._keeping.done)
    (tmp_path / "hosts/h1/go").touch()
    await asyncio.wait_for(releasing, 30)
    assert left(tmp_path / "hosts/h1") == []
    assert caplog.messages == []


async def test_a_run_that_is_seen_to_begin_while_it_is_ended_did_begin(
    made: PretendedHosts, tmp_path: Path
) -> None:
    """Also where it is cancelled once more meanwhile."""
    run = Run(cmd=["true"], cwd=tmp_path)
    job = Job(run, "h1", "/f/1", 1, "1", tmp_path, 1.0, state="sent")

    async def carry_out(job: Job) -> ExitStatus | None:
        return await asyncio.shield(job.done)

    there = SimpleNamespace(
        carry_out=carry_out,
        hurried=None,
        lost={},
        starting=SimpleNamespace(lane=SimpleNamespace(drop=lambda job: False)),
        ending=SimpleNamespace(lane=SimpleNamespace(put=lambda job: job.seen.set())),
    )
    seeing = asyncio.create_task(see_through(made, cast("Station", there), job))
    await asyncio.sleep(0)
    seeing.cancel()
    await until(job.seen.is_set)
    seeing.cancel()
    await asyncio.sleep(0)
    job.finish(ExitStatus(code=None, reason="cancelled"))
    await asyncio.wait([seeing])
    assert seeing.cancelled()
    assert (run.status, run.attempts) == ("running", 1)


async def test_what_another_runner_left_is_not_taken_for_dead(made: PretendedHosts) -> None:
    run = Run(cmd=["true"], index=3)
    run.handle = {"job": "4711", "number": 3}
    with pytest.raises(BackendError, match=r"run 3 may be alive .*4711.*multirun cancel"):
        await made.reattach(run)
    with pytest.raises(BackendError, match="run 3 may be alive"):
        await made.end_left([run])


async def test_a_run_that_cannot_be_put_into_words_takes_no_slot(
    made: PretendedHosts, tmp_path: Path
) -> None:
    odd = [made.add(["echo", "\ud800"], tmp_path / "run") for _ in range(3)]
    plain = made.add(["true"], tmp_path / "run")
    async with asyncio.timeout(30):
        await made.gather()
    assert [run.reason for run in odd] == ["submit"] * 3
    assert plain.status == "success"


async def test_a_look_for_a_program_that_nobody_waits_for_ends_with_its_runner(
    made: PretendedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def lack(*_: object) -> str | None:
        begun.set()
        try:
            return await asyncio.Event().wait() and None
        finally:
            ended.set()

    monkeypatch.setattr(programs, "lack", lack)
    await made.ready()
    asking = asyncio.create_task(the_station(made).has("program", {}))
    await begun.wait()
    asking.cancel()
    await asyncio.wait([asking])
    await made.release()
    assert ended.is_set()


async def test_what_does_not_stop_does_not_keep_a_runner_from_closing(
    made: PretendedHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station, "STOP_SECONDS", 0.1)
    stop = asyncio.Event()

    async def keep(there: Station) -> None:
        await made.links["h1"].run(["true"], timeout=30)
        there.health.up, there.slots = True, 1
        there._changed()
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()

    monkeypatch.setattr(Station, "_keep", keep)
    await made.ready()
    keeping = the_station(made)._keeping
    try:
        async with asyncio.timeout(30):
            await made.release()
    finally:
        stop.set()
    assert keeping is not None
    await asyncio.wait([keeping])


async def test_what_cannot_be_removed_from_a_host_is_told(
    made: PretendedHosts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    change_far_side(monkeypatch, "leave)\n", "leave)\n echo Read-only file system >&2; exit 1\n")
    made.add(["true"], tmp_path / "run")
    await made.gather()
    assert "could not be removed: Read-only file system" in caplog.text


# The duty that ends runs.


def to_end(**facts: Any) -> Job:
    run = Run(cmd=["true"], index=1)
    job = Job(run, "h1", "/f/1", 1, "1", Path("/f"), 1.0, state="sent", **facts)
    job.ending = "cancelled"
    return job


def ending_by(far: Callable[..., Any]) -> Ending:
    lane = SimpleNamespace(put=lambda job: None)
    there = SimpleNamespace(
        far=far,
        name="h1",
        settings=SimpleNamespace(grace=1.0),
        fetching=SimpleNamespace(lane=lane),
        release=lambda job: None,
    )
    return Ending(cast("Station", there))


async def test_a_connection_that_is_lost_while_a_run_is_ended_is_given_up() -> None:
    async def far(*words: str, **_: float) -> Completed:
        raise TransportError("connection lost")

    ending, job = ending_by(far), to_end()
    ending.lane.put(job)
    async with asyncio.timeout(30):
        with pytest.raises(TransportError, match="connection lost"):
            await ending.work()
    assert job in ending.lane


async def test_a_run_that_is_being_ended_is_not_forgotten_with_the_connection() -> None:
    asked = asyncio.Event()

    async def far(*words: str, **_: float) -> Completed:
        asked.set()
        await asyncio.Event().wait()
        return Completed(0, b"", b"")

    ending, job = ending_by(far), to_end()
    ending.lane.put(job)
    working = asyncio.create_task(ending.work())
    await asked.wait()
    working.cancel()
    await until(lambda: job in ending.lane)


async def test_a_run_that_was_begun_and_is_gone_has_begun() -> None:
    async def far(*words: str, **_: float) -> Completed:
        return Completed(0, b"0\tgone\n", b"")

    ending, job = ending_by(far), to_end()
    ending.lane.put(job)
    working = asyncio.create_task(ending.work())
    await until(lambda: job.state == "ended")
    working.cancel()
    assert job.seen.is_set()


# The duty that looks.


async def test_a_run_that_waits_for_its_fork_is_not_taken_for_lost_while_it_can_begin(
    tmp_path: Path,
) -> None:
    """Its start was not heard of, and nobody forks it."""
    for name in ("far.sh", "wrapper.sh"):
        (tmp_path / name).write_bytes(luggage()[name])
    for name in ("pipes", "runs", "run"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipes/orders")
    (tmp_path / "pipes/held").touch()
    write_order(tmp_path / "run", Order(cmd=["true"], attempt=1, token="t", warm=b"it"))

    async def far(*words: str, **_: float) -> Completed:
        process = await asyncio.create_subprocess_exec(
            "sh", tmp_path / "far.sh", *words, stdout=subprocess.PIPE
        )
        said, _ = await process.communicate()
        return Completed(process.returncode or 0, said, b"")

    job = Job(Run(index=1), "h1", f"{tmp_path}/run", 1, "t", tmp_path, 0.0, state="sending")
    ending: list[Job] = []
    there = SimpleNamespace(
        far=far,
        name="h1",
        jobs={"t": job},
        ending=SimpleNamespace(lane=SimpleNamespace(put=ending.append)),
    )
    audit = Audit(cast("Station", there))
    await far("start", f"{tmp_path}/runs", f"{tmp_path}/pipes", "run", job.dir, "1", "t")
    claim = tmp_path / "run/.multirun/claim-1"
    await until((claim / "asked").exists)
    claimant = int((claim / "claimant").read_text().split("\t")[2])
    try:
        for _ in range(3):
            await audit.all(again=True)
            assert (job.state, job.doubts, job.ending) == ("sent", 0, None)
        assert not job.seen.is_set()
    finally:
        os.killpg(claimant, signal.SIGKILL)
    await until(lambda: start_time(claimant) is None)
    for _ in range(2):
        assert ending == []
        await audit.all()
    assert (ending, job.ending) == ([job], "lost")


# Runs that are not needed any more.


async def test_what_may_have_begun_goes_on_when_it_is_dropped(
    made: PretendedHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, real = asyncio.Event(), Pretended.run

    async def send(link: Pretended, argv: Sequence[str], **how: Any) -> Completed:
        if "start" in argv:
            made.drop(run)
            sent.set()
        return await real(link, argv, **how)

    monkeypatch.setattr(Pretended, "run", send)
    run = made.add([*PROGRAM, str(tmp_path)], tmp_path / "run")
    (tmp_path / "go").touch()
    async with asyncio.timeout(30):
        await made.gather()
    assert sent.is_set()
    assert (run.status, run.attempts) == ("success", 1)
    assert (tmp_path / "ended").exists()


async def test_what_was_not_sent_is_not_begun_when_it_is_dropped(
    made: PretendedHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    async def ready(*_: object) -> None:
        waits.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Warming, "ready", ready)
    runs = [made.add([*PROGRAM, str(tmp_path)], tmp_path / "run") for _ in range(4)]
    await waits.wait()
    for run in runs:
        made.drop(run)
    async with asyncio.timeout(30):
        await made.gather()
    assert [(run.status, run.attempts) for run in runs] == [("skipped", 0)] * 4
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize("adopted", [False, True])
async def test_what_never_began_where_it_was_sent_is_not_begun_elsewhere_when_it_is_dropped(
    made: PretendedHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, adopted: bool
) -> None:
    asked: list[Job] = []

    async def see(_runner: object, there: Station, job: Job) -> None:
        asked.append(job)
        job.state = "sent"
        made.drop(job.run)
        await asyncio.sleep(0)
        there.release(job)
        if not adopted:
            raise NotStartedError

    monkeypatch.setattr(runner, "see_through", see)
    run = Run(cmd=["true"], cwd=tmp_path / "run")
    if adopted:
        run.handle = Job(run, "h1", "/f/1", 1, "1", tmp_path, 1.0).handle()
    made.submit(run)
    async with asyncio.timeout(30):
        await made.gather()
    assert (run.status, run.attempts, len(asked)) == ("skipped", 0, 1)
