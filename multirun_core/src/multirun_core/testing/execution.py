"""Checks of how a run's program is carried out: its end, directory, arguments, streams, facts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from pathlib import Path

from multirun_core.testing.base import KitBase
from multirun_core.testing.promises import HOSTILE, expect, promise, requires, sh, told

ARGUMENTS = [
    "",
    " ",
    "two words",
    'it\'s "quoted"',
    "$HOME `id` $(id) \\$x",
    "a\\b\\\\",
    "line\nline\n",
    "tab\tbell\a",
    "*",
    "?[a-z]{x,y}",
    "{n}",
    "{{n}}",
    "-rf",
    "--",
    "A=b",
    "; true & | < > #",
    "~",
    "!!",
    "%s%n",
    "\u00e9\u4e16\U0001f600",
    "x" * 100_000,
    HOSTILE,
]
MEBIBYTE = 1 << 20
LOUD = """
head -c 1048576 /dev/zero | tr '\\0' o &
head -c 1048576 /dev/zero | tr '\\0' e >&2
wait
"""


@contextlib.contextmanager
def full_standard_input() -> Generator[None]:
    """Give this process a standard input that holds something and does not end."""
    reader, writer = os.pipe()
    os.write(writer, b"of the driver\n")
    try:
        kept = os.dup(0)
    except OSError:
        kept = None
    os.dup2(reader, 0)
    os.close(reader)
    try:
        yield
    finally:
        if kept is None:
            os.close(0)
        else:
            os.dup2(kept, 0)
            os.close(kept)
        os.close(writer)


class ExecutionChecks(KitBase):
    """What a runner promises of each single run, added by `add` and in a sweep."""

    def test_a_run_that_exits_0_is_a_success(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([["true"], ["true"]], tmp_path):
            promised = f"exit status 0 is a success, {how}"
            promise([run.status for run in runs] == ["success"] * 2, promised, told(runs))

    def test_a_run_that_exits_otherwise_is_a_failure(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh("exit $1", n) for n in (1, 3, 255)], tmp_path):
            promised = f"any other exit status than 0 is a failure, {how}"
            promise([run.status for run in runs] == ["failure"] * 3, promised, told(runs))

    @requires("reports_exit_codes")
    def test_the_exit_code_is_reported(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh("exit $1", n) for n in (0, 1, 77, 255)], tmp_path):
            seen = [(run.exit_code, run.reason) for run in runs]
            wanted = [(0, None), (1, "exit"), (77, "exit"), (255, "exit")]
            expect(seen, wanted, f"run.exit_code and run.reason say how it ended, {how}")

    def test_a_missing_program_is_a_failure_not_an_exception(self, tmp_path: Path) -> None:
        (tmp_path / "no program").write_text("neither executable nor a program")
        for how, runs in self.both_ways(
            [["no-such-program-anywhere"], [str(tmp_path / "no program")], ["true"]], tmp_path
        ):
            statuses = [run.status for run in runs]
            promised = f"a program that cannot be started is a failure of its run alone, {how}"
            promise(statuses == ["failure", "failure", "success"], promised, told(runs))

    def test_a_run_killed_by_a_signal_is_a_failure(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh("kill -9 $$"), sh("kill -15 $$")], tmp_path):
            promised = f"a run that a signal ended is a failure, {how}"
            promise([run.status for run in runs] == ["failure"] * 2, promised, told(runs))

    @requires("reports_exit_codes")
    def test_the_signal_that_ended_a_run_is_reported(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh("kill -9 $$"), sh("kill -15 $$")], tmp_path):
            seen = [(run.exit_code, run.reason) for run in runs]
            promised = f"run.exit_code is the negative number of the signal, {how}"
            expect(seen, [(-9, "signal"), (-15, "signal")], promised)

    def test_the_working_directory_is_the_runs_own(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh("echo $1 >> mark", n) for n in range(3)], tmp_path):
            marks = [run_file(run.cwd / "mark") for run in runs]
            expect(marks, ["0\n", "1\n", "2\n"], f"a program starts in its run directory, {how}")

    def test_awkward_directories_are_no_obstacle(self, hostile_path: Path) -> None:
        for how, runs in self.both_ways([sh('echo "$1" > mark', HOSTILE)], hostile_path):
            promised = f"a directory may have any name, {how}"
            promise(runs[0].status == "success", promised, told(runs))
            expect(run_file(runs[0].cwd / "mark"), HOSTILE + "\n", promised)

    def test_awkward_arguments_arrive_as_they_are(self, tmp_path: Path) -> None:
        command = sh('printf "%s\\0" "$@" > arguments', *ARGUMENTS)
        for how, runs in self.both_ways([command], tmp_path):
            promised = f"arguments arrive as they are, {how}"
            seen = run_file(runs[0].cwd / "arguments").split("\0")[:-1]
            promise(len(seen) == len(ARGUMENTS), promised, f"{len(seen)}; {told(runs)}")
            for one, wanted in zip(seen, ARGUMENTS, strict=True):
                expect(one[:200] + str(len(one)), wanted[:200] + str(len(wanted)), promised)

    def test_standard_input_is_empty(self, tmp_path: Path) -> None:
        with full_standard_input():
            for how, runs in self.both_ways([sh("head -c 1 > got")], tmp_path, seconds=10):
                promised = f"standard input is empty and not the driver's, {how}"
                expect(run_file(runs[0].cwd / "got"), "", promised)

    def test_a_mebibyte_on_both_streams_blocks_nobody(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh(LOUD), sh(LOUD)], tmp_path, seconds=15):
            promised = f"output without end of line on both streams blocks nobody, {how}"
            promise([run.status for run in runs] == ["success"] * 2, promised, told(runs))

    @requires("captures_output")
    def test_a_mebibyte_on_both_streams_is_captured(self, tmp_path: Path) -> None:
        for how, runs in self.both_ways([sh(LOUD)], tmp_path, seconds=15):
            for path, letter in ((runs[0].stdout, b"o"), (runs[0].stderr, b"e")):
                promised = f"{path.name} holds all of the output, {how}"
                seen = path.read_bytes() if path.exists() else b""
                told_of = f"{len(seen)} bytes, beginning with {seen[:20]!r}"
                promise(seen == letter * MEBIBYTE, promised, told_of)

    @requires("captures_output")
    def test_output_is_captured_as_it_is(self, tmp_path: Path) -> None:
        script = "printf 'a\\377\\000\\r\\n\\342\\202'; printf 'e' >&2"
        for how, runs in self.both_ways([sh(script), ["true", "", "", ""]], tmp_path):
            seen = [run_bytes(path) for run in runs for path in (run.stdout, run.stderr)]
            wanted = [b"a\xff\0\r\n\xe2\x82", b"e", b"", b""]
            expect(seen, wanted, f"output is captured byte for byte, each stream apart, {how}")

    def test_files_that_a_run_writes_are_in_its_directory(self, tmp_path: Path) -> None:
        script = "mkdir -p 'deep er/st' && printf 'x' > 'deep er/st/out put' && chmod 700 deep*"
        for how, runs in self.both_ways([sh(script)], tmp_path):
            promised = f"what a run writes is in its directory at its end, {how}"
            expect(run_file(runs[0].cwd / "deep er/st/out put"), "x", promised)

    def test_time_and_host_of_a_run_are_recorded(self, tmp_path: Path) -> None:
        began = time.time()
        run = self.run_sweep(1, ["sleep", "0.3"], tmp_path / "s").runs[0]
        ended = time.time()
        promised = "started, ended and duration of a run are recorded"
        seen = f"started {run.started}, ended {run.ended}; the sweep from {began} to {ended}"
        promise(run.started is not None and run.ended is not None, promised, seen)
        slack = self.patience(1.0)
        promise(
            began - slack < (run.started or 0) < (run.ended or 0) < ended + slack, promised, seen
        )
        promise(0.25 < (run.duration or 0) < self.patience(5.0), promised, f"{run.duration} s")
        promise(isinstance(run.host, str) and run.host, "run.host says where", repr(run.host))

    @requires("measures_usage")
    def test_usage_of_a_run_is_measured(self, tmp_path: Path) -> None:
        program = (
            "import time; x = b'x' * (80 << 20); begun = time.process_time()\n"
            "while time.process_time() < begun + 0.4: pass"
        )
        runs = self.run_sweep(1, [self.python, "-c", program], tmp_path / "s").runs
        cpu, rss = runs[0].cpu_seconds or 0.0, runs[0].max_rss_bytes or 0
        promised = "CPU time of a run that computes for 0.4 s is measured, in seconds"
        promise(0.3 < cpu < self.patience(4.0), promised, f"{cpu}; {told(runs)}")
        promised = "memory of a run that takes 80 MiB is measured, in bytes"
        promise(80 << 20 <= rss < 400 << 20, promised, f"{rss}; {told(runs)}")


def run_bytes(path: Path) -> bytes:
    """Return what a run has written; empty where there is no such file."""
    return path.read_bytes() if path.exists() else b""


def run_file(path: Path) -> str:
    """Return the text that a run has written; a remark where there is no such file."""
    return path.read_text() if path.exists() else f"no file {path.name!r}"
