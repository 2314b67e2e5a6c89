"""A queue system that fails, lies and forgets: what becomes of runs, and what is said."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from multirun_core._sweep.abandoned import end_left
from multirun_core.errors import BackendError
from queue_tools import Queue, QueueRunner
from sweeps import InThread, events, remake_by, wait_until

from multirun_core import Sweep, multirun

BEGIN = 'echo "$MULTIRUN_ATTEMPT" >> began; '
POST = 'echo "$MULTIRUN_PARAM_N" > part && mv part results.json; '
HASTY = {"record_grace": 0.5, "infrastructure_retries": 0}
BOUND = 30.0  # seconds that a sweep takes at most here, on a machine that is busy


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """Yield a queue that works, for now; what runs in it has ended at the end."""
    found = Queue(tmp_path / "the queue's $HOME")
    yield found
    found.end_all()
    wait_until(lambda: not found.processes())


class Call(InThread):
    """A sweep that goes on in a thread while a test commits faults."""

    def __init__(self, queue: Queue, script: str, count: int = 1, **more: Any) -> None:
        self.queue = queue
        self.root = queue.home.parent / "s w"
        self.go = queue.home.parent / "go"
        self.runner = QueueRunner(queue.home, **more.pop("options", {}))
        self.runner.detaches = more.pop("detach", False)
        script = script.replace("UNTIL", f"until test -e '{self.go}'; do sleep 0.05; done; ")
        call: dict[str, Any] = {
            "runs": [{"n": n} for n in range(count)],
            "cmd": ["sh", "-c", script],
            "output_path": self.root,
            "runner": self.runner,
            "progress": False,
            "resume": True,
            **more,
        }
        super().__init__(lambda: multirun(**call))

    def result(self, within: float = BOUND) -> Sweep:
        return super().result(within)

    def executions(self) -> int:
        """Return how often runs began."""
        return sum(len(p.read_text().split()) for p in self.root.glob("runs/*/began"))

    def wait_begun(self, count: int = 1) -> None:
        wait_until(lambda: self.executions() >= count)

    def wait_calls(self, verb: str, more: int) -> None:
        """Wait until a verb was called so many times more."""
        before = self.queue.calls()[verb]
        wait_until(lambda: self.queue.calls()[verb] >= before + more)


def told(sweep: Sweep) -> list[tuple[Any, ...]]:
    return [(run.status, run.reason, run.message) for run in sweep.runs]


# Every call has a time limit.


def test_a_status_command_that_hangs_holds_nothing_up(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.fault("slow-status", 600)
    call = Call(queue, BEGIN + "sleep 3; " + POST, 2, options={"command_timeout": 1.0})
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert queue.calls()["status"] >= 2
    assert "does not tell about jobs" in caplog.text
    wait_until(lambda: not queue.processes())


SILENCE = "multirun_core._runners.scheduler.silence."


def test_a_queue_that_is_away_for_long_is_told_of_again_and_again(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that end are judged meanwhile."""
    monkeypatch.setattr(SILENCE + "TELL_SECONDS", 0.5)
    caplog.set_level("INFO", "multirun.runner")
    call = Call(queue, BEGIN + "UNTIL" + POST, 2)
    call.wait_begun(2)
    queue.fail("status", 1000)
    wait_until(lambda: caplog.text.count("has not told about jobs since") >= 3)
    lines = [one for one in caplog.messages if "has not told about jobs since" in one]
    assert re.search(r"since \d\d:\d\d, for 0 minutes: .+\. Runs go on", lines[0]), lines
    queue.mend("fail-status")
    wait_until(lambda: "tells about jobs again" in caplog.text)
    queue.fail("status", 1000)
    call.go.touch()
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert call.executions() == 2


def test_a_queue_that_never_answers_again_ends_the_sweep_but_not_its_runs(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Call(queue, BEGIN + "UNTIL" + POST, 2)
    call.wait_begun(2)
    monkeypatch.setattr(SILENCE + "PATIENCE_SECONDS", 2.0)
    queue.fail("status", 1000)
    with pytest.raises(
        BackendError, match=r"has not told about jobs for .* resume the sweep later"
    ):
        call.result()
    left = Sweep.open(call.root).runs
    assert [(run.status, run.handle is not None) for run in left] == [("pending", True)] * 2
    queue.mend("fail-status")
    again = Call(queue, BEGIN + "UNTIL" + POST, 2)
    again.go.touch()
    sweep = again.result()
    assert sweep.results == [0, 1], told(sweep)
    assert again.executions() == 2


def test_runs_that_end_keep_the_sweep_from_giving_up_a_queue_that_is_away(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SILENCE + "PATIENCE_SECONDS", 5.0)
    queue.fail("status", 1000)
    script = BEGIN + "sleep $((2 * (MULTIRUN_PARAM_N + 1))); " + POST
    sweep = Call(queue, script, 4).result()
    assert sweep.results == [0, 1, 2, 3], told(sweep)


def test_a_submit_command_that_hangs_is_ended_and_called_again(queue: Queue) -> None:
    queue.fault("slow-submit", "600 1")
    call = Call(queue, BEGIN + POST, 2, options={"command_timeout": 1.0})
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert call.executions() == 2
    assert queue.calls()["submit"] == 2
    assert not queue.processes()


@pytest.mark.parametrize("fault", ["slow-answer", "no-answer"])
def test_a_job_whose_acceptance_was_not_heard_is_found_and_executed_once(
    fault: str, queue: Queue
) -> None:
    queue.fault(fault, 600)
    call = Call(queue, BEGIN + "UNTIL" + POST, 2, options={"command_timeout": 1.0})
    wait_until(lambda: queue.calls()["find"])
    call.go.touch()
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert call.executions() == 2
    assert queue.calls()["submit"] == 1
    assert not queue.processes()


@pytest.mark.parametrize("verb", ["submit", "status"])
def test_a_command_that_fails_for_a_while_is_called_again(verb: str, queue: Queue) -> None:
    queue.fail(verb, 2)
    call = Call(queue, BEGIN + "sleep 1; " + POST, 2)
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert call.executions() == 2


def test_a_queue_that_takes_few_jobs_is_given_few_at_once(queue: Queue) -> None:
    queue.fault("limit", 2)
    call = Call(queue, BEGIN + POST, 5)
    sweep = call.result()
    assert sweep.results == [0, 1, 2, 3, 4], told(sweep)
    assert call.executions() == 5


# Records and what the queue says.


def test_a_record_of_success_wins_and_what_the_queue_says_is_kept(queue: Queue) -> None:
    queue.fault("lie", "NODE_FAIL")
    options = {"record_grace": BOUND, "infrastructure_retries": 0}
    sweep = Call(queue, BEGIN + "sleep 1; " + POST, options=options).result()
    assert told(sweep) == [
        ("success", None, "exit status 0, although its job is NODE_FAIL"),
    ]
    assert sweep.results == [0]


def test_a_record_is_waited_for_so_long_and_no_longer(queue: Queue) -> None:
    queue.fault("lie", "NODE_FAIL")
    call = Call(queue, BEGIN + "UNTIL" + POST, options=HASTY)
    sweep = call.result()
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "node_fail")]
    assert sweep.runs[0].attempts == 1
    call.go.touch()


def test_a_job_that_the_queue_has_forgotten_is_lost(queue: Queue) -> None:
    options = {"infrastructure_retries": 0}
    call = Call(queue, BEGIN + "UNTIL" + POST, options=options)
    call.wait_begun()
    queue.fault("forget")
    queue.end_all()
    sweep = call.result()
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "lost")], told(sweep)
    assert sweep.runs[0].message == "it left no record; the queue knows its job no more"


def test_one_that_is_still_found_by_its_name_is_not(queue: Queue) -> None:
    """The status command misses it, again and again; the one that looks for names shows it."""
    call = Call(queue, BEGIN + "UNTIL" + POST, options={"infrastructure_retries": 0})
    call.wait_begun()
    queue.fault("forget")
    call.wait_calls("find", 3)
    call.go.touch()
    sweep = call.result()
    assert sweep.results == [0], told(sweep)
    assert call.executions() == 1


def test_a_job_that_could_not_be_launched_is_tried_again(queue: Queue) -> None:
    queue.fault("hold-1")
    queue.fault("lie-1", "LAUNCH")
    call = Call(queue, BEGIN + POST)
    sweep = call.result()
    assert sweep.results == [0], told(sweep)
    ends = [event for event in events(call.root) if event["event"] == "end"]
    assert [event.get("reason") for event in ends] == ["launch", None]
    assert queue.calls()["submit"] == 2
    assert call.executions() == 1


def test_launch_is_not_believed_of_a_run_that_has_begun(queue: Queue) -> None:
    call = Call(queue, BEGIN + "UNTIL" + POST, options=HASTY)
    call.wait_begun()
    queue.fault("lie", "LAUNCH")
    assert [run.reason for run in call.result().runs] == ["lost"]


def test_who_told_a_run_to_end_is_asked_when_the_queue_answers_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends a node tells its wrappers to end, as who cancels a job does."""
    monkeypatch.setattr("multirun_core._runners.scheduler.verdict.LAST_WORD_SECONDS", 0.5)
    call = Call(queue, BEGIN + "UNTIL" + POST)
    call.wait_begun()
    queue.fail("status", 1000)
    call.wait_calls("status", 2)
    queue.fault("lie", "TIMEOUT")
    os.kill(int((queue.home / "jobs" / "1" / "task-0").read_text()), signal.SIGTERM)
    wait_until((call.root / "runs" / "000000" / ".multirun" / "claim-1" / "exit").exists)
    written = time.monotonic()
    # It is asked ever less often, and for longer than it is waited for its last word.
    wait_until(lambda: queue.times("status")[-1] > written + 1.5 and gaps(queue)[-1] > 0.8)
    assert [run.status for run in Sweep.open(call.root).runs] == ["running"]
    queue.mend("fail-status")
    sweep = call.result()
    assert told(sweep) == [("failure", "timeout", "its job is TIMEOUT")]
    assert call.executions() == 1


# What was accepted late.


class Blind(Queue):
    """Does not find jobs, the first two times; then it is mended."""

    looks = 0

    def found(self, printed: str, name: str) -> Sequence[str]:
        self.looks += 1
        if self.looks > 2:
            return super().found(printed, name)
        (self.home / "no-answer").unlink(missing_ok=True)
        return []


def blind(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> QueueRunner:
    """Return the runner of a queue that is blind at first, and waits for nothing for long."""
    for module in ("client", "submitting"):
        monkeypatch.setattr(f"multirun_core._runners.scheduler.{module}.PAUSE_SECONDS", 0.05)
    runner = QueueRunner(queue.home)
    runner.scheduler = Blind(queue.home)
    return runner


def begin_both(queue: Queue, call: Call) -> None:
    """Let the job begin that was accepted first, unheard, and claim all; then its double."""
    wait_until((queue.home / "jobs" / "2" / "task-1").exists)
    queue.mend("hold")
    queue.start("1")
    call.wait_begun(2)
    queue.start("2")


def test_a_run_in_a_job_that_was_accepted_unseen_is_not_lost(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same was submitted twice; the second job finds all claimed, and ends at once."""
    queue.fault("hold")
    queue.fault("no-answer", 1)
    call = Call(queue, BEGIN + "UNTIL" + POST, 2, runner=blind(queue, monkeypatch))
    begin_both(queue, call)
    wait_until(lambda: queue.calls()["find"] > 2 or call.executions() > 2)
    call.go.touch()
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert [run.attempts for run in sweep.runs] == [1, 1]
    assert call.executions() == 2
    assert queue.calls()["find"] == 3  # for all runs at once


def test_a_run_in_a_job_of_an_earlier_driver_that_was_accepted_late_is_not_lost(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another name than what this driver submitted, and goes on through several looks."""
    queue.fault("hold")
    Call(queue, BEGIN + "UNTIL" + POST, 2, detach=True).result()
    (home,) = (queue.home.parent / "s w" / "jobs").iterdir()
    (home / "answer").write_text("")
    call = Call(queue, BEGIN + "UNTIL" + POST, 2, runner=blind(queue, monkeypatch))
    begin_both(queue, call)
    wait_until(lambda: queue.calls()["find"] >= 2 + 3 * 2 or call.executions() > 2)
    asked = [when for when, verb, *_ in queue.log() if verb == "find"][2::2]
    call.go.touch()
    sweep = call.result()
    assert sweep.results == [0, 1], told(sweep)
    assert [run.attempts for run in sweep.runs] == [1, 1]
    assert call.executions() == 2
    assert all(after - before > 0.9 for before, after in pairwise(asked)), asked  # the grace


# What is left in the queue.


def test_a_job_that_was_put_back_is_not_left_in_the_queue(queue: Queue) -> None:
    """The only run has its verdict by that, so that the sweep is over at once."""
    call = Call(queue, BEGIN + "UNTIL" + POST, options=HASTY)
    call.wait_begun()
    queue.fault("lie", "WAITING 1")
    sweep = call.result()
    assert [(run.status, run.reason) for run in sweep.runs] == [("failure", "node_fail")], told(
        sweep
    )
    assert ["1"] in [words for _, verb, *words in queue.log() if verb == "cancel"]


def test_ending_it_is_tried_again(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    queue.fail("cancel", 1)
    options = {"record_grace": 0.5, "infrastructure_retries": 1}
    call = Call(queue, BEGIN + "UNTIL" + POST, options=options)
    call.wait_begun()
    queue.fault("lie-1", "WAITING 1")
    wait_until(lambda: queue.calls()["submit"] == 2)
    wait_until(lambda: queue.calls()["cancel"] == 2)
    call.go.touch()
    sweep = call.result()
    assert sweep.results == [0], told(sweep)
    assert "look after it yourself" not in caplog.text


def test_what_cannot_be_ended_is_said(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    queue.fail("cancel", 100)
    call = Call(queue, BEGIN + "UNTIL" + POST, options=HASTY)
    call.wait_begun()
    queue.fault("lie", "WAITING 1")
    call.result()
    assert "the queue still has 1; look after it yourself" in caplog.text


def test_cancelling_fails_where_jobs_stay_in_the_queue(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them was begun, and nobody can begin them; but the queue has them still."""
    monkeypatch.setattr("multirun_core._runners.scheduler.ending._GONE_SECONDS", 2.0)
    monkeypatch.setattr("multirun_core._runners.scheduler.ending._MARGIN_SECONDS", 1.0)
    remake_by(monkeypatch, lambda: QueueRunner(queue.home))
    queue.fault("hold")
    call = Call(queue, BEGIN + POST, 3, detach=True)
    assert [run.status for run in call.result().runs] == ["pending"] * 3
    queue.fail("cancel", 100)
    with pytest.raises(BackendError, match=r"the queue still has 3 jobs .*multirun cancel again"):
        end_left(call.root, progress=False)
    queue.mend("fail-cancel")
    sweep = end_left(call.root, progress=False)
    assert {run.reason for run in sweep.runs} == {"cancelled"}, told(sweep)
    assert call.executions() == 0


def test_a_client_on_another_host_is_waited_for_as_long_as_its_driver_would(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can look whether it lives; the next driver has another limit for its own calls."""
    monkeypatch.setattr("multirun_core._runners.scheduler.here.WAIT_OUT_SECONDS", 0.2)
    options = {"command_timeout": 1.0}
    call = Call(queue, BEGIN + "UNTIL" + POST, options=options, detach=True)
    call.result()
    (home,) = (call.root / "jobs").iterdir()
    (home / "answer").write_text("")
    (home / "client").write_text("elsewhere\tanother-boot\t1\t1\t.\n")
    call.go.touch()
    began = time.monotonic()
    sweep = Call(queue, BEGIN + "UNTIL" + POST).result()
    assert sweep.results == [0], told(sweep)
    assert call.executions() == 1
    assert time.monotonic() - began < 20


# What is said.


def test_why_jobs_wait_is_said_once(
    queue: Queue, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Two submissions wait for the same: people see it once, the log has each."""
    caplog.set_level("INFO", "multirun.runner")
    queue.fault("lie", "WAITING 0 all is busy (nodes n1)")
    options = {"array_limit": 1}
    call = Call(queue, BEGIN + "UNTIL" + POST, 2, options=options, progress=None)
    lines = [f"the queue job {job} waits: all is busy (nodes n1)" for job in (1, 2)]
    wait_until(lambda: all(line in caplog.text for line in lines))
    queue.fault("lie", "WAITING 0 all is busy (nodes n2)")
    call.wait_calls("status", 3)
    queue.mend("lie")
    call.go.touch()
    assert call.result().results == [0, 1]
    assert capsys.readouterr().err.count("waits: ") == 1
    assert sorted(one.message for one in caplog.records if "waits: " in one.message) == lines


@pytest.mark.parametrize(
    ("why", "how"), [("never, as it is", "cannot start"), ("perhaps never", "waits")]
)
def test_what_may_wait_for_ever_is_a_warning(
    why: str, how: str, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.fault("lie", f"WAITING 0 {why}")
    call = Call(queue, BEGIN + "UNTIL" + POST, 2)
    call.wait_calls("status", 3)
    call.go.touch()
    assert call.result().results == [0, 1]
    said = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert said == [f"the queue job 1 {how}: {why}"]


def test_how_often_commands_were_called_is_said_at_the_end(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    call = Call(queue, POST, 2, progress=None)
    assert call.result().results == [0, 1]
    calls = ", ".join(f"{verb} {count}" for verb, count in sorted(call.runner.calls.items()))
    assert "submit 1" in calls
    assert f"multirun: calls of the queue's commands: {calls}\n" in capsys.readouterr().err


# How often it is asked.


def gaps(queue: Queue) -> list[float]:
    times = queue.times("status")
    return [after - before for before, after in pairwise(times)]


def test_the_queue_is_asked_ever_less_often_and_soon_after_a_change(queue: Queue) -> None:
    call = Call(queue, BEGIN + "UNTIL" + POST, options={"poll_interval": (0.2, 3.0)})
    call.wait_begun()
    wait_until(lambda: gaps(queue) and gaps(queue)[-1] > 2)
    asked = len(queue.times("status"))
    queue.fault("lie", "WAITING")
    call.wait_calls("status", 3)
    call.go.touch()
    call.result()
    quiet, changed = gaps(queue)[: asked - 1], gaps(queue)[asked - 1 :]
    assert all(gap > 0.15 for gap in quiet), quiet  # a call takes a moment to begin
    assert len(quiet) < 12, quiet
    assert any(gap < 1 for gap in changed[:2]), (quiet, changed)


def test_two_submissions_are_asked_about_by_one_call(queue: Queue) -> None:
    options = {"array_limit": 1, "poll_interval": (0.5, 1.0)}
    call = Call(queue, BEGIN + "UNTIL" + POST, 2, options=options)
    call.wait_begun(2)
    call.wait_calls("status", 4)
    call.go.touch()
    call.result()
    asked = [words for _, verb, *words in queue.log() if verb == "status"]
    assert asked[-1] == ["1", "2"]
    both = asked.index(["1", "2"])
    assert asked[both:] == [["1", "2"]] * (len(asked) - both)
    assert all(gap > 0.4 for gap in gaps(queue)), gaps(queue)
