"""Checks of a runner in a sweep: variables, results, attempts, journal, resume, inputs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._model.files import FileResource
from multirun_core._runners.task import TaskRunner
from multirun_core._sweep.sweep import Sweep
from multirun_core.testing.base import KitBase
from multirun_core.testing.contract import WAIT_FOR, fresh
from multirun_core.testing.execution import run_file
from multirun_core.testing.promises import HOSTILE, expect, promise, requires, sh, told

if TYPE_CHECKING:
    from multirun_core._runners.base import AbstractRunner

PARAMS = {"text": HOSTILE, "list": [1, 2.5, None, {"deep": [True, "\u00e9"]}], "n": -3}
POST = 'printf "%s" "$MULTIRUN_ATTEMPT" > part && mv part results.json'


class SweepChecks(KitBase):
    """What a runner promises in `multirun(runner=…)`."""

    def _program(self, *lines: str) -> list[str]:
        imports = "from multirun_core import getRunParams, postRunResults"
        return [self.python, "-c", "\n".join([imports, *lines])]

    def _soon_again(self) -> AbstractRunner:
        """Return a new runner that waits less than a second before a further attempt."""
        runner = self.make_runner()
        if isinstance(runner, TaskRunner):
            runner.policy = replace(runner.policy, retry_delay=0.05)
        return runner

    def test_the_variables_of_a_run_are_set(self, tmp_path: Path) -> None:
        names = ("MULTIRUN_INDEX", "MULTIRUN_ATTEMPT", "MULTIRUN_PARAM_TEXT", "MULTIRUN_PARAM_LIST")
        script = " ".join(["printf '%s\\0'", *(f'"${name}"' for name in names), "> variables"])
        script += '; echo x > "$MULTIRUN_RUN_DIR/mark"'
        sweep = self.run_sweep([PARAMS, PARAMS | {"n": 4}], sh(script), tmp_path / "s")
        for index, run in enumerate(sweep.runs):
            seen = run_file(run.cwd / "variables").split("\0")
            if len(seen) == 5 and seen[3]:
                seen[3] = json.dumps(json.loads(seen[3]))
            wanted = [str(index), "1", HOSTILE, json.dumps(PARAMS["list"]), ""]
            expect(seen, wanted, f"a run finds {', '.join(names)} in its environment")
            promised = "MULTIRUN_RUN_DIR is the directory of the run, where it is executed"
            expect(run_file(run.cwd / "mark"), "x\n", promised)

    def test_variables_given_by_the_user_arrive(self, tmp_path: Path) -> None:
        script = 'printf \'%s\\0\' "$GIVEN" "$EMPTY" "${EMPTY+set}" > variables'
        given = {"GIVEN": HOSTILE, "EMPTY": ""}
        run = self.run_sweep(1, sh(script), tmp_path / "s", env=given).runs[0]
        seen = run_file(run.cwd / "variables").split("\0")
        expect(seen, [HOSTILE, "", "set", ""], "variables that are given by env= arrive")

    def test_parameters_are_found_from_any_directory(self, tmp_path: Path) -> None:
        cmd = self._program("postRunResults(getRunParams())")
        cmd[-1] = "import os; os.chdir('/')\n" + cmd[-1]
        sweep = self.run_sweep([PARAMS], cmd, tmp_path / "s")
        promised = "getRunParams() and postRunResults() work after a change of directory"
        promise(sweep.runs[0].status == "success", promised, told(sweep.runs))
        expect(sweep.results[0], PARAMS, promised)

    def test_results_come_back(self, tmp_path: Path) -> None:
        cmd = self._program("n = getRunParams()['n']", "postRunResults({'twice': 2 * n, 'x': 'é'})")
        sweep = self.run_sweep(3, cmd, tmp_path / "s", options=self.slots(2))
        wanted = [{"twice": 2 * n, "x": "é"} for n in range(3)]
        expect(list(sweep.results), wanted, "what a run posts as JSON is its result")

    def test_results_that_are_no_json_come_back(self, tmp_path: Path) -> None:
        sweep = self.run_sweep(1, self._program("postRunResults({(1, 2): {3j}})"), tmp_path / "s")
        expect(list(sweep.results), [{(1, 2): {3j}}], "what a run posts as a pickle is its result")

    def test_input_files_are_where_they_belong(self, tmp_path: Path) -> None:
        folder = fresh(tmp_path / "in puts" / "fold er")
        (folder / "de ep").write_text("deep")
        for name in ("copy", "shared"):
            (tmp_path / "in puts" / name).write_text(name)
        inputs = [
            FileResource(folder, "copy"),
            FileResource(tmp_path / "in puts" / "copy", "copy", rename="re named"),
            FileResource(tmp_path / "in puts" / "shared", "shared"),
        ]
        script = "cat 'fold er/de ep' 're named' shared > all && echo x >> 're named'"
        runs = self.run_sweep(2, sh(script), tmp_path / "s", input_files=inputs).runs
        seen = [(run.status, run_file(run.cwd / "all")) for run in runs]
        promised = "a run finds its inputs, and its copies are its own"
        expect(seen, [("success", "deepcopyshared")] * 2, promised)

    def test_a_failed_run_is_tried_again(self, tmp_path: Path) -> None:
        script = f"{POST}; test $MULTIRUN_PARAM_N = 0 || test $MULTIRUN_ATTEMPT = 2"
        sweep = self.run_sweep(2, sh(script), tmp_path / "s", runner=self._soon_again(), retries=1)
        promised = "a failed run is tried again, and the attempt is counted in its environment"
        seen = [(run.status, run.attempts, run.result) for run in sweep.runs]
        expect(seen, [("success", 1, 1), ("success", 2, 2)], promised)

    def test_a_run_is_tried_no_more_often_than_asked(self, tmp_path: Path) -> None:
        sweep = self.run_sweep(
            1, sh("exit 3"), tmp_path / "s", runner=self._soon_again(), retries=1
        )
        run = sweep.runs[0]
        promised = "a run is tried once more with retries=1, and then has failed"
        expect((run.status, run.attempts), ("failure", 2), promised)

    def test_a_further_attempt_starts_clean(self, tmp_path: Path) -> None:
        script = f"test $MULTIRUN_ATTEMPT = 2 || {{ echo x > rest; {POST}; exit 1; }}; ls > listed"
        run = self.run_sweep(
            1, sh(script), tmp_path / "s", runner=self._soon_again(), retries=1
        ).runs[0]
        listed = [name for name in run_file(run.cwd / "listed").split() if name != "listed"]
        promised = "a further attempt finds the directory as staged"
        rest = sorted(set(listed) - {"params.json", "stdout.txt", "stderr.txt"})
        expect(rest, [], promised)
        expect(run.status, "success", promised)
        expect(run.result, None, "what an earlier attempt has posted is not the run's result")

    def test_a_further_attempt_finds_its_checkpoints(self, tmp_path: Path) -> None:
        begins = "mkdir 'check points'; echo 7 > 'check points/step'; echo x > rest; exit 1"
        goes_on = "cat 'check points/step' > seen; ls > listed"
        script = f"test $MULTIRUN_ATTEMPT = 2 || {{ {begins}; }}; {goes_on}"
        run = self.run_sweep(
            1,
            sh(script),
            tmp_path / "s",
            runner=self._soon_again(),
            retries=1,
            checkpoints="check points",
        ).runs[0]
        promised = "a further attempt finds the checkpoints that the last one left, and only those"
        expect(run.status, "success", promised)
        expect(run_file(run.cwd / "seen"), "7\n", promised)
        promise("rest" not in run_file(run.cwd / "listed").split(), promised, "rest is there")

    @requires("slots_option")
    def test_too_many_failures_stop_the_sweep(self, tmp_path: Path) -> None:
        sweep = self.run_sweep(
            30, sh("exit 1"), tmp_path / "s", options=self.slots(2), max_failures=3
        )
        counts = sweep.statistics
        promised = "over max_failures=3 nothing new starts and the rest is skipped"
        promise(4 <= counts.failure_count <= 8, promised, repr(counts))
        expect(counts.failure_count + counts.skipped_count, 30, promised)

    def test_states_are_journaled(self, tmp_path: Path) -> None:
        script = f"{POST}; exit $MULTIRUN_PARAM_N"
        sweep = self.run_sweep(3, sh(script), tmp_path / "s")
        facts = ("status", "exit_code", "reason", "attempts", "host", "result")
        seen, kept = (
            [{name: getattr(run, name) for name in facts} for run in runs]
            for runs in (sweep.runs, Sweep.open(tmp_path / "s").runs)
        )
        expect(kept, seen, "what is known of a run is in the journal, for whoever opens the sweep")
        wanted = ["success", "failure", "failure"]
        expect([run.status for run in sweep.runs], wanted, "runs end as their programs do")

    @requires("shares_files")
    def test_a_run_that_goes_on_is_journaled_as_running(self, tmp_path: Path) -> None:
        root, go, mark = tmp_path / "s", tmp_path / "go", tmp_path / "mark"

        async def work() -> None:
            cmd = sh(f'touch "$2"; {WAIT_FOR}', go, mark)
            task = asyncio.ensure_future(self.sweep(1, cmd, root))
            await self.until(mark.exists, "the run starts", during=task)
            await self.until(
                lambda: Sweep.open(root).runs[0].status == "running",
                "a run whose program runs is soon 'running' for whoever opens the sweep",
                5,
                during=task,
            )
            go.touch()
            await task

        self.bounded(work())

    @requires("shares_files")
    def test_resume_executes_only_the_rest(self, tmp_path: Path) -> None:
        marks, fixed, root = fresh(tmp_path / "marks"), tmp_path / "fixed", tmp_path / "s"
        script = 'echo x >> "$1/$MULTIRUN_INDEX"; test $MULTIRUN_PARAM_N -lt 3 || test -e "$2"'
        cmd = sh(script, marks, fixed)
        first = self.run_sweep(5, cmd, root)
        expect(first.statistics.failure_count, 2, "runs end as their programs do")
        fixed.touch()
        runs = self.run_sweep(5, cmd, root, resume=True).runs
        promised = "resume executes what has not succeeded, and nothing else"
        promise([run.status for run in runs] == ["success"] * 5, promised, told(runs))
        seen = [len((marks / str(n)).read_text().split()) for n in range(5)]
        expect(seen, [1, 1, 1, 2, 2], f"{promised}; executions")
