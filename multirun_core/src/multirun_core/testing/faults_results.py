"""Checks of what a run posts: never torn, never invented, never of another attempt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._sweep.sweep import Sweep
from multirun_core.errors import ResultsError
from multirun_core.testing.base import KitBase, expect, promise
from multirun_core.testing.fault_tools import POST, sh

if TYPE_CHECKING:
    from multirun_core._model.run import Run

_ONLY_FIRST = f'test "$MULTIRUN_PARAM_N" = 0 || {{ {POST}exit 0; }}; '
_OLD = 'echo \'{"n": "old"}\' > results.part && mv results.part results.json; '
_NEW = 'echo \'{"n": "new"}\' > results.part; '
_RENAME = "mv results.part results.json; "
_DIE = "kill -9 $$; sleep 300"
_FIRST = 'if test "$MULTIRUN_ATTEMPT" = 1; then '

# Left over from attempt 1; posts when attempt 2 goes on.
_ORPHAN = """
import os, sys, time
from multirun_core import postRunResults
where = sys.argv[1]
open(os.path.join(where, "there"), "w").close()
while not os.path.exists(os.path.join(where, "second")):
    time.sleep(0.01)
postRunResults({"n": "orphan"})
open(os.path.join(where, "posted"), "w").close()
"""
# Waits a little for the orphan, where there still is one.
_AWAIT_ORPHAN = (
    ": > second; count=0; until test -e posted || test $count = 30; "
    "do sleep 0.05; count=$((count + 1)); done; "
)


class ResultFaults(KitBase):
    """What a runner promises about results when programs die or are tried again."""

    def test_killed_before_it_renames_its_results(self, hostile_path: Path) -> None:
        """What was not renamed was not posted."""
        run = self._killed(hostile_path, _NEW, _DIE)
        expect(run.result, None, "what was not yet renamed does not count")

    def test_killed_between_two_posts(self, hostile_path: Path) -> None:
        """What was posted first stays, whole."""
        run = self._killed(hostile_path, _OLD, _NEW, _DIE)
        expect(run.result, {"n": "old"}, "a post that was not completed leaves the earlier one")

    def test_killed_after_it_renamed_its_results(self, hostile_path: Path) -> None:
        """What was posted counts, and yet it has failed."""
        run = self._killed(hostile_path, _OLD, _NEW, _RENAME, _DIE)
        expect(run.result, {"n": "new"}, "what a program posted before it was killed is there")

    def test_a_torn_results_file_is_told_and_harms_nobody(self, hostile_path: Path) -> None:
        """It is an error of that row alone: neither a result nor the lack of one."""
        path = hostile_path / "sweep"
        cmd = sh(_ONLY_FIRST, "printf '{\"n\": [1, 2' > results.json")
        sweep = self.run_sweep(3, cmd, path, options=self.slots(2))
        for seen in (sweep, Sweep.open(path)):
            expect([run.status for run in seen.runs], ["success"] * 3, "exit status 0 is a success")
            error = _error_of(seen.runs[0])
            promise("no JSON" in error, "a torn results file is an error that says so", error)
            others = [run.result for run in seen.runs[1:]]
            expect(others, [{"n": 1}, {"n": 2}], "other runs keep their results")

    def test_a_retry_that_posts_nothing_has_no_result(self, hostile_path: Path) -> None:
        """What the failed attempt before it posted does not count."""
        cmd = sh(_FIRST, POST, "exit 3; fi")
        run = self._retried(hostile_path, cmd)
        expect(run.result, None, "results of an earlier attempt do not count")

    def test_what_is_left_of_an_attempt_posts_no_result(self, hostile_path: Path) -> None:
        """A process of attempt 1 that lives on does not post for attempt 2."""
        start = '("$@" "$PWD" > /dev/null 2>&1 &); until test -e there; do sleep 0.02; done; '
        if self.why_not("runs_on_this_machine") is None:
            start = start.replace('"$@"', 'setsid "$@"')
        cmd = [
            *sh(_FIRST, start, "exit 3; fi; ", _AWAIT_ORPHAN),
            *("sh", self.python, "-c", _ORPHAN),
        ]
        run = self._retried(hostile_path, cmd)
        expect(run.result, None, "what is left of an earlier attempt posts nothing that counts")

    # Helpers.

    def _killed(self, folder: Path, *program: str) -> Run:
        """Carry out a sweep whose first run kills itself, and return that run."""
        path = folder / "sweep"
        sweep = self.run_sweep(2, sh(_ONLY_FIRST, *program), path, options=self.slots(2))
        run, other = sweep.runs
        expect(run.status, "failure", "a run that was killed has failed")
        if self.reports_exit_codes:
            expect((run.exit_code, run.reason), (-9, "signal"), "the signal is told")
        expect((other.status, other.result), ("success", {"n": 1}), "no other run is harmed")
        opened = Sweep.open(path).runs[0]
        expect(
            (opened.status, opened.reason, opened.result),
            (run.status, run.reason, run.result),
            "what is on disk is the same",
        )
        return run

    def _retried(self, folder: Path, cmd: list[str]) -> Run:
        """Carry out one run that succeeds with its second attempt."""
        sweep = self.run_sweep(1, cmd, folder / "sweep", options=self.grace(0.5), retries=1)
        run = sweep.runs[0]
        promise(
            (run.status, run.attempts) == ("success", 2),
            "the second attempt succeeds",
            f"{run.status} after {run.attempts} attempts; {run.reason}, {run.exit_code}",
        )
        return run


def _error_of(run: Run) -> str:
    try:
        return f"not told: the result is {run.result!r}"
    except ResultsError as error:
        return str(error)
