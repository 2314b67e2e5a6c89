"""Runs of a packed job that are forked from a warm interpreter do what fresh processes do."""

from __future__ import annotations

import asyncio
import logging
import marshal
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from launcher_tools import AWKWARD, HOSTILE, living, marker
from multirun_core._model.run import ExitStatus, Run
from multirun_core._runners.launcher import tree
from multirun_core._runners.scheduler.submission import Submission, Work
from multirun_core._runners.warmth import Warmth
from multirun_core._staging.orders import read_end, write_order
from multirun_core._transport.wrapper import Order
from multirun_core.errors import UsageError
from queue_tools import QueueRunner
from sweeps import wait_until
from test_warm_scripts import PRELOADS, observed, prepare
from test_wrapper import SCRIPT
from warm_scripts import HANDLED, HANDLES, SCRIPTS

from multirun_core import multirun

PYTHON = sys.executable
# What a run may be forked from has this in its command.
FORKED = "import os; print('begin.py' in open(f'/proc/{os.getppid()}/cmdline').read())"
STAY = "import time\nopen('here', 'w').close()\ntime.sleep(1000)"
FOLDER = AWKWARD.replace("\n", "")
# What left the session, the environment, the directory and all descriptors is not found by the
# wrapper, warm or not.
KINDS = ["plain", "deaf", "session", "orphan", "stopped", "deep"]


class Pack:
    """A job that carries several runs out, by job.sh, without any queue."""

    def __init__(self, folder: Path, shell: str | None = None, token: str | None = None) -> None:
        self.folder = folder
        self.token = token or marker()
        self.slots = 2
        self.orders: dict[Work, Order] = {}
        self.job: subprocess.Popen[bytes] | None = None
        self.env = dict(os.environ)
        if shell is not None:
            programs = folder / "programs"
            programs.mkdir(parents=True)
            (programs / "sh").symlink_to(shell)
            self.env["PATH"] = f"{programs}:{self.env['PATH']}"

    def add(self, *cmd: str, script: str = "", **more: Any) -> Work:
        number = len(self.orders)
        run = self.folder / "runs" / f"{number} {FOLDER}"
        prepare(run, script)
        words = [word.replace("HERE", str(run)).replace("PYTHON", PYTHON) for word in cmd]
        env = {"MULTIRUN_PARAM_A": "é\udcff\n", "MULTIRUN_INDEX": str(number)}
        facts = {"env": env, "token": f"{self.token}-{number}", "grace": 0.5, **more}
        loop = asyncio.new_event_loop()
        work = Work(Run(), 1, run, loop.create_future(), number=number)
        loop.close()
        self.orders[work] = Order(cmd=words or [PYTHON, "body.py"], attempt=1, **facts)
        return work

    def start(self, *preload: str, warm: bool = True) -> subprocess.Popen[bytes]:
        home = self.folder / "job"
        submission = Submission("t", home, pack=len(self.orders), runs=len(self.orders))
        if warm:
            submission.more = Warmth(preload or ("os",)).prepare(self.orders)
        submission.write(list(self.orders), "", self.slots)
        for work, order in self.orders.items():
            write_order(work.directory, order)
        self.job = subprocess.Popen(["sh", f"{home}/job.sh", str(home), "0", "0"], env=self.env)
        return self.job

    def log(self) -> str:
        return (self.folder / "job" / "log").read_text()

    def interpreters(self) -> list[int]:
        """Return the processes of the warm interpreter: itself, and the keepers of its runs."""
        return [int(line.split()[0]) for line in living(f"{self.folder}/job/warm_python/begin.py")]


def ended(work: Work) -> ExitStatus:
    event = read_end(work.directory, 1)
    assert event is not None
    return event.exit_status()


def printed(work: Work) -> str:
    return (work.directory / "stdout.txt").read_text()


def here(work: Work) -> bool:
    return (work.directory / "here").exists()


def looked(work: Work) -> dict[str, object]:
    seen = observed(work.directory, ended(work))
    files: Any = seen["files"]
    seen["files"] = [one for one in files if ".multirun" not in one[0]]
    return seen


SHELLS = [shutil.which(name) for name in ("dash", "bash", "busybox")]


@pytest.fixture(params=[shell for shell in SHELLS if shell], ids=lambda path: Path(path).name)
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pack]:
    one = Pack(tmp_path / "it is here", shell=request.param)
    yield one
    if one.job is not None and one.job.poll() is None:  # the test has failed
        for line in living(str(one.folder)) + living(one.token):
            os.kill(int(line.split()[0]), signal.SIGKILL)
        one.job.wait()
    wait_until(lambda: not living(str(one.folder)))


@pytest.mark.parametrize("part", range(4))
def test_warm_is_as_started_in_the_same_job(tmp_path: Path, part: int) -> None:
    seen: dict[bool, dict[str, object]] = {}
    token = marker()
    for warm in (True, False):
        pack = Pack(tmp_path / "here", token=token)
        works = {name: pack.add(*words, script=script) for name, script, words in SCRIPTS[part::4]}
        probe = pack.add(script=FORKED)
        pack.start(*PRELOADS[1], warm=warm).wait(120)
        assert printed(probe) == f"{warm}\n"
        seen[warm] = {name: looked(work) for name, work in works.items()}
        pack.folder.rename(tmp_path / str(warm))
    assert seen[True] == seen[False]


def test_a_tree_ends_with_its_run(pack: Pack) -> None:
    word = marker()
    works = [pack.add(*HOSTILE, word, "exit", kind) for kind in KINDS]
    pack.start().wait(60)
    assert [ended(work).code for work in works] == [7] * len(KINDS)
    assert living(word) == []


def test_a_tree_ends_by_the_time_limit_and_what_follows_is_forked(pack: Pack) -> None:
    word = marker()
    limited = pack.add(*HOSTILE, word, "stay", *KINDS, timeout=1.5)
    after = [pack.add(*HOSTILE[:-1], "body.py", script=FORKED) for _ in range(4)]
    pack.start().wait(60)
    assert (ended(limited).reason, ended(limited).code) == ("timeout", -15)
    assert living(word) == []
    assert [printed(work) for work in after] == ["True\n"] * 4


@pytest.mark.parametrize("all_at_once", [False, True])
def test_the_end_of_the_job_ends_all_runs(pack: Pack, *, all_at_once: bool) -> None:
    """Some queues tell the job's shell, others all of its processes."""
    works = [pack.add(script=STAY) for _ in range(2)]
    late = pack.add(script=STAY)
    job = pack.start()
    wait_until(lambda: all(map(here, works)))
    if all_at_once:
        for line in living(str(pack.folder)):
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(int(line.split()[0]), signal.SIGTERM)
    job.terminate()
    job.wait(60)
    assert [ended(work).reason for work in works] == ["cancelled"] * 2
    assert [ended(work).code for work in works] == [-15] * 2
    assert not here(late)


def test_one_run_is_ended_and_others_go_on(pack: Pack) -> None:
    stays = pack.add(script=STAY)
    goes = pack.add(script="import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)")
    job = pack.start()
    wait_until(lambda: here(stays))
    claim = stays.directory / ".multirun" / "claim-1"
    (claim / "ending").write_text("cancelled\n")
    job.send_signal(signal.SIGHUP)
    wait_until(lambda: (claim / "exit").exists())
    (goes.directory / "go").touch()
    job.wait(60)
    assert (ended(stays).reason, ended(goes).code) == ("cancelled", 0)


def test_signals_reach_the_run_alone(pack: Pack) -> None:
    script = (
        "import signal, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('told', flush=True) or exit(3))\n"
    )
    work = pack.add(script=script + STAY)
    after = pack.add(script=FORKED)
    pack.slots = 1
    job = pack.start()
    wait_until(lambda: here(work))
    job.send_signal(signal.SIGUSR1)
    job.wait(60)
    assert (ended(work).code, printed(work)) == (3, "told\n")
    assert printed(after) == "True\n"


TOLD = "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: exit(3))\n"


def test_runs_that_begin_after_a_signal_are_told_when_they_catch_it(pack: Pack) -> None:
    first, deaf = pack.add(script=TOLD + STAY), pack.add(script="import time; time.sleep(0.5)")
    slow = "import os, time\nassert 'MULTIRUN_TOLD' not in os.environ\ntime.sleep(0.5)\n"
    later = pack.add(script=slow + TOLD + STAY)
    pack.slots = 1
    job = pack.start(warm=False)
    wait_until(lambda: here(first))
    job.send_signal(signal.SIGUSR1)
    job.wait(20)
    assert [ended(work).code for work in (first, deaf, later)] == [3, 0, 3]


@pytest.mark.parametrize(
    ("program", "argument", "count"),
    [("date", "+%s.%N", 2), ("sh", "run", 2), ("sh", "run", 1), ("setsid", "inner", 1)],
)
def test_no_signal_that_comes_before_a_run_has_begun_is_lost(
    pack: Pack, program: str, argument: str, count: int
) -> None:
    """While the job, the wrapper, or the program is being started."""
    real = pack.folder / "programs" / program
    words = shlex.quote(str(real.resolve() if real.exists() else shutil.which(program)))
    words += " sh" if words.endswith("busybox") else ""
    real.unlink(missing_ok=True)
    began, go = pack.folder / "began", pack.folder / "go"
    began.touch()
    real.write_text(
        f"#!/bin/sh\ncase \" $* \" in *' {argument} '*) echo $$ >>'{began}'\n"
        f"until [ -e '{go}' ]; do sleep 0.05; done ;; esac\nexec {words} \"$@\"\n"
    )
    real.chmod(0o755)
    works = [pack.add(script=TOLD + STAY) for _ in range(count)]
    job = pack.start(warm=False)
    wait_until(lambda: began.read_text().count("\n") == (1 if program == "date" else count))
    job.send_signal(signal.SIGUSR1)

    def is_noted() -> bool:
        if program == "date":  # the shell waits for that
            status = Path(f"/proc/{job.pid}/status").read_text()
            return not any(int(mask, 16) for mask in re.findall(r"Pnd:\s*(\w+)", status))
        return all(living(f"pass\0USR1\0{pid}") for pid in began.read_text().split())

    wait_until(is_noted)
    go.touch()
    assert job.wait(20) == 1
    assert [ended(work).code for work in works] == [3] * count


def test_handlers_that_an_import_sets_are_those_of_runs(tmp_path: Path) -> None:
    (tmp_path / "handles.py").write_text(HANDLES)
    seen: dict[bool, str] = {}
    for warm in (True, False):
        pack = Pack(tmp_path / str(warm))
        pack.env["PYTHONPATH"] = str(tmp_path)
        work = pack.add(script=HANDLED + FORKED)
        pack.add()
        pack.start("handles", warm=warm).wait(60)
        assert ended(work).code == 0
        seen[warm], _, forked = printed(work).rstrip("\n").rpartition("\n")
        assert forked == str(warm)
    assert seen[True] == seen[False]
    assert "told 15\ntold 1\ntold 10\nended [768]" in seen[True]


@pytest.mark.parametrize("module", ["os", "handles"])
def test_the_interpreter_and_the_keepers_are_deaf(tmp_path: Path, module: str) -> None:
    (tmp_path / "handles.py").write_text(HANDLES.replace("print(", "os._exit(9) or print("))
    pack = Pack(tmp_path / "here")
    pack.slots = 1
    pack.env["PYTHONPATH"] = str(tmp_path)
    wait = "import os, time\nopen('here', 'w')\nwhile not os.path.exists('go'): time.sleep(0.01)"
    first, second = pack.add(script=wait), pack.add(script=FORKED)
    job = pack.start(module)
    wait_until(lambda: here(first))
    deaf = pack.interpreters()
    assert len(deaf) == 2
    for pid in deaf:
        for name in ("TERM", "HUP", "INT", "USR1", "USR2"):
            os.kill(pid, getattr(signal, f"SIG{name}"))
    (first.directory / "go").touch()
    job.wait(60)
    assert ended(first).code == 0
    assert (ended(second).code, printed(second)) == (0, "True\n")


def test_cpu_time_is_that_of_the_run(pack: Pack) -> None:
    script = "import time\nwhile time.process_time() < 0.5: pass"
    work, other = pack.add(script=script), pack.add()
    pack.start().wait(60)
    first, second = ended(work).cpu_seconds, ended(other).cpu_seconds
    assert first is not None
    assert second is not None
    assert 0.5 <= first < 5
    assert second < first


def test_random_numbers_differ_from_run_to_run(tmp_path: Path) -> None:
    pack = Pack(tmp_path / "here")
    script = (
        "import random, numpy, os, uuid\nprint(random.random(), numpy.random.random(),"
        " numpy.random.default_rng().random(), os.urandom(8).hex(), uuid.uuid4())\n"
    )
    works = [pack.add(script=script + FORKED) for _ in range(2)]
    pack.start("random", "numpy.random", "uuid").wait(60)
    first, second = (printed(work).split() for work in works)
    assert (len(first), first.pop(), second.pop()) == (6, "True", "True")
    assert not set(first) & set(second)


def test_a_generator_of_all_runs_is_named_and_runs_are_started(tmp_path: Path) -> None:
    pack = Pack(tmp_path / "here")
    (tmp_path / "made.py").write_text("import numpy\nSEEDS = numpy.random.SeedSequence()\n")
    pack.env["PYTHONPATH"] = str(tmp_path)
    works = [pack.add(script="import made; print(made.SEEDS.entropy)") for _ in range(2)]
    pack.start("made").wait(60)
    first, second = map(printed, works)
    assert first != second
    assert "warm\t'made' makes a generator" in pack.log()


def test_without_the_interpreter_runs_are_started(pack: Pack) -> None:
    """What it had forked goes on, and its end is known."""
    pack.slots = 1
    wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nexit(5)"
    first, second = pack.add(script="open('here', 'w')\n" + wait), pack.add(script=FORKED)
    job = pack.start()
    wait_until(lambda: here(first))
    oldest = min(pack.interpreters())
    os.kill(oldest, signal.SIGKILL)
    wait_until(lambda: oldest not in pack.interpreters())
    (first.directory / "go").touch()
    job.wait(60)
    assert ended(first).code == 5
    assert (ended(second).code, printed(second)) == (0, "False\n")


@pytest.mark.long
def test_an_interpreter_that_does_not_answer_is_asked_no_more(pack: Pack) -> None:
    """It is stopped, and what it is asked by is full; what it had forked goes on."""
    wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nexit(5)"
    first = pack.add(script="open('here', 'w')\n" + wait)
    goes = pack.add(script=wait.replace("5", "6"))
    log = str(pack.folder / "job" / "log")
    others = [pack.add(script=FORKED, log=log) for _ in range(2)]
    job = pack.start()
    wait_until(lambda: here(first) and process(goes).exists())
    oldest = min(pack.interpreters())
    os.kill(oldest, signal.SIGSTOP)
    fill(pipes_of(oldest) / "orders")
    (goes.directory / "go").touch()
    wait_until(lambda: all((one.directory / ".multirun/claim-1/exit").exists() for one in others))
    assert oldest not in pack.interpreters()
    (first.directory / "go").touch()
    job.wait(60)
    assert [ended(one).code for one in (first, goes)] == [5, 6]
    assert [printed(one) for one in others] == ["False\n"] * 2
    assert pack.log().count("warm\tit does not answer") == 1


def pipes_of(pid: int) -> Path:
    """Return the directory of pipes of an interpreter, or of a fork of it."""
    return Path(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-3]))


def fill(pipe: Path) -> None:
    fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            os.write(fd, b"x" * 4095 + b"\n")
    except BlockingIOError:
        os.close(fd)


def test_who_keeps_a_run_is_killed_and_all_others(pack: Pack) -> None:
    """Nobody knows then how the run ends, so it has not succeeded."""
    wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
    alone = pack.add(script="open('here', 'w')\n" + wait)
    words = "open(f'/proc/{os.getppid()}/cmdline').read().split(chr(0))"
    kept = pack.add(script=f"{FORKED}\nprint(os.path.exists({words}[-3] + '/late'))")
    pack.slots = 1
    job = pack.start()
    wait_until(lambda: here(alone) and process(alone).exists())
    keeper = keeper_of(alone)
    (pipes_of(keeper) / "late").write_text("1\n")  # until the next order is read
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: keeper not in pack.interpreters())
    (alone.directory / "go").touch()
    job.wait(60)
    assert ended(alone).code == -9
    assert (ended(kept).code, printed(kept)) == (0, "True\nFalse\n")


def test_a_job_does_not_wait_for_a_run_whose_wrapper_was_killed(pack: Pack) -> None:
    """Who listens to that run hears what is said in its slot, so that no other is forked there."""
    orphan, after = pack.add(script=STAY), pack.add(script=FORKED)
    pack.slots = 1
    job = pack.start()
    wait_until(lambda: here(orphan) and process(orphan).exists())
    who = wait_until(lambda: re.fullmatch(r"(.*\t){7}\.\n", process(orphan).read_text()))[0].split()
    os.kill(int(who[2]), signal.SIGKILL)
    job.wait(20)
    os.kill(int(who[4]), signal.SIGKILL)
    assert (ended(after).code, printed(after)) == (0, "False\n")


# Whoever is to fork, and is called as one of the files in a folder, waits while `waits` is there.
SLOW = """
import os, time
HERE, FIRST = os.environ["WAITS"], os.getpid()
def before():
    name = f"{HERE}/{'interpreter' if os.getpid() == FIRST else 'keeper'}"
    try:
        os.rename(name, f"{HERE}/waits")
    except OSError:
        return
    while os.path.exists(f"{HERE}/waits"):
        time.sleep(0.01)
os.register_at_fork(before=before, after_in_parent=lambda: open(f"{HERE}/forked", "w").close())
"""


class SlowPack(Pack):
    """One whose interpreter, or the keeper of its first run, takes its time to fork."""

    def __init__(self, folder: Path, who: str) -> None:
        super().__init__(folder / "here")
        self.slots = 1
        self.waits = folder / "waits"
        self.env |= {"PYTHONPATH": str(folder), "WAITS": str(folder)}
        (folder / "slow.py").write_text(SLOW)
        (folder / who).touch()

    def say(self, work: Work, what: str) -> None:
        """Say to who waits for a run what its own clock would have said."""
        line = f"{self.orders[work].token} {what}\n"
        (pipes_of(min(self.interpreters())) / "said-0").write_text(line)


def test_an_interpreter_that_comes_late_does_not_fork_what_was_started_meanwhile(
    tmp_path: Path,
) -> None:
    pack = SlowPack(tmp_path, "interpreter")
    first, second = (pack.add(script="open('begun', 'a').write('x')\n" + FORKED) for _ in range(2))
    job = pack.start("slow")
    wait_until(pack.waits.exists)
    pack.say(first, "late")
    wait_until((claim_of(first) / "exit").exists)
    pack.waits.unlink()
    job.wait(60)
    assert [(ended(one).code, printed(one)) for one in (first, second)] == [
        (0, "False\n"),
        (0, "True\n"),
    ]
    assert [(one.directory / "begun").read_text() for one in (first, second)] == ["x", "x"]


@pytest.mark.parametrize(
    ("who", "how"), [("interpreter", "ended"), ("keeper", "ended"), ("keeper", "given up")]
)
def test_a_fork_that_comes_when_its_run_is_over_begins_nothing(
    tmp_path: Path, who: str, how: str
) -> None:
    pack = SlowPack(tmp_path, who)
    first = pack.add(script="open('begun', 'w')")
    goes = pack.add("sh", "-c", "until test -e go; do sleep 0.05; done")
    last = pack.add(script=FORKED)
    job = pack.start("slow")
    wait_until(pack.waits.exists)
    interpreter = min(pack.interpreters())
    if how == "ended":
        os.kill(int((claim_of(first) / "claimant").read_text().split("\t")[2]), signal.SIGKILL)
        words = ["sh", SCRIPT, "end", first.directory, "1", "0.1", "cancelled"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert said == "claimed\n"
    else:
        pack.say(first, "late")
        pack.say(first, "unbegun")
    wait_until(claim_of(goes).exists)
    pack.waits.unlink()
    wait_until(lambda: (tmp_path / "forked").exists() and pack.interpreters() == [interpreter])
    (goes.directory / "go").touch()
    job.wait(60)
    for line in living(str(pack.folder)):  # clocks that nobody heeds any more
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert not (first.directory / "begun").exists()
    assert read_end(first.directory, 1) is None
    assert ended(goes).code == 0
    assert (ended(last).code, printed(last)) == (0, f"{how == 'given up'}\n")


def test_a_handler_of_c_from_before_python_does_no_harm(tmp_path: Path) -> None:
    text = (
        "#include <signal.h>\nstatic void handle(int number) {}\n"
        "__attribute__((constructor)) static void set(void) { signal(SIGCHLD, handle); }\n"
    )
    (tmp_path / "set.c").write_text(text)
    library = tmp_path / "set.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "set.c"], check=True)
    pack = Pack(tmp_path / "here")
    work = pack.add(script=FORKED)
    pack.add()
    pack.env["LD_PRELOAD"] = str(library)
    pack.start().wait(60)
    assert (ended(work).code, printed(work)) == (0, "True\n")


def claim_of(work: Work) -> Path:
    return work.directory / ".multirun" / "claim-1"


def process(work: Work) -> Path:
    return claim_of(work) / "process"


def keeper_of(work: Work) -> int:
    """Return who waits for a run, by the process that is written down for it."""
    one = tree.process(int(process(work).read_text().split("\t")[4]))
    assert one is not None
    return one.parent


def test_a_module_that_cannot_be_kept_is_named_and_runs_are_started(pack: Pack) -> None:
    work = pack.add(script=FORKED)
    pack.add()
    pack.start("no_such_module").wait(60)
    assert (ended(work).code, printed(work)) == (0, "False\n")
    assert "warm\t'no_such_module' cannot be imported" in pack.log()


def test_an_interpreter_that_is_not_there(pack: Pack) -> None:
    work = pack.add("/no/such/python3", "body.py")
    pack.add(script=FORKED)
    pack.start().wait(60)
    assert ended(work).reason == "submit"
    assert "warm\tit is not ready: " in pack.log()


def test_setup_is_done_once_unless_it_is_about_the_run(tmp_path: Path) -> None:
    once = Pack(tmp_path / "once")
    works = [
        once.add(script=FORKED + "; print(os.environ['B'])", setup=['export B="$A 2"', "echo done"])
        for _ in range(2)
    ]
    once.env["A"] = "1"
    once.start().wait(60)
    assert [printed(work) for work in works] == ["True\n1 2\n"] * 2
    each = Pack(tmp_path / "each")
    works = [
        each.add(script=FORKED + "; print(os.environ['B'])", setup=["export B=$MULTIRUN_INDEX"])
        for _ in range(2)
    ]
    each.start().wait(60)
    assert [printed(work) for work in works] == ["False\n0\n", "False\n1\n"]


# By a runner.


def carried_out(tmp_path: Path, **options: Any) -> list[Any]:
    script = tmp_path / "body.py"
    script.write_text(
        "from multirun_core import postRunResults\n"
        "import os\npostRunResults('begin.py' in open(f'/proc/{os.getppid()}/cmdline').read())\n"
    )
    runner = QueueRunner(tmp_path / "queue", **options)
    sweep = multirun(
        runs=[{"n": n} for n in range(6)],
        cmd=[PYTHON, "body.py"],
        input_files=[script],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
    )
    return list(sweep.results)


@pytest.mark.parametrize("attempt_dirs", [False, True])
def test_packed_runs_of_a_queue_are_forked(tmp_path: Path, *, attempt_dirs: bool) -> None:
    assert carried_out(tmp_path, pack=3, warm=True, attempt_dirs=attempt_dirs) == [True] * 6
    (private,) = (tmp_path / "s" / "jobs").glob("*/warm")
    assert private.stat().st_mode & 0o777 == 0o600  # it holds what env holds


def test_why_they_are_not_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "multirun.runner")
    assert carried_out(tmp_path, pack=3, preload=["no_such"]) == [False] * 6
    (said,) = [record.getMessage() for record in caplog.records if "no_such" in record.getMessage()]
    assert said.startswith("no warm Python, so that runs start as usual: 'no_such' cannot be")


def test_jobs_of_one_run_have_no_use_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give pack, too"):
        QueueRunner(tmp_path, preload=["json"])


def test_what_a_script_imports_is_looked_up_where_it_lies(tmp_path: Path) -> None:
    """Where run directories have other paths over there, the script is not there yet."""
    (tmp_path / "body.py").write_text(
        "import beside, json\nfrom os import path\nimport statistics\n"
    )
    (tmp_path / "beside.py").touch()
    chosen = Warmth(()).choose()
    assert not chosen.made
    order = Order(cmd=[PYTHON, "body.py"], attempt=1, token="t")
    assert chosen.take(order, tmp_path).warm
    for elsewhere, script in (
        (False, os.fsencode(tmp_path / "body.py")),
        (True, "from os import path\nimport statistics"),
    ):
        text = chosen.command(elsewhere=elsewhere).split()[-1].decode()
        told = marshal.loads(bytes.fromhex(text))  # noqa: S302 - our own
        assert told == [[os.fsencode(PYTHON)], None, script, None]
    other = Order(cmd=[PYTHON, "other.py"], attempt=1, token="t")
    assert chosen.take(other, tmp_path) is other
