"""For every check of schedulers in the conformance kit one that breaks just that promise.

No test module: `test_kit_catches_schedulers.py` has pytest run the class `Test_X`, which is made
below for each check X.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from multirun_core.backends import Job, JobState, Refusal
from multirun_core.errors import UsageError
from multirun_core.testing import SchedulerConformance
from queue_tools import Queue

LIST = """\
3 0 RUNNING 0 multirun-0a1b\x20
3 1 WAITING 0 multirun-0a1b never by this limit
12 0 ENDED 2 multirun-0a1b2\x20
"""


class QueueScheduler(SchedulerConformance):
    """What the good one and the bad ones have in common."""

    kind: ClassVar[type[Queue]] = Queue
    printed_by_submit: ClassVar = {"job 7\n": "7", "job 123\n": "123", "": None}
    printed_by_status: ClassVar = {
        "": {},
        LIST: {"3": "running", "3_1": "waiting", "12": "ended"},
    }
    printed_by_find: ClassVar = {
        "": {"multirun-0a1b": []},
        LIST: {"multirun-0a1b": ["3"], "multirun-0a1b2": ["12"]},
    }

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.home = tmp_path_factory.mktemp("queue")

    def make_scheduler(self, **options: int) -> Queue:
        limit = options.get("array_limit", 100)
        if limit < 1:
            raise UsageError(f"array_limit is {limit!r}; it must be 1 or more")
        return self.kind(self.home, limit)


class Nothing(Queue):
    title: ClassVar[str] = " "


class OneString(Queue):
    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        return f"queue cancel {' '.join(ids)}"


class Looks(Queue):
    def script(self, job: Job) -> str:
        return f"# {len(os.listdir('/'))} directories\n{super().script(job)}"  # noqa: PTH208


class Nameless(Queue):
    def submit(self, job: Job, script: str) -> Sequence[str]:
        return super().submit(replace(job, name="job"), script)


class Remembers(Queue):
    """Looks for, and ends, also what it was asked for before."""

    names: ClassVar[list[str]] = []
    known: ClassVar[list[str]] = []

    def find(self, name: str) -> Sequence[str]:
        self.names.append(name)
        return self._command("find", *self.names)

    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        self.known.extend(ids)
        return self._command("cancel", *self.known)


class ByShell(Queue):
    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        return ["sh", "-c", f"queue cancel {' '.join(ids)}"]


class Unquoted(Queue):
    def script(self, job: Job) -> str:
        return f'cd "{job.directory}"\n{super().script(job)}'


class NoShell(Queue):
    def script(self, job: Job) -> str:
        throttle = "" if job.throttle is None else f"$(( {job.throttle}\n"
        return throttle + super().script(job)


class FewTasks(Queue):
    def task_id(self, job_id: str, task: int) -> str:
        return f"{job_id}_{task % 10}"


class AnyNumber(Queue):
    def job_id(self, printed: str) -> str | None:
        match = re.search(r"\d+", printed)
        return match[0] if match else None


class AnyText(Queue):
    def job_id(self, printed: str) -> str | None:
        return str(int(printed.split()[-1])) if printed.startswith("job") else None


class AnyWord(Queue):
    def job_id(self, printed: str) -> str | None:
        return "job" if printed.startswith("job") else None


class TrustsIds(Queue):
    def job_id(self, printed: str) -> str | None:
        match = re.fullmatch(r"job (\d+)\n?", printed)
        return match[1] if match else None


class Silent(Queue):
    def refusal(self, code: int, printed: str, complained: str) -> Refusal:
        return Refusal(message=complained, unknown=code <= 0)


class Vague(Queue):
    def refusal(self, code: int, printed: str, complained: str) -> Refusal:
        return Refusal(message="not accepted")


class KnowsAllWords(Queue):
    def states(self, printed: str) -> Mapping[str, JobState]:
        known = {"RUNNING": 1, "WAITING": 2, "ENDED": 3}
        return {key: s for key, s in super().states(printed).items() if known[s.word]}


class Lenient(Queue):
    """Passes over what it does not understand."""

    def states(self, printed: str) -> Mapping[str, JobState]:
        found: dict[str, JobState] = {}
        for line in printed.splitlines():
            try:
                found |= super().states(f"{line}\n")
            except ValueError:
                continue
        return found


class AllEnded(Queue):
    def states(self, printed: str) -> Mapping[str, JobState]:
        told = super().states(printed).items()
        return {key: replace(s, phase="ended", message=None) for key, s in told}


class ThirdWord(Queue):
    def found(self, printed: str, name: str) -> Sequence[str]:
        return [line.split(" ")[0] for line in printed.splitlines() if line.split(" ")[4] == name]


class ByPrefix(Queue):
    def found(self, printed: str, name: str) -> Sequence[str]:
        told = self.states(printed).items()
        return [key for key, s in told if "_" not in key and (s.name or "").startswith(name)]

    def find(self, name: str) -> Sequence[str]:
        jobs = [path.name for path in (self.home / "jobs").iterdir()]
        return self._command("status", *jobs)


class Accounts(Queue):
    def accounted(self, printed: str) -> Mapping[str, JobState]:
        return {"3": JobState(phase="ended", word=printed.split("|")[1])} if printed else {}


class StartedAnew(Queue):
    def script(self, job: Job) -> str:
        return f"mr_task=0 mr_restart=1\n{job.body}"


class Strict(Queue):
    """Its status command fails for a job that nobody knows."""

    def status(self, ids: Sequence[str]) -> Sequence[str]:
        script = 'for id; do test -e "$0/jobs/$id" || exit 1; done'
        return ["sh", "-c", script, str(self.home), *ids]


class CancelsAll(Queue):
    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        return super().cancel([path.name for path in (self.home / "jobs").iterdir()])


class CancelsArrays(Queue):
    def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        return super().cancel([one.partition("_")[0] for one in ids])


class SignalsAll(Queue):
    def nudge(self, ids: Sequence[str], number: str) -> Sequence[str] | None:
        script = 'kill -s "$1" -- "-$(cat "$0/jobs/$2/task-0")"'
        return ["sh", "-c", script, str(self.home), number, *ids]


BAD: dict[str, tuple[type[Queue], dict[str, Any]]] = {
    "test_it_says_what_it_is": (Nothing, {}),
    "test_commands_are_lists_of_words": (OneString, {}),
    "test_scripts_and_commands_are_made_without_input_or_output": (Looks, {}),
    "test_the_submit_command_has_script_and_name": (Nameless, {}),
    "test_the_find_command_looks_for_no_other_name": (Remembers, {}),
    "test_the_cancel_command_names_the_jobs_asked_alone": (Remembers, {}),
    "test_no_word_of_a_command_becomes_shell_text": (ByShell, {}),
    "test_a_script_bears_any_directory": (Unquoted, {}),
    "test_scripts_of_all_jobs_are_shell": (NoShell, {}),
    "test_tasks_are_told_apart": (FewTasks, {}),
    "test_what_is_refused_is_told_with_name_and_value": (Queue, {"refused": {"array_limit": [7]}}),
    "test_no_id_is_read_where_none_was_printed": (AnyNumber, {}),
    "test_no_id_is_made_up": (AnyText, {}),
    "test_the_id_is_read": (AnyWord, {}),
    "test_an_id_that_was_cut_off_is_none": (TrustsIds, {}),
    "test_a_refusal_has_a_message": (Silent, {}),
    "test_a_refusal_says_what_the_queue_system_said": (Vague, {}),
    "test_a_job_that_may_have_been_taken_is_unknown": (Vague, {}),
    "test_states_of_garbage_are_refused_or_make_sense": (KnowsAllWords, {}),
    "test_a_message_is_no_list_of_jobs": (Lenient, {}),
    "test_states_are_read": (AllEnded, {}),
    "test_a_list_that_was_cut_off_tells_nothing_wrong": (Lenient, {}),
    "test_garbage_is_refused_or_finds_what_was_printed": (ThirdWord, {}),
    "test_jobs_are_found_by_their_whole_name": (ByPrefix, {}),
    "test_a_search_that_was_cut_off_finds_no_other": (Lenient, {}),
    "test_accounts_of_garbage_are_refused_or_make_sense": (Accounts, {}),
    "test_accounts_are_read": (Queue, {"printed_by_account": {LIST: {"3": "running"}}}),
    "test_a_job_is_submitted_carried_out_and_over": (StartedAnew, {}),
    "test_what_commands_print_is_refused_when_cut_off": (Lenient, {}),
    "test_jobs_that_are_gone_are_told_as_gone": (Strict, {}),
    "test_a_job_is_found_by_its_whole_name": (ByPrefix, {}),
    "test_cancel_ends_the_jobs_asked_and_no_other": (CancelsAll, {}),
    "test_tasks_of_an_array_are_told_and_cancelled_one_by_one": (CancelsArrays, {}),
    "test_a_signal_reaches_the_script_alone": (SignalsAll, {}),
}


class TestGood(QueueScheduler):
    """The correct one, which most of the others differ from in one thing."""

    refused: ClassVar = {"array_limit": [0, -3]}
    printed_by_account: ClassVar = {"": {}}


globals().update(
    {
        f"Test_{check}": type(
            f"Test_{check}",
            (QueueScheduler,),
            {"kind": kind, "time_scale": 0.2, "__module__": __name__, **declared},
        )
        for check, (kind, declared) in BAD.items()
    }
)
