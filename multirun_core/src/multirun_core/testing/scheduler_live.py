"""Checks with the queue system itself: jobs that are submitted, looked at, signalled and ended."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multirun_core._runners.scheduler.command import CommandScheduler, Job, JobState, Phase
from multirun_core.testing.promises import expect, promise, requires
from multirun_core.testing.scheduler_outputs import OutputChecks

# In place of what carries out runs: goes on until there is a file `finish`, five minutes at most.
_WAITS = """
printf '%s\\n' "$3" >"$1/part-$2" && mv "$1/part-$2" "$1/began-$2"
n=0
while [ ! -e "$1/finish" ] && [ "$n" -lt 3000 ]; do
    sleep 0.1
    n=$((n + 1))
done
: >"$1/ended-$2"
"""
_LISTENS = """
(
    trap ': >"$1/hit-$2"; exit' TERM
    m=0
    while [ "$m" -lt 3000 ]; do
        : >"$1/tick-$2"
        sleep 0.1
        m=$((m + 1))
    done
) &
mr_child=$!
trap ': >"$1/told-$2"' TERM
"""
# A child that was sent the signal can make one more tick at most: the one that it was at.
_GONE = """
for mr_round in 1 2; do
    rm -f "$1/tick-$2"
    n=0
    until [ -e "$1/tick-$2" ] || [ -e "$1/hit-$2" ] || [ "$n" -ge 300 ]; do
        sleep 0.1
        n=$((n + 1))
    done
done
[ -e "$1/tick-$2" ] && [ ! -e "$1/hit-$2" ] && : >"$1/spared-$2"
kill "$mr_child"
"""


@pytest.mark.usefixtures("jobs_end_with_their_check")
class LiveChecks(OutputChecks):
    """What a scheduler promises with the queue system that it is for."""

    @pytest.fixture
    def jobs_end_with_their_check(self) -> Iterator[None]:
        """End the jobs that a check leaves.

        Not by itself in use: it then comes after the fixtures of authors that are, and so ends
        before the queue system does that they have set up.
        """
        self._submitted: list[str] = []
        yield
        if self._submitted:
            self.call(self.make_scheduler().cancel(self._submitted))

    @requires("can_submit")
    def test_a_job_is_submitted_carried_out_and_over(self, hostile_path: Path) -> None:
        scheduler = self.make_scheduler()
        job = self._job(hostile_path)
        running = self._begun(scheduler, job)
        expect(
            (hostile_path / "began-0").read_text(),
            "0\n",
            "a job that was started for the first time says so to its body",
        )
        self.wait_until(
            lambda: self._phases(scheduler, running) == ["running"],
            "the status command tells by its id that a job runs",
        )
        state = self._ask(scheduler, running)[running]
        promised = "the status command tells the job's name, or none"
        promise(state.name in (None, job.name), promised, state)
        self._finish(hostile_path)
        self._over(scheduler, running)

    @requires("can_submit")
    def test_what_commands_print_is_refused_when_cut_off(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        printed = self._submit(scheduler, self._job(tmp_path))
        self.check_cut_id(printed)
        self.wait_until(lambda: (tmp_path / "began-0").exists(), "the job begins", 60)
        job = str(scheduler.job_id(printed))
        self.check_cut_list(self.call(scheduler.status([job])).stdout)

    @requires("can_submit")
    def test_jobs_that_are_gone_are_told_as_gone(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        for ids in ([self.unknown_id], [self.unknown_id, f"{self.unknown_id}9"]):
            done = self.call(scheduler.status(ids))
            promised = f"the status command exits with 0 for {ids}, which nobody knows"
            promise(done.returncode == 0, promised, (done.returncode, done.stderr))
            told = scheduler.states(done.stdout)
            promise(not {*ids} & {*told}, "jobs that nobody knows are not told of", told)
        here = self._begun(scheduler, self._job(tmp_path))
        told = self._ask(scheduler, self.unknown_id, here)
        promise(here in told, "a job is told of beside one that nobody knows", told)

    @requires("can_submit")
    def test_a_job_is_found_by_its_whole_name(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        jobs = [self._job(tmp_path / "a"), self._job(tmp_path / "b")]
        jobs[1] = self._job(tmp_path / "b", name=f"{jobs[0].name}0")
        wanted = {job.name: self._begun(scheduler, job) for job in jobs}
        for name, job in wanted.items():
            promised = f"job {job} is found by its name {name!r} alone"
            expect(self._find(scheduler, name), [job], promised)
        for name in (jobs[0].name[:-1], f"{jobs[0].name}00", f"x{jobs[0].name}"):
            expect(self._find(scheduler, name), [], f"no job is found by the name {name!r}")

    @requires("can_submit")
    def test_cancel_ends_the_jobs_asked_and_no_other(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        first, second = (self._begun(scheduler, self._job(tmp_path / one)) for one in "ab")
        self._cancel(scheduler, self.unknown_id, first)
        self._over(scheduler, first)
        self._finish(tmp_path / "b")
        self.wait_until(
            lambda: (tmp_path / "b" / "ended-0").exists(),
            "a job goes on to its end when another is cancelled",
        )
        promise(not (tmp_path / "a" / "ended-0").exists(), "a job that is cancelled is ended")
        self._over(scheduler, second)
        self._cancel(scheduler, first, second)  # which are over

    @requires("can_submit", "arrays")
    def test_tasks_of_an_array_are_told_and_cancelled_one_by_one(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        array = self._begun(scheduler, self._job(tmp_path, tasks=3))
        tasks = [scheduler.task_id(array, task) for task in range(3)]
        self.wait_until(
            lambda: self._phases(scheduler, array, *tasks) == ["running"] * 3,
            f"the status command tells of each task by what task_id returns: {tasks}",
        )
        name = self._job(tmp_path).name
        expect(self._find(scheduler, name), [array], "an array is found once")
        self._cancel(scheduler, tasks[1])
        self._over(scheduler, array, tasks[1])
        self._finish(tmp_path)
        self.wait_until(
            lambda: all((tmp_path / f"ended-{task}").exists() for task in (0, 2)),
            "tasks go on to their ends when another one is cancelled",
        )
        promise(not (tmp_path / "ended-1").exists(), "a task that is cancelled is ended")

    @requires("can_submit", "nudge")
    def test_a_signal_reaches_the_script_alone(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        job = self._begun(scheduler, self._job(tmp_path, script=_LISTENS + _WAITS + _GONE))
        done = self.call(scheduler.nudge([job], "TERM") or ())
        promise(done.returncode == 0, "the nudge command exits with 0", done)
        self.wait_until(lambda: (tmp_path / "told-0").exists(), "the script is sent the signal")
        self._finish(tmp_path)
        self.wait_until(
            lambda: (tmp_path / "spared-0").exists(),
            "a script goes on after its signal, and what it has started is not sent it",
        )

    # What these are made with.

    def _job(self, directory: Path, script: str = _WAITS, **changes: Any) -> Job:
        """Return a job that goes on until it is told to end."""
        directory.mkdir(exist_ok=True)
        (directory / "job.sh").write_text(script)
        token = uuid.uuid5(uuid.NAMESPACE_OID, str(directory)).hex[:12]
        return self.job(directory, **({"name": f"multirun-{token}"} | changes))

    def _submit(self, scheduler: CommandScheduler, job: Job) -> str:
        """Submit a job, and return what the command printed."""
        script = Path(job.directory, "script")
        script.write_bytes(scheduler.script(job).encode("utf-8", "surrogateescape"))
        done = self.call(scheduler.submit(job, str(script)))
        found = scheduler.job_id(done.stdout)
        promise(
            done.returncode == 0 and found is not None,
            "the submit command exits with 0 and prints the id of the new job",
            (done.returncode, done.stdout, done.stderr),
        )
        self._submitted.append(str(found))
        return done.stdout

    def _begun(self, scheduler: CommandScheduler, job: Job) -> str:
        """Submit a job, wait until all its tasks have begun, and return its id."""
        number = str(scheduler.job_id(self._submit(scheduler, job)))
        for task in range(job.tasks or 1):
            path = Path(job.directory, f"began-{task}")
            self.wait_until(path.exists, f"task {task} is carried out, with its number", 60)
        return number

    def _ask(self, scheduler: CommandScheduler, *ids: str) -> dict[str, JobState]:
        done = self.call(scheduler.status(ids))
        promised = f"the status command exits with 0 for {ids}"
        promise(done.returncode == 0, promised, (done.returncode, done.stdout, done.stderr))
        told = scheduler.states(done.stdout)
        self.check_told(told, repr(done.stdout))
        return dict(told)

    def _phases(self, scheduler: CommandScheduler, job: str, *tasks: str) -> list[Phase | None]:
        """Return what is told of a job, or of tasks of an array; None where that is nothing."""
        told = self._ask(scheduler, job)
        return [told[one].phase if one in told else None for one in tasks or (job,)]

    def _over(self, scheduler: CommandScheduler, job: str, *tasks: str) -> None:
        self.wait_until(
            lambda: {*self._phases(scheduler, job, *tasks)} <= {None, "ended"},
            f"job {tasks or job}, which is over, is told as ended or not told of any more",
            60,
        )

    def _find(self, scheduler: CommandScheduler, name: str) -> list[str]:
        done = self.call(scheduler.find(name))
        promised = f"the find command exits with 0 for {name!r}"
        promise(done.returncode == 0, promised, (done.returncode, done.stdout, done.stderr))
        return list(scheduler.found(done.stdout, name))

    def _cancel(self, scheduler: CommandScheduler, *ids: str) -> None:
        done = self.call(scheduler.cancel(ids))
        promised = f"the cancel command exits with 0, also for jobs that are gone: {ids}"
        promise(done.returncode == 0, promised, (done.returncode, done.stdout, done.stderr))

    def _finish(self, directory: Path) -> None:
        (directory / "finish").touch()
