"""Checks of what a scheduler reads: what commands print, whole, cut off, or nothing of the kind."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from multirun_core._runners.scheduler.command import JobState, Refusal
from multirun_core.testing.promises import expect, promise, requires
from multirun_core.testing.scheduler_base import SchedulerKitBase, is_a, one_line
from multirun_core.testing.scheduler_texts import MESSAGES, cut_off, garbage, shown

_T = TypeVar("_T")
_CODES = (1, 2, 127, 255, 0, -9, -15)
_NAME = "multirun-1a2b3c"


class OutputChecks(SchedulerKitBase):
    """What a scheduler promises of what it reads."""

    # The submit command.

    def test_no_id_is_read_where_none_was_printed(self) -> None:
        scheduler = self.make_scheduler()
        for text in ("", " ", "\n", *MESSAGES):
            promised = f"no id is read where none was printed: {shown(text)}"
            expect(scheduler.job_id(text), None, promised)

    def test_no_id_is_made_up(self) -> None:
        scheduler = self.make_scheduler()
        for text in garbage(self.printed_by_submit):
            promised = f"an id is one word that was printed, or None; here {shown(text)}"
            with _only(promised):
                job = scheduler.job_id(text)
                kept = job is None or (is_a(job, str) and job in text and job.split() == [job])
                promise(kept, promised, job)

    @requires("printed_by_submit")
    def test_the_id_is_read(self) -> None:
        scheduler = self.make_scheduler()
        for text, wanted in self.printed_by_submit.items():
            expect(scheduler.job_id(text), wanted, f"the id is read from {shown(text)}")

    @requires("printed_by_submit")
    def test_an_id_that_was_cut_off_is_none(self) -> None:
        for text in self.printed_by_submit:
            self.check_cut_id(text)

    def check_cut_id(self, text: str) -> None:
        """Fail if the id in a beginning of a text is taken for another's."""
        __tracebackhide__ = True
        scheduler = self.make_scheduler()
        whole = scheduler.job_id(text)
        for part in cut_off(text):
            job = scheduler.job_id(part)
            promised = f"an id that was cut off is not taken for that of another job: {shown(part)}"
            promise(job in (None, whole), promised, job)

    def test_a_refusal_has_a_message(self) -> None:
        scheduler = self.make_scheduler()
        for code in _CODES:
            for text in garbage(()):
                for printed, complained in (("", text), (text, "")):
                    promised = (
                        "a submission that was refused has one line that says why; here of exit "
                        f"status {code}, {shown(printed)} and {shown(complained)}"
                    )
                    with _only(promised):
                        told = scheduler.refusal(code, printed, complained)
                        promise(is_a(told, Refusal) and one_line(told.message), promised, told)

    def test_a_refusal_says_what_the_queue_system_said(self) -> None:
        scheduler = self.make_scheduler()
        for complaint in MESSAGES:
            told = scheduler.refusal(1, "", complaint).message
            said = complaint.strip().splitlines()[-1].rpartition(": ")[2]
            promise(said in told, "a refusal says what the queue system said", (complaint, told))

    def test_a_job_that_may_have_been_taken_is_unknown(self) -> None:
        scheduler = self.make_scheduler()
        for code in (0, -9, -15):
            for complaint in ("", *MESSAGES):
                told = scheduler.refusal(code, "", complaint)
                promised = (
                    "where the submit command printed no id, but did not fail (exit status 0) or "
                    f"was killed (below 0), the job may have been accepted: {code}, {complaint!r}"
                )
                promise(told.unknown, promised, told)

    # The status command.

    def test_states_of_garbage_are_refused_or_make_sense(self) -> None:
        states = self.make_scheduler().states
        for text in garbage(self.printed_by_status):
            self._check_read(states, text)

    def test_a_message_is_no_list_of_jobs(self) -> None:
        scheduler = self.make_scheduler()
        for text in MESSAGES:
            promised = f"what is no list of jobs is refused, not read as an empty queue: {text!r}"
            told = _told(scheduler.states, text)
            promise(told is None, f"{promised}, by `states`", told)
            found = _told(partial(scheduler.found, name=_NAME), text)
            promise(found is None, f"{promised}, by `found`", found)

    @requires("printed_by_status")
    def test_states_are_read(self) -> None:
        scheduler = self.make_scheduler()
        for text, wanted in self.printed_by_status.items():
            told = scheduler.states(text)
            self.check_told(told, shown(text))
            seen = {job: told[job].phase for job in wanted if job in told}
            expect(seen, dict(wanted), f"the states of jobs are read from {shown(text)}")

    @requires("printed_by_status")
    def test_a_list_that_was_cut_off_tells_nothing_wrong(self) -> None:
        for text in self.printed_by_status:
            self.check_cut_list(text)

    def check_cut_list(self, text: str) -> None:
        """Fail if a beginning of what the status command printed says what the whole does not."""
        __tracebackhide__ = True
        scheduler = self.make_scheduler()
        whole = dict(scheduler.states(text))
        for part in cut_off(text):
            told = _told(scheduler.states, part)
            if told is None:
                continue
            promised = f"a list that was cut off says nothing else than the whole: {shown(part)}"
            promise(told.items() <= whole.items(), promised, told)
            promised = f"a list that was cut off within a line is refused: {shown(part)}"
            promise(not part or part.endswith("\n") or told == whole, promised, told)

    # The find command.

    def test_garbage_is_refused_or_finds_what_was_printed(self) -> None:
        scheduler = self.make_scheduler()
        for text in garbage((*self.printed_by_status, *self.printed_by_find)):
            promised = f"ids that are found were printed, or ValueError says why not: {shown(text)}"
            with _only(promised, ValueError):
                found = scheduler.found(text, _NAME)
                kept = not is_a(found, str) and all(
                    is_a(job, str) and job.strip() and job in text for job in found
                )
                promise(kept, promised, found)

    @requires("printed_by_find")
    def test_jobs_are_found_by_their_whole_name(self) -> None:
        scheduler = self.make_scheduler()
        for text, names in self.printed_by_find.items():
            for name, wanted in names.items():
                found = sorted(scheduler.found(text, name))
                promised = f"the ids of jobs named {name!r}, each once, are found"
                expect(found, sorted(wanted), f"{promised} in {shown(text)}")
                for near in {name[:-1], name[1:], f"{name}0", name.upper()} - {*names}:
                    found = list(scheduler.found(text, near))
                    promised = f"names are compared as a whole: no job is named {near!r}"
                    expect(found, [], f"{promised} in {shown(text)}")

    @requires("printed_by_find")
    def test_a_search_that_was_cut_off_finds_no_other(self) -> None:
        scheduler = self.make_scheduler()
        for text, names in self.printed_by_find.items():
            for name in names:
                whole = list(scheduler.found(text, name))
                for part in cut_off(text):
                    found = _told(partial(scheduler.found, name=name), part)
                    if found is None:
                        continue
                    promised = f"a search that was cut off finds no other job: {shown(part)}"
                    promise(set(found) <= set(whole), promised, found)
                    promised = f"a search that was cut off within a line is refused: {shown(part)}"
                    complete = not part or part.endswith("\n") or list(found) == whole
                    promise(complete, promised, found)

    # The account command.

    def test_accounts_of_garbage_are_refused_or_make_sense(self) -> None:
        accounted = self.make_scheduler().accounted
        for text in garbage((*self.printed_by_account, *self.printed_by_status)):
            self._check_read(accounted, text)

    @requires("printed_by_account")
    def test_accounts_are_read(self) -> None:
        scheduler = self.make_scheduler()
        for text, wanted in self.printed_by_account.items():
            told = scheduler.accounted(text)
            self.check_told(told, shown(text))
            seen = {job: told[job].phase for job in wanted if job in told}
            expect(seen, dict(wanted), f"what accounts say is read from {shown(text)}")

    def _check_read(self, read: Callable[[str], Mapping[str, JobState]], text: str) -> None:
        __tracebackhide__ = True
        promised = f"what is not understood is refused by ValueError, and no other: {shown(text)}"
        with _only(promised, ValueError):
            self.check_told(read(text), shown(text))


@contextmanager
def _only(promised: str, *allowed: type[Exception]) -> Generator[None]:
    """Fail at errors other than those that are allowed."""
    __tracebackhide__ = True
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        if isinstance(error, allowed):
            return
        promise(False, promised, f"{type(error).__name__}: {shown(str(error))}")


def _told(read: Callable[[str], _T], text: str) -> _T | None:
    """Return what was read; None where it was refused."""
    try:
        return read(text)
    except ValueError:
        return None
