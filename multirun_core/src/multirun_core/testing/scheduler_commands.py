"""Checks of what a scheduler writes: scripts and commands."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from multirun_core.errors import UsageError
from multirun_core.testing.promises import HOSTILE, expect, promise, requires
from multirun_core.testing.scheduler_base import SchedulerKitBase, is_a

# Each makes a file "injected" where a shell takes it for its own text.
INJECTIONS = (
    "$(>injected)",
    "`>injected`",
    ";>injected;",
    "';>injected;'",
    '";>injected;"',
    "\n>injected\n",
    "|>injected",
)
HOSTILE_NAMES = (
    *INJECTIONS, HOSTILE, "it's", " lead and trail ", "-rf", "$HOME", "*", "#", "%j%%", "a\\",
    "\n#PBS -h\n", "\u00fc\u4e16", os.fsdecode(b"\xff\xfe"),
)  # fmt: skip
# In place of the real one, which claims and carries out runs.
_STUB = 'printf "%s %s\\n" "$2" "$3" >>"$1/began"\n'
_IO = (
    (io, "open"), (os, "open"), (os, "listdir"), (os, "scandir"), (os, "stat"), (os, "system"),
    (subprocess, "Popen"), (socket, "socket"), (time, "sleep"),
)  # fmt: skip


class CommandChecks(SchedulerKitBase):
    """What a scheduler promises of the scripts and commands that it writes."""

    def test_it_says_what_it_is(self) -> None:
        scheduler = self.make_scheduler()
        promise(bool(scheduler.title.strip()), "it has a title, for people", scheduler.title)
        limit = scheduler.array_limit
        promise(limit >= 1, "array_limit is 1 or more; 1 where there are no arrays", limit)

    def test_commands_are_lists_of_words(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        for job in self.jobs(scheduler, tmp_path):
            commands = self.commands(scheduler, job, f"{tmp_path}/script", self.ids())
            for kind, argv in commands.items():
                words = not is_a(argv, str) and all(is_a(word, str) for word in argv)
                kept = words and bool(argv) and bool(argv[0]) and "\0" not in "".join(argv)
                promise(kept, f"the {kind} command is a list of words, without a shell", argv)

    def test_scripts_and_commands_are_made_without_input_or_output(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduler = self.make_scheduler()

        def all_of_it() -> list[Any]:
            found: list[Any] = []
            for job in self.jobs(scheduler, tmp_path / "nowhere"):
                found.append(scheduler.script(job))
                found.append(self.commands(scheduler, job, f"{tmp_path}/script", self.ids()))
            return found

        before, called = all_of_it(), list[str]()
        with monkeypatch.context() as patched:
            for module, name in _IO:
                original = getattr(module, name)

                def noted(*args: Any, _name: str = name, _call: Any = original, **kw: Any) -> Any:
                    called.append(_name)
                    return _call(*args, **kw)

                patched.setattr(module, name, noted)
            after = all_of_it()
        promise(not called, "script and commands are made without any input or output", called)
        expect(after, before, "script and commands are the same for the same job")

    def test_the_submit_command_has_script_and_name(self, tmp_path: Path) -> None:
        scheduler, script = self.make_scheduler(), f"{tmp_path}/script"
        for job in self.jobs(scheduler, tmp_path):
            argv = scheduler.submit(job, script)
            promise(any(script in word for word in argv), "it submits the script", argv)
            text = scheduler.script(job)
            said = any(job.name in word for word in (*argv, text))
            promise(said, "the job gets its name, by which it is found again", argv)

    def test_the_find_command_looks_for_no_other_name(self) -> None:
        scheduler = self.make_scheduler()
        scheduler.find("multirun-another")
        argv = scheduler.find("multirun-wanted")
        promise(
            not any("multirun-another" in word for word in argv),
            "the find command looks for the name that it was asked for, and no other",
            argv,
        )

    def test_the_cancel_command_names_the_jobs_asked_alone(self) -> None:
        scheduler, (first, second) = self.make_scheduler(), self.ids()
        cases = [("cancel", scheduler.cancel([first, second]), scheduler.cancel([first]))]
        for number in ("TERM", "HUP"):
            both = scheduler.nudge([first, second], number)
            one = scheduler.nudge([first], number)
            if both is not None and one is not None:
                cases.append(("nudge", both, one))
                promise(any(number in word for word in both), f"nudge sends {number}", both)
        for kind, both, one in cases:
            named = _names(both, first) and _names(both, second)
            promise(named, f"the {kind} command names all jobs that are meant", both)
            promise(_names(one, first), f"the {kind} command names the job that is meant", one)
            promise(not _names(one, second), f"the {kind} command names no other job", one)

    def test_no_word_of_a_command_becomes_shell_text(self, tmp_path: Path) -> None:
        scheduler = self.make_scheduler()
        place, programs = tmp_path / "place", tmp_path / "programs"
        place.mkdir()
        programs.mkdir()
        for name in ("sh", "bash", "dash", "env"):
            if (found := shutil.which(name)) is not None:
                (programs / name).symlink_to(found)
        for word in INJECTIONS:
            job = self.job(f"{tmp_path}/{word}")
            commands = self.commands(scheduler, job, f"{tmp_path}/{word}/script", [word])
            for kind, argv in commands.items():
                if not _calls_a_shell(argv):
                    continue
                # The queue system's own commands are not found.
                words = [shutil.which(argv[0]) or argv[0], *argv[1:]]
                self._run(words, cwd=place, env={"PATH": str(programs)})
                promised = f"no word given to the {kind} command is taken for shell text: {word!r}"
                promise(not list(place.iterdir()), promised, argv)

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_script_bears_any_directory(self, tmp_path: Path, name: str) -> None:
        jobs, cwd, home = (tmp_path / one for one in ("jobs", "cwd", "home"))
        directory = jobs / name
        for path in (directory, cwd, home):
            path.mkdir(parents=True)
        (directory / "job.sh").write_text(_STUB)
        text = self.make_scheduler().script(self.job(directory))
        script = tmp_path / "script"
        script.write_bytes(text.encode("utf-8", "surrogateescape"))
        env = {"PATH": os.environ["PATH"], "HOME": str(home)}
        done = self._run(["sh", str(script)], cwd=cwd, env=env)
        seen = f"exit status {done.returncode}, {done.stdout + done.stderr!r}; script:\n{text}"
        began = directory / "began"
        promise(began.exists(), f"the script carries out its body in a directory {name!r}", seen)
        expect(
            began.read_text(),
            "0 0\n",
            "a plain job is task 0, which was not started anew, and is carried out once",
        )
        strange = [*cwd.iterdir(), *home.iterdir(), *(p for p in jobs.iterdir() if p != directory)]
        promise(
            not strange, f"a directory {name!r} is no shell text in the script", (strange, text)
        )

    def test_scripts_of_all_jobs_are_shell(self, tmp_path: Path) -> None:
        scheduler, script = self.make_scheduler(), tmp_path / "script"
        for job in self.jobs(scheduler, tmp_path / HOSTILE):
            text = scheduler.script(job)
            promise(job.body in text, "the body stands in the script as it is", text)
            script.write_bytes(text.encode("utf-8", "surrogateescape"))
            done = self._run(["sh", "-n", str(script)])
            seen = f"{done.stderr.decode(errors='replace')}; script:\n{text}"
            promise(done.returncode == 0, "the script is shell text", seen)

    @requires("arrays")
    def test_tasks_are_told_apart(self) -> None:
        scheduler, (first, second) = self.make_scheduler(), self.ids()
        found = [scheduler.task_id(job, task) for job in (first, second) for task in range(12)]
        promise(
            len({first, second, *found}) == len(found) + 2,
            "each task of each array has an id of its own",
            found,
        )

    @requires("refused")
    def test_what_is_refused_is_told_with_name_and_value(self) -> None:
        for name, values in self.refused.items():
            for value in values:
                told = self._refusal_of({name: value})
                promised = f"{name}={value!r} is refused, with its name and its value"
                # Of a list, that element will do which is to blame.
                parts = cast("list[object]", value if isinstance(value, list) else [])
                valued = any(repr(part) in told for part in (cast("object", value), *parts))
                promise(name in told and valued, promised, told or "it was taken")

    def _run(
        self, argv: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=self.patience(30),
            check=False,
        )

    def _refusal_of(self, options: Mapping[str, Any]) -> str:
        try:
            self.make_scheduler(**options)
        except UsageError as error:
            return str(error)
        return ""


def _names(argv: Sequence[str], job: str) -> bool:
    """Whether a command has an id in it, not as a part of another."""
    whole = re.compile(rf"(?<![0-9A-Za-z]){re.escape(job)}(?![0-9A-Za-z])")
    return any(whole.search(word) for word in argv)


def _calls_a_shell(argv: Sequence[str]) -> bool:
    """Whether one of the words is a shell, and one that follows says that text comes."""
    for place, word in enumerate(argv):
        if re.fullmatch(r"(?:.*/)?(?:ba|da|k|z)?sh", word):
            return any(re.fullmatch(r"-[a-z]*c", other) for other in argv[place + 1 :])
    return False
