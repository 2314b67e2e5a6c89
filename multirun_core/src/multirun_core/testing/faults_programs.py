"""Checks with programs that misbehave: what they print, how they are named, what they destroy."""

from __future__ import annotations

from pathlib import Path

from multirun_core._model.files import FileResource
from multirun_core._sweep.sweep import Sweep
from multirun_core.testing.base import HOSTILE, KitBase, expect, promise
from multirun_core.testing.fault_tools import POST, sh

_FIRST = 'test "$MULTIRUN_PARAM_N" != 0 || '


class ProgramFaults(KitBase):
    """What a runner promises whatever a program does to itself and its surroundings."""

    def test_a_program_that_closes_its_streams_goes_on(self, tmp_path: Path) -> None:
        """The end of its output is not its own end."""
        cmd = sh("exec >&- 2>&- <&-; sleep 0.3; ", POST, "exit 5")
        run = self.run_sweep(1, cmd, tmp_path / "sweep").runs[0]
        expect(run.result, {"n": 0}, "it goes on without streams")
        expect(run.status, "failure", "its exit status counts, not the end of its output")
        if self.reports_exit_codes:
            expect(run.exit_code, 5, "the exit status is its own")

    # How things are named.

    def test_hostile_names_of_inputs_are_found(self, hostile_path: Path) -> None:
        """Whichever way a file is given to the runs."""
        wanted: list[str] = []
        inputs: list[FileResource] = []
        linkages = ["copy", "shared"] + (["link"] if self.why_not("shares_files") is None else [])
        for linkage in linkages:
            source = hostile_path / f"{linkage} {HOSTILE}"
            source.write_text(linkage)
            inputs.append(FileResource(source, linkage))  # type: ignore[arg-type] # pyright: ignore
            wanted.append(linkage)
        names = [str(resource.name).replace("{n}", "{{n}}") for resource in inputs]
        cmd = [*sh('for name; do cat -- "$name" || exit 3; echo; done > found'), "sh", *names]
        run = self.run_sweep(1, cmd, hostile_path / "sweep", input_files=inputs).runs[0]
        expect((run.status, run.exit_code), ("success", 0), "inputs are there by their names")
        expect((run.cwd / "found").read_text().split(), wanted, "inputs have their content")

    def test_hostile_values_of_variables_arrive_whole(self, hostile_path: Path) -> None:
        """Values with newlines and quotes do, in a parameter as well as in `env`."""
        cmd = sh(
            'printf %s "$MULTIRUN_PARAM_TEXT" > parameter; printf %s "$KIT_GIVEN" > given; '
            'test "$MULTIRUN_RUN_DIR" -ef . || exit 3'
        )
        path = hostile_path / "sweep"
        runner = self.make_runner()
        given = {"KIT_GIVEN": HOSTILE}
        run = self.run_sweep([{"text": HOSTILE}], cmd, path, runner=runner, env=given).runs[0]
        expect((run.status, run.exit_code), ("success", 0), "MULTIRUN_RUN_DIR is its directory")
        for name in ("parameter", "given"):
            seen = (run.cwd / name).read_bytes()
            expect(seen, HOSTILE.encode(), f"the value of the variable ({name}) arrives whole")

    # What cannot be started.

    def test_a_program_that_is_not_executable_fails_its_run_alone(self, tmp_path: Path) -> None:
        """It is a failure with a reason, not an exception."""
        self._check_unstartable(tmp_path, "#!/bin/sh\nexit 0\n", mode=0o644)

    def test_a_program_without_its_interpreter_fails_its_run_alone(self, tmp_path: Path) -> None:
        """It is a failure with a reason, not an exception."""
        self._check_unstartable(tmp_path, "#!/no/such/interpreter\nexit 0\n")

    # What it destroys.

    def test_a_program_that_removes_its_directory_harms_no_other(self, tmp_path: Path) -> None:
        """Its own run comes to an end, and can be executed again."""
        path = tmp_path / "sweep"
        again = 'test "$MULTIRUN_ATTEMPT" -gt 1 || '
        destroy = '{ cd / && rm -rf "$MULTIRUN_RUN_DIR" && exit 3; }; '
        cmd = sh(again, _FIRST, destroy, POST)
        sweep = self.run_sweep(3, cmd, path, options=self.slots(2))
        statuses = [run.status for run in sweep.runs]
        expect(statuses, ["failure", "success", "success"], "only that run fails")
        expect([run.result for run in sweep.runs][1:], [{"n": 1}, {"n": 2}], "others have results")
        # Nothing on disk says that there was a first attempt, but the journal.
        sweep = self.run_sweep(3, cmd, path, options=self.slots(2), resume=True)
        expect(sweep.results, [{"n": 0}, {"n": 1}, {"n": 2}], "it can be executed again")

    def test_a_program_that_removes_its_output_has_succeeded(self, tmp_path: Path) -> None:
        """Its output is gone, which is its own matter; its exit status counts."""
        cmd = sh("echo a; rm -f stdout.txt stderr.txt; echo b; ", POST)
        sweep = self.run_sweep(2, cmd, tmp_path / "sweep", options=self.slots(2))
        expect([run.status for run in sweep.runs], ["success"] * 2, "its exit status counts")
        expect(sweep.results, [{"n": 0}, {"n": 1}], "its results are there")

    def test_a_program_that_locks_its_directory_is_tried_again(self, tmp_path: Path) -> None:
        """Without permissions on it, the run fails; the next attempt gets them back."""
        path = tmp_path / "sweep"
        lock = '{ chmod 000 "$MULTIRUN_RUN_DIR" && exit 3; }; '
        cmd = sh('test "$MULTIRUN_ATTEMPT" -gt 1 || ', _FIRST, lock, POST)
        sweep = self.run_sweep(3, cmd, path, options=self.slots(2))
        statuses = [run.status for run in sweep.runs]
        expect(statuses, ["failure", "success", "success"], "only that run fails")
        expect([run.status for run in Sweep.open(path).runs], statuses, "as the journal says")
        sweep = self.run_sweep(3, cmd, path, options=self.slots(2), resume=True)
        expect(sweep.results, [{"n": 0}, {"n": 1}, {"n": 2}], "it can be executed again")

    # Helpers.

    def _check_unstartable(self, folder: Path, content: str, mode: int = 0o755) -> None:
        """Carry out a sweep of which one run cannot be started."""
        good = folder / "good program"
        good.write_text("#!/bin/sh\nexit 0\n")
        good.chmod(0o755)
        bad = folder / "bad program"
        bad.write_text(content)
        bad.chmod(mode)
        runs = [{"program": f"./{path.name}"} for path in (good, bad, good)]
        sweep = self.run_sweep(runs, ["{program}"], folder / "sweep", input_files=[good, bad])
        statuses = [run.status for run in sweep.runs]
        expect(statuses, ["success", "failure", "success"], "only that run fails")
        run = sweep.runs[1]
        promise(run.reason in ("submit", "exit"), "it has a reason", run.reason)
        promised = "what was never started has no exit status of its own"
        promise(run.exit_code in (None, 126, 127), promised, run.exit_code)
