"""The wrapper that carries out attempts where nothing of ours is installed, under every sh here."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from bystander import another_user, at_a_terminal
from hypothesis import given
from hypothesis import strategies as st
from launcher_tools import living
from multirun_core._runners.launcher import tree
from multirun_core._staging.orders import drop_order, read_end, write_order
from multirun_core._transport import wrapper
from multirun_core._transport.process import start_time
from multirun_core._transport.wrapper import Event, Order, parse_line, parse_look
from sweeps import wait_until

SCRIPT = Path(wrapper.__file__).with_name("wrapper.sh")
SHELLS = [
    words
    for words in (["sh"], ["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"])
    if shutil.which(words[0])
]
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the wrapper is for Linux"
)


class Attempt:
    """One attempt, and what is done to it."""

    def __init__(self, shell: list[str], home: Path) -> None:
        self.shell, self.home = shell, home
        self.log = home.parent / "lo g"
        self.token = f"{os.getpid()}-{time.monotonic_ns()}"
        self.started: list[subprocess.Popen[bytes]] = []

    def order(self, *cmd: str, attempt: int = 1, **facts: Any) -> Attempt:
        self.home.mkdir(exist_ok=True)
        facts = {"index": 7, "log": str(self.log), "token": self.token, **facts}
        write_order(self.home, Order(cmd=cmd, attempt=attempt, **facts))
        return self

    def start(self, attempt: int = 1, **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*self.shell, SCRIPT, "run", self.home, str(attempt)],
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def run(self, attempt: int = 1, code: int = 0, **env: str) -> Event | None:
        process = self.start(attempt, **env)
        _, complaint = process.communicate(timeout=50)
        assert process.returncode == code, complaint
        return self.end(attempt)

    def end(self, attempt: int = 1) -> Event | None:
        return read_end(self.home, attempt)

    def say(self, verb: str, *words: str, attempt: int = 1) -> Event | str | None:
        done = subprocess.run(
            [*self.shell, SCRIPT, verb, self.home, str(attempt), *words],
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        return parse_look(done.stdout)

    def read(self, name: str) -> str:
        path = self.home / name
        return path.read_text() if path.exists() else ""

    def processes(self) -> list[str]:
        """Return the commands of live processes that have this attempt's directory in them."""
        found: list[str] = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes()
            except OSError:
                continue
            if os.fsencode(self.home) in command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        return found


@pytest.fixture(params=SHELLS, ids=" ".join)
def attempt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Attempt]:
    home = tmp_path / "it's $HOME;\n*" / "ru n"
    home.parent.mkdir()
    one = Attempt(request.param, home)
    yield one
    for process in one.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    wait_until(lambda: not one.processes())


def test_a_program_is_carried_out(attempt: Attempt) -> None:
    before = time.time()
    attempt.order("sh", "-c", "echo out; echo err >&2; pwd; exit 7")
    event = attempt.run()
    assert event is not None
    assert (event.word, event.index, event.attempt, event.code) == ("end", 7, 1, 7)
    assert event.token == attempt.token
    assert event.started is not None
    assert event.ended is not None
    assert before - 0.1 <= event.started <= event.ended + 0.02 <= time.time() + 0.1
    assert attempt.read("stdout.txt") == f"out\n{attempt.home}\n"
    assert attempt.read("stderr.txt") == "err\n"
    status = event.exit_status()
    assert (status.code, status.cause, status.host) == (7, "exit", event.host)
    assert attempt.say("look") == event
    lines = attempt.log.read_text().splitlines(keepends=True)
    assert [line.split("\t")[0] for line in lines] == ["start", "end"]
    assert all(map(parse_line, lines))


def test_arguments_and_variables_arrive_as_they_are(attempt: Attempt) -> None:
    words = [
        "",
        " ",
        "it's",
        '"',
        "$HOME `id`",
        "a\\b",
        "l\nl\n",
        "*",
        "-n",
        "A=b",
        "é世",
        "x" * 90000,
    ]
    env = {"A": "l\n'q' $x", "B.C": "odd\nname", "mr_dir": "mine", "host": "mine", "E": ""}
    program = (
        "import json,os,sys; print(json.dumps([sys.argv[1:],"
        " {k: os.environ.get(k) for k in sys.argv.pop(1).split()},"
        " [k for k in os.environ if k.startswith('mr_')]]))"
    )
    attempt.order(
        sys.executable, "-c", program, "A B.C mr_dir host E line MULTIRUN_RUN_DIR", *words, env=env
    )
    event = attempt.run(line="outer", host="outer", now="outer")
    assert event is not None
    assert event.code == 0, attempt.read("stderr.txt")
    seen, variables, own = json.loads(attempt.read("stdout.txt"))
    assert seen[1:] == words
    expected = {**env, "line": "outer", "MULTIRUN_RUN_DIR": str(attempt.home)}
    assert variables == expected
    assert own == ["mr_dir"], "only what the order asks for"


def test_usage_is_measured(attempt: Attempt) -> None:
    burn = "import os,time\nwhile sum(os.times()[:2]) < 0.3: pass"
    event = attempt.order(sys.executable, "-c", burn).run()
    assert event is not None
    assert event.cpu_seconds is not None
    assert 0.25 <= event.cpu_seconds < 30


def test_setup_comes_before_the_program(attempt: Attempt) -> None:
    attempt.order(
        "sh", "-c", 'echo "$MODULE"', setup=["MODULE='it''s'", "export MODULE", "echo set"]
    )
    assert attempt.run() is not None
    assert attempt.read("stdout.txt") == "set\nits\n"


def test_setup_may_look_at_variables_that_are_not_set(attempt: Attempt) -> None:
    """As the start-up files of module systems and environments do."""
    attempt.order("echo", "began", setup=['if [ -z "$NO_SUCH_VARIABLE" ]; then echo none; fi'])
    assert attempt.run() is not None
    assert attempt.read("stdout.txt") == "none\nbegan\n"


def test_setup_that_is_no_shell_text_fails_the_run(attempt: Attempt) -> None:
    event = attempt.order("true", setup=["if ("]).run()
    assert event is not None
    assert event.code not in (0, None)
    assert attempt.read("stderr.txt")


@pytest.mark.parametrize("name", ["no such program", "./data", "./folder", "/none/such"])
def test_a_program_that_cannot_be_started(attempt: Attempt, name: str) -> None:
    attempt.order(name)
    (attempt.home / "data").write_text("no program")
    (attempt.home / "folder").mkdir()
    event = attempt.run()
    assert event is not None
    status = event.exit_status("why")
    assert (status.code, status.reason, status.started) == (None, "submit", None)
    assert name in attempt.read("stderr.txt")


def test_a_signal_is_told_from_an_exit_status(attempt: Attempt) -> None:
    event = attempt.order("sh", "-c", "kill -9 $$").run()
    assert event is not None
    assert event.exit_status().code == -signal.SIGKILL
    assert event.exit_status().cause == "signal"


def test_it_is_claimed_once(attempt: Attempt) -> None:
    attempt.order("sh", "-c", "echo x >> ../count")
    many = [attempt.start() for _ in range(4)]
    for process in many:
        process.communicate(timeout=50)
    assert sorted(process.returncode for process in many) == [0, 3, 3, 3]
    assert (attempt.home.parent / "count").read_text() == "x\n"


def test_without_an_order_nothing_is_done(attempt: Attempt) -> None:
    attempt.home.mkdir()
    assert attempt.run(code=3) is None
    attempt.order("touch", "done", attempt=2)
    assert attempt.run(1, code=3) is None
    assert not (attempt.home / "done").exists()


def test_a_superseded_attempt_is_not_begun(attempt: Attempt) -> None:
    attempt.order("touch", "done")
    (attempt.home / ".multirun" / "attempt").write_text("2\n")
    assert attempt.run(code=3) is None
    assert not (attempt.home / "done").exists()


def test_once_dropped_it_is_never_begun_again(attempt: Attempt) -> None:
    attempt.order("sh", "-c", "echo x >> ../count").run()
    drop_order(attempt.home)
    assert not (attempt.home / ".multirun").exists()
    assert attempt.run(code=3) is None
    assert (attempt.home.parent / "count").read_text() == "x\n"


def test_the_time_limit_is_kept(attempt: Attempt) -> None:
    event = attempt.order("sleep", "300", timeout=0.4, grace=0.2).run()
    assert event is not None
    assert event.exit_status().cause == "timeout"
    assert event.ended is not None
    assert event.started is not None
    assert event.ended - event.started >= 0.39


def test_the_time_limit_is_kept_without_the_wrapper(attempt: Attempt) -> None:
    attempt.order("sh", "-c", 'sleep 300; : "$PWD"', "x", str(attempt.home), timeout=1, grace=0.1)
    process = attempt.start()
    wait_until(lambda: attempt.say("look") == "alive")
    process.kill()
    process.wait()
    assert attempt.say("look") in ("orphan", "gone")
    wait_until(lambda: attempt.say("look") == "gone")
    assert attempt.end() is None


HARD = """
trap '' TERM
(env -i PATH="$PATH" setsid sh -c 'cd /; while :; do sleep 1; done' "$PWD" >/dev/null 2>&1 &)
(setsid sh -c 'trap "" TERM; while :; do sleep 1; done' "$PWD" &)
: > ready
"""


@pytest.mark.parametrize("how", ["term", "end", "exit"])
def test_the_whole_tree_ends(attempt: Attempt, how: str) -> None:
    last = "exit 0" if how == "exit" else "while :; do sleep 1; done"
    attempt.order("sh", "-c", f"{HARD}\n{last}", str(attempt.home), grace=0.3)
    process = attempt.start()
    if how != "exit":
        wait_until((attempt.home / "ready").exists)
    if how == "term":
        process.terminate()
    elif how == "end":
        event = attempt.say("end", "0.3", "cancelled")
        assert isinstance(event, Event)
    process.communicate(timeout=50)
    event = attempt.end()
    assert event is not None
    assert event.exit_status().cause == (None if how == "exit" else "cancelled")
    assert not attempt.processes()


def test_the_program_may_tidy_up(attempt: Attempt) -> None:
    attempt.order("sh", "-c", "trap 'echo tidy > tidied; exit 0' TERM; : > ready; sleep 300 & wait")
    process = attempt.start()
    wait_until((attempt.home / "ready").exists)
    process.terminate()
    process.communicate(timeout=50)
    assert attempt.read("tidied") == "tidy\n"
    event = attempt.end()
    assert event is not None
    assert not event.exit_status().ok, "what was cancelled has not succeeded"


def test_other_signals_are_passed_on(attempt: Attempt) -> None:
    attempt.order(
        "sh",
        "-c",
        "trap 'echo one >> seen' USR1; : > ready; until test -s seen; do sleep 0.05; done; exit 0",
    )
    process = attempt.start()
    wait_until((attempt.home / "ready").exists)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=50)
    event = attempt.end()
    assert event is not None
    assert (event.code, attempt.read("seen")) == (0, "one\n")


def test_a_run_that_is_ended_before_it_began_never_begins(attempt: Attempt) -> None:
    attempt.order("touch", "done")
    assert attempt.say("look") == "unclaimed"
    assert attempt.say("end", "1", "cancelled") == "prevented"
    assert attempt.run(code=3) is None
    assert attempt.say("look") == "claimed"


def test_a_run_that_is_slow_to_begin_does_not_begin_once_it_is_ended(attempt: Attempt) -> None:
    (programs := attempt.home.parent / "programs").mkdir()
    slow = f"""#!/bin/sh
until [ -e {shlex.quote(str(attempt.home))}/go ]; do sleep 0.05; done
exec {shutil.which("date")} "$@"
"""
    (programs / "date").write_text(slow)
    (programs / "date").chmod(0o755)
    attempt.order("touch", "begun")
    process = attempt.start(PATH=f"{programs}:{os.environ['PATH']}")
    wait_until((attempt.home / ".multirun/claim-1").exists)
    assert attempt.say("end", "0.1", "cancelled") == "claimed"
    (attempt.home / "go").touch()
    process.communicate(timeout=50)
    assert process.returncode == 3
    assert not (attempt.home / "begun").exists()
    assert attempt.say("look") == "claimed"


class Asked:
    """What stands for a warm interpreter: the test hears what it is asked, and answers."""

    def __init__(self, attempt: Attempt, home: Path) -> None:
        self.attempt = attempt
        attempt.home = home / "ru n"  # without the newline, for which nobody is asked
        self.claim = attempt.home / ".multirun/claim-1"
        self.folder = home / "warm"
        self.folder.mkdir()
        for name in ("orders", "said-0"):
            os.mkfifo(self.folder / name)

    def start(self, *cmd: str) -> subprocess.Popen[bytes]:
        self.attempt.order(*cmd, warm=b"it")
        pipes = 'exec 7<>"$1/said-0" 8<>"$1/orders"; shift; exec "$@"'
        words = ["sh", "-c", pipes, "sh", self.folder, *self.attempt.shell, SCRIPT, "run"]
        env = os.environ | {"MULTIRUN_WARM": str(self.folder), "MULTIRUN_SLOT": "0"}
        process = subprocess.Popen(
            [*words, self.attempt.home, "1"], env=env, stderr=subprocess.DEVNULL
        )
        self.attempt.started.append(process)
        return process

    def answer(self, what: str) -> None:
        (self.folder / "said-0").write_text(f"{self.attempt.token} {what}\n")


def test_a_run_that_is_ended_while_it_waits_for_a_fork_is_not_over_before_it_gives_up(
    attempt: Attempt, tmp_path: Path
) -> None:
    asked = Asked(attempt, tmp_path)
    process = asked.start("touch", "begun")
    wait_until((asked.claim / "asked").exists)
    assert attempt.say("look") == "begins"
    words = [*attempt.shell, SCRIPT, "end", attempt.home, "1", "0.1", "cancelled"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ending:
        with pytest.raises(subprocess.TimeoutExpired):
            ending.wait(2.5)
        asked.answer("no")
        said, _ = ending.communicate(timeout=50)
    assert parse_look(said) == "claimed"
    process.communicate(timeout=50)
    assert process.returncode == 3
    assert not (attempt.home / "begun").exists()
    assert attempt.say("look") == "claimed"


def test_a_fork_that_comes_after_the_end_was_asked_for_is_ended(
    attempt: Attempt, tmp_path: Path
) -> None:
    asked = Asked(attempt, tmp_path)
    process = asked.start("true")
    wait_until((asked.claim / "asked").exists)
    (asked.claim / "ending").write_text("cancelled\n")
    (asked.claim / "asked").unlink()
    env = os.environ | {"MULTIRUN_TOKEN": attempt.token}
    child = subprocess.Popen(["sleep", "300"], env=env, start_new_session=True)
    attempt.started.append(child)
    asked.answer(f"pid {child.pid}")
    assert child.wait(20) == -signal.SIGTERM
    asked.answer("end 143 0")
    process.communicate(timeout=50)
    event = attempt.end()
    assert event is not None
    assert (event.code, event.reason) == (143, "cancelled")


def test_a_signal_that_comes_before_the_program_is_passed_on_when_it_is_there(
    attempt: Attempt, tmp_path: Path
) -> None:
    asked = Asked(attempt, tmp_path)
    process = asked.start("true")
    wait_until((asked.claim / "asked").exists)
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGUSR2)
    script = 'trap "exit 7" USR1; trap "echo two >two" USR2; : >ready; while :; do sleep 0.05; done'
    env = os.environ | {"MULTIRUN_TOKEN": attempt.token}
    words = ["sh", "-c", script]
    child = subprocess.Popen(words, env=env, start_new_session=True, cwd=tmp_path)
    attempt.started.append(child)
    wait_until((tmp_path / "ready").exists)
    (asked.claim / "asked").unlink()
    asked.answer(f"pid {child.pid}")
    assert child.wait(20) == 7
    asked.answer("end 7 0")
    process.communicate(timeout=50)
    event = attempt.end()
    assert event is not None
    assert event.code == 7


def test_a_signal_that_comes_before_the_program_has_its_group_is_passed_on_when_it_is_caught(
    attempt: Attempt,
) -> None:
    (programs := attempt.home.parent / "programs").mkdir()
    home, setsid = shlex.quote(str(attempt.home)), programs / "setsid"
    setsid.write_text(
        f"#!/bin/sh\n: >{home}/near; until [ -e {home}/go ]; do sleep 0.05; done\n"
        f'exec {shutil.which("setsid")} "$@"\n'
    )
    setsid.chmod(0o755)
    attempt.order(
        "sh", "-c",
        "sleep 0.5; trap 'echo one >>seen' USR1; trap 'echo two >>seen' USR2; "
        'until [ "$(wc -l <seen)" -ge 2 ]; do sleep 0.05; done; exit 7',
    )  # fmt: skip
    (attempt.home / "seen").touch()
    # One came even before it was begun.
    process = attempt.start(PATH=f"{programs}:{os.environ['PATH']}", MULTIRUN_TOLD=" USR2 USR2")
    wait_until((attempt.home / "near").exists)
    wait_until(lambda: attempt.say("look") == "alive")
    child = (attempt.home / ".multirun/claim-1/process").read_text().split("\t")[4]
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: bool(living(f"pass\0USR1\0{child}")))
    (attempt.home / "go").touch()
    assert process.communicate(timeout=50) == (b"", b"")
    assert sorted(attempt.read("seen").split()) == ["one", "two"]
    event = attempt.end()
    assert event is not None
    assert event.code == 7


@pytest.mark.long
def test_a_program_that_does_not_come_to_catching_a_signal_gets_it_after_half_a_minute(
    tmp_path: Path,
) -> None:
    attempt = Attempt(["sh"], tmp_path / "run")
    event = attempt.order("sleep", "100").run(MULTIRUN_TOLD="USR1")
    assert event is not None
    assert event.exit_status().code == -signal.SIGUSR1
    assert event.ended is not None
    assert event.started is not None
    assert 29 < event.ended - event.started < 40


WHERE = ("hostname", "random/boot_id")


def test_what_was_asked_for_by_one_that_is_no_more_is_not_forked_once_it_is_ended(
    attempt: Attempt, tmp_path: Path
) -> None:
    asked = Asked(attempt, tmp_path)
    attempt.order("true")
    asked.claim.mkdir()
    host, boot = (Path("/proc/sys/kernel", name).read_text().strip() for name in WHERE)
    (asked.claim / "claimant").write_text(f"{host}\t{boot}\t{os.getpid()}\t1\t.\n")
    (asked.claim / "asked").touch()
    assert attempt.say("look") == "claimed"
    assert attempt.say("end", "0.1", "cancelled") == "claimed"
    assert not (asked.claim / "asked").exists()


def test_only_an_interpreter_that_is_stuck_is_given_up(attempt: Attempt, tmp_path: Path) -> None:
    asked = Asked(attempt, tmp_path)
    late = asked.folder / "late"

    def serve() -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", "import time; time.sleep(300)", asked.folder, "it"]
        process = subprocess.Popen(words)
        attempt.started.append(process)
        (asked.folder / "pid").write_text(f"{process.pid}\n")
        (asked.folder / "ended").unlink(missing_ok=True)
        late.unlink(missing_ok=True)
        return process

    def given_up() -> bool:
        process = asked.start("true")
        wait_until((asked.claim / "asked").exists)
        asked.answer("late")
        process.communicate(timeout=50)
        event = attempt.end()
        assert event is not None
        assert event.code == 0
        shutil.rmtree(attempt.home)
        return (asked.folder / "ended").exists()

    slow = serve()
    assert not given_up()
    since = late.read_text()
    assert not given_up()
    assert late.read_text() == since
    late.write_text(f"{int(since) - 6000}\n")
    assert given_up()
    assert slow.wait(20) == -signal.SIGKILL
    stopped = serve()
    stopped.send_signal(signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{stopped.pid}/stat").read_text().rpartition(") ")[2][0] == "T")
    assert given_up()
    assert stopped.wait(20) == -signal.SIGKILL
    assert attempt.log.read_text().count("it does not answer") == 2


def test_nobody_is_asked_where_a_link_leads(attempt: Attempt, tmp_path: Path) -> None:
    asked = Asked(attempt, tmp_path)
    asked.folder.rename(tmp_path / "other")
    asked.folder.symlink_to("other")
    asked.start("true").communicate(timeout=50)
    event = attempt.end()
    assert event is not None
    assert event.code == 0
    assert not (asked.claim / "claimant").exists()


def test_an_end_that_came_is_not_changed_by_ending_it(attempt: Attempt) -> None:
    event = attempt.order("true").run()
    assert attempt.say("end", "1", "cancelled") == event
    assert attempt.end() == event


def test_a_wrapper_that_was_killed_leaves_no_end(attempt: Attempt) -> None:
    attempt.order("sh", "-c", ": > ready; sleep 300", str(attempt.home))
    process = attempt.start()
    wait_until((attempt.home / "ready").exists)
    wait_until(lambda: attempt.say("look") == "alive")
    process.kill()
    process.wait()
    assert attempt.say("look") == "orphan"
    assert attempt.say("end", "0.2", "cancelled") == "gone"
    assert not attempt.processes()
    assert attempt.end() is None


def test_another_boot_or_host(attempt: Attempt) -> None:
    attempt.order("true").run()
    claim = attempt.home / ".multirun/claim-1"
    (claim / "exit").unlink()
    host, boot, *rest = (claim / "process").read_text().split("\t")
    (claim / "process").write_text("\t".join([host, "another-boot", *rest]))
    assert attempt.say("look") == "gone"
    (claim / "process").write_text("\t".join(["another-host", boot, *rest]))
    assert attempt.say("look") == "elsewhere"
    assert attempt.say("end", "1", "cancelled") == "elsewhere"


@pytest.mark.parametrize("wrapper_is", ["alive", "killed"])
def test_nothing_is_signalled_unless_host_and_boot_match(attempt: Attempt, wrapper_is: str) -> None:
    """Neither what has the pids that were written down, nor what has the token or directory."""
    program = "trap ': >told; exit' TERM; : >ready; while :; do sleep 300; done"
    attempt.order("sh", "-c", program, str(attempt.home))
    process = attempt.start()
    wait_until((attempt.home / "ready").exists)
    wait_until(lambda: attempt.say("look") == "alive")
    if wrapper_is == "killed":
        process.kill()
        process.wait()
    who = attempt.home / ".multirun/claim-1/process"
    before = who.read_text()
    host, boot, *rest = before.split("\t")
    alive = attempt.processes()
    assert alive
    for line, said in (((host, "another-boot"), "gone"), (("another-host", boot), "elsewhere")):
        who.write_text("\t".join([*line, *rest]))
        assert attempt.say("look") == said
        assert attempt.say("end", "0.1", "cancelled") == said
        assert attempt.processes() == alive
        assert not (attempt.home / "told").exists()
    who.write_text(before)
    ended = attempt.say("end", "20", "cancelled")
    assert (attempt.home / "told").exists()
    assert not attempt.processes()
    if wrapper_is == "alive":
        assert isinstance(ended, Event)
        assert ended.reason == "cancelled"
    else:
        assert ended == "gone"


def test_the_time_may_be_given(attempt: Attempt) -> None:
    attempt.order("sleep", "0.1")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    event = attempt.run(MULTIRUN_BOOTED=f"{1000 - uptime % 1:.6f}", MULTIRUN_NODE="n ode")
    assert event is not None
    assert event.started is not None
    assert 1000 + uptime - uptime % 1 <= event.started + 1 < 1000 + uptime + 60
    assert event.host == "n ode"


def test_a_full_disk_makes_no_success(attempt: Attempt) -> None:
    attempt.order("true")
    (attempt.home / "stdout.txt").symlink_to("/dev/full/none")
    attempt.run(code=74)
    assert attempt.end() is None


def test_an_order_is_for_its_owner_alone(attempt: Attempt) -> None:
    attempt.order("true", env={"SECRET": "s"})
    assert (attempt.home / ".multirun/order").stat().st_mode & 0o777 == 0o600


LINE = "end\t3\t1\t0\t0\t-\t10.5\t11\t0.02\t-\tnode\ttoken\n"


@pytest.mark.parametrize(
    "line",
    [
        LINE[:-1],
        LINE.replace("end", "start of something"),
        LINE.replace("\t0.02", ""),
        LINE.replace("0.02", "nan"),
        LINE.replace("\t3\t", "\tthree\t"),
        LINE.replace("0\t-\t10.5", "-\t-\t10.5"),
        LINE.replace("\t1\t0\t", "\t1\t-\t"),
        "",
        "\n",
    ],
)
def test_what_is_no_line_is_not_taken_for_one(line: str) -> None:
    assert parse_line(line) is None


def test_a_line_is_read() -> None:
    event = parse_line(LINE)
    assert event == Event("end", 3, 1, 0, 0, None, 10.5, 11.0, 0.02, None, "node", "token")
    assert event.exit_status().ok
    assert parse_look("alive\n") == "alive"
    assert parse_look("alive") is None
    assert parse_look("elsewhere\tnode\n") == "elsewhere"
    assert parse_look("sh: not found\n") is None


@given(st.text(alphabet=st.sampled_from("endstar\t-0123456789.\nx"), max_size=80))
def test_any_text_may_be_asked_for_a_line(text: str) -> None:
    event = parse_line(text)
    assert event is None or event.word in ("start", "end")


@given(st.text(alphabet=st.characters(exclude_characters="\0"), max_size=40))
def test_any_word_is_quoted(word: str) -> None:
    try:
        text = Order(cmd=["x", word], attempt=1, token="t").render()
    except UnicodeEncodeError:
        return  # a lone surrogate that stands for no byte
    read = 'x() { printf "%s|" "$@"; }; mr_check() { :; }\neval "${mr_program##*exec }"'
    if "exec " in word:
        return  # what stands before it is cut off, so that a function is called
    done = subprocess.run(
        ["sh", "-c", text.decode("utf-8", "surrogateescape") + read],
        capture_output=True,
        check=False,
        timeout=50,
    )
    assert done.stdout == word.encode("utf-8", "surrogateescape") + b"|"


def test_a_run_whose_token_begins_like_anothers_is_left_alone(attempt: Attempt) -> None:
    other = Attempt(attempt.shell, attempt.home.with_name("other"))
    other.token = f"{attempt.token}0"  # as run 10 beside run 1
    other.order("sh", "-c", "until [ -e go ]; do sleep 0.05; done")
    process = other.start()
    wait_until(lambda: other.say("look") == "alive")
    assert (event := attempt.order("true").run()) is not None
    assert event.code == 0
    assert other.say("look") == "alive"
    (other.home / "go").touch()
    process.communicate(timeout=50)
    assert (event := other.end()) is not None
    assert event.code == 0


def test_an_attempt_that_is_given_up_as_it_begins_does_not_do_what_the_next_one_should(
    attempt: Attempt,
) -> None:
    (programs := attempt.home.parent / "programs").mkdir()
    slow = f"""#!/bin/sh
until [ -e {shlex.quote(str(attempt.home))}/go ]; do sleep 0.05; done
exec {shutil.which("setsid")} "$@"
"""
    (programs / "setsid").write_text(slow)
    (programs / "setsid").chmod(0o755)
    attempt.order("touch", "first")
    first = attempt.start(PATH=f"{programs}:{os.environ['PATH']}")
    wait_until(lambda: attempt.say("look") == "alive")
    (attempt.home / ".multirun/attempt").write_text("2\n")
    attempt.order("touch", "second", attempt=2)
    (attempt.home / "go").touch()
    first.communicate(timeout=50)
    assert not (attempt.home / "first").exists()
    assert not (attempt.home / "second").exists()
    assert (event := attempt.end()) is not None
    assert event.code == 127
    assert (event := attempt.run(2)) is not None
    assert event.code == 0
    assert (attempt.home / "second").exists()


def test_an_orphan_that_ends_leaves_the_next_attempt_alone(attempt: Attempt) -> None:
    wait = "until [ -e {0} ]; do sleep 0.05; done; rm {0}"
    nobody = "(env -i PATH=\"$PATH\" setsid sh -c 'until [ -e done ]; do sleep 0.05; done' &); "
    attempt.order("sh", "-c", "touch begun; " + wait.format("one"))
    first = attempt.start()
    wait_until((attempt.home / "begun").exists)
    (attempt.home / ".multirun/attempt").write_text("2\n")
    attempt.token += "-2"
    attempt.order("sh", "-c", nobody + wait.format("two") + "; touch done", attempt=2)
    second = attempt.start(2)
    wait_until(lambda: attempt.say("look", attempt=2) == "alive")
    (attempt.home / "one").touch()
    first.communicate(timeout=50)
    assert attempt.say("look", attempt=2) == "alive"
    (attempt.home / "two").touch()
    second.communicate(timeout=50)
    assert (event := attempt.end(2)) is not None
    assert (event.code, event.reason) == (0, None)


def test_who_is_told_a_moment_after_its_program_was_cancelled_as_well(attempt: Attempt) -> None:
    """As by a queue that tells all processes of a job, one after the other."""
    attempt.order("sh", "-c", "touch begun; exec sleep 300")
    process = attempt.start()
    wait_until((attempt.home / "begun").exists)
    wait_until(lambda: attempt.say("look") == "alive")
    child = int((attempt.home / ".multirun/claim-1/process").read_text().split("\t")[4])
    os.kill(child, signal.SIGTERM)
    wait_until(lambda: start_time(child) is None)
    process.terminate()
    process.communicate(timeout=50)
    assert (event := attempt.end()) is not None
    assert event.reason == "cancelled"
    # bash loses the status of what ends as a signal comes; it is unknown then, and nothing else.
    assert event.code == 143 or (attempt.shell[0] == "bash" and event.code is None)


def test_what_a_run_leaves_that_was_over_at_once_ends(attempt: Attempt) -> None:
    """Runs that take no time are looked after in a shorter way; which one is up to the machine."""
    stray = "env -i setsid sh -c 'while :; do sleep 1; done' \"$0\" >/dev/null 2>&1 9>&- &"
    for number in range(3):
        attempt.token += f"-{number}"
        attempt.order("sh", "-c", stray, str(attempt.home), attempt=number + 1, grace=0.3)
        (attempt.home / ".multirun/attempt").write_text(f"{number + 1}\n")
        event = attempt.run(number + 1)
        assert event is not None
        assert event.code == 0
        assert not attempt.processes()


@pytest.mark.parametrize("who", [at_a_terminal, another_user])
def test_who_is_at_work_in_the_directory_is_left_alone(
    attempt: Attempt, who: Callable[[Path], AbstractContextManager[subprocess.Popen[bytes]]]
) -> None:
    if who is another_user and os.geteuid() != 0:
        pytest.skip("only root may start a process of another user, or end one")
    attempt.order("sh", "-c", "touch begun; until test -e go; do sleep 0.05; done", grace=0.2)
    process = attempt.start()
    wait_until((attempt.home / "begun").exists)
    with who(attempt.home) as bystander:
        (attempt.home / "go").touch()
        process.communicate(timeout=50)
        event = attempt.end()
        assert event is not None
        assert event.code == 0
        assert attempt.say("end", "0.2", "cancelled") == event
        assert bystander.poll() is None


@pytest.mark.parametrize(("who", "known"), [("child", "orphan"), ("wrapper", "alive")])
def test_who_has_got_the_number_of_a_process_that_is_gone_is_left_alone(
    attempt: Attempt, who: str, known: str
) -> None:
    attempt.order("true").run()
    claim = attempt.home / ".multirun/claim-1"
    (claim / "exit").unlink()
    names = ("host", "boot", "wrapper", "wrapper_start", "child", "child_start", "token", "end")
    fields = dict(zip(names, (claim / "process").read_text().split("\t"), strict=True))
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as other:
        try:
            fields[who] = str(other.pid)
            # Both may have begun within one tick of the clock.
            fields[f"{who}_start"] = str(int(fields[f"{who}_start"]) - 1)
            (claim / "process").write_text("\t".join(fields.values()))
            assert attempt.say("look") == "gone"
            assert attempt.say("end", "0.2", "cancelled") == "gone"
            assert other.poll() is None
            seen = tree.process(other.pid)
            assert seen is not None
            fields[f"{who}_start"] = str(seen.start)  # only with that it would be the one
            (claim / "process").write_text("\t".join(fields.values()))
            assert attempt.say("look") == known
        finally:
            other.kill()
