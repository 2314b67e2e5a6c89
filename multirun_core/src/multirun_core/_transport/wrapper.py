"""Orders for `wrapper.sh`, which carries out attempts where nothing of ours is installed.

The script keeps the time limit, ends whole process trees, and leaves evidence in the run directory:
who carries out an attempt, and how it ended. This module writes what it reads, and reads what it
writes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

from multirun_core._model.run import PRIVATE, ExitStatus
from multirun_core._transport.shell import exports

ORDER = f"{PRIVATE}/order"
CLAIM = f"{PRIVATE}/claim-"
EXIT = "exit"  # in a claim

State: TypeAlias = Literal[
    "unclaimed", "claimed", "begins", "alive", "orphan", "gone", "prevented", "elsewhere"
]
"""What `look` and `end` say of an attempt that has not written its end.

"unclaimed": nobody has begun it. "claimed": its claimant has not yet said who it is, or died
before it could. "begins": its claimant lives and waits for a fork, so that it may yet begin.
"alive": it goes on, and will write its end. "orphan": the program goes on, but nobody is left to
write its end. "gone": it does not live and left no end. "prevented": nobody had begun it, and
nobody will. "elsewhere": another host claimed it, so that nobody here can tell.
"""
_STATES: dict[str, State] = {state: state for state in get_args(State)}

# What a shell says of a process that a signal ended is 128 and its number, see sh(1) of POSIX.
_SIGNALS = range(129, 193)
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?\Z", re.ASCII)
_FIELDS = 12


@cache
def wrapper_text() -> bytes:
    """Return the script."""
    return Path(__file__).with_name("wrapper.sh").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done for one attempt of a run.

    Attributes:
        cmd: the program and its arguments.
        index: the number of the run; None outside a sweep.
        attempt: the number of the attempt.
        token: tells the processes of this attempt from all others, anywhere: letters, digits
            and `-`.
        env: the variables of the run; not `MULTIRUN_RUN_DIR`, which is known only over there.
        setup: lines of shell text before the program, such as "module load gcc".
        timeout: seconds that it may run; None for no limit.
        grace: seconds between TERM and KILL when it is ended.
        log: the absolute path of a file over there to which lines about it are appended, too.
        warm: what a warm interpreter is asked for instead, where there is one; see
            `warm_python/packed.py`.
    """

    cmd: Sequence[str]
    attempt: int
    token: str
    index: int | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    setup: Sequence[str] = ()
    timeout: float | None = None
    grace: float = 5.0
    log: str | None = None
    warm: bytes | None = None

    def render(self) -> bytes:
        """Return the text of the order, for the file `ORDER` in the run directory.

        It may hold what `env` holds, so it must be readable for its owner alone.
        """
        facts = {
            "warm": "" if self.warm is None else self.warm.hex(),  # the first line is this
            "index": "-" if self.index is None else str(self.index),
            "attempt": str(self.attempt),
            "timeout": "" if self.timeout is None else _decimal(self.timeout),
            "grace": _decimal(self.grace),
            "token": self.token,
            "log": self.log or "",
            "program": self._program(),
        }
        lines = (f"mr_{name}={shlex.quote(text)}\n" for name, text in facts.items())
        return "".join(lines).encode("utf-8", "surrogateescape")

    def _program(self) -> str:
        """Return shell text whose last line becomes the program."""
        variables, words = exports(self.env)
        setup = "".join(f"{line}\n" for line in self.setup)
        command = shlex.join(["env", *words, *self.cmd] if words else list(self.cmd))
        return f"{variables}{setup}mr_check {shlex.quote(self.cmd[0])}\nexec {command}\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One line that the wrapper wrote.

    Attributes:
        word: "start" or "end".
        index: the number of the run; None outside a sweep.
        attempt: the number of the attempt.
        restart: how often the backend had started it anew.
        code: exit status as a shell has it; None in a "start".
        reason: "timeout", "cancelled" or "submit"; None lets the code speak.
        started: when it was started, in seconds since the epoch by the clock over there.
        ended: when it ended, likewise; None in a "start".
        cpu_seconds: CPU time of the processes that were waited for.
        max_rss_bytes: the largest resident set; None where unknown.
        host: the host it ran on.
        token: that of its order.
    """

    word: Literal["start", "end"]
    index: int | None
    attempt: int
    restart: int
    code: int | None
    reason: str | None
    started: float | None
    ended: float | None
    cpu_seconds: float | None
    max_rss_bytes: int | None
    host: str
    token: str

    def exit_status(self, message: str | None = None) -> ExitStatus:
        """Return the end of the attempt, from an "end".

        Args:
            message: one line for people.
        """
        code = self.code
        if code is not None and code in _SIGNALS:
            code = 128 - code
        if self.reason == "submit":
            return ExitStatus(code=None, reason="submit", message=message, host=self.host)
        return ExitStatus(
            code=code,
            reason=self.reason,
            message=message,
            started=self.started,
            ended=self.ended,
            cpu_seconds=self.cpu_seconds,
            max_rss_bytes=self.max_rss_bytes,
            host=self.host,
        )


def parse_line(line: str) -> Event | None:
    """Read a line of the wrapper's; None where it is none, or not whole.

    Args:
        line: with its newline, by which a whole line is known.
    """
    if not line.endswith("\n"):
        return None
    fields = line[:-1].split("\t")
    if len(fields) != _FIELDS or fields[0] not in ("start", "end"):
        return None
    word, *rest, host, token = fields
    index, attempt, restart, code, reason, started, ended, cpu, rss = rest
    numbers = (index, attempt, restart, code, started, ended, cpu, rss)
    if not all(number == "-" or _NUMBER.match(number) for number in numbers):
        return None
    try:
        event = Event(
            cast("Literal['start', 'end']", word),
            _maybe_int(index),
            int(attempt),
            int(restart),
            _maybe_int(code),
            None if reason == "-" else reason,
            _maybe_float(started),
            _maybe_float(ended),
            _maybe_float(cpu),
            _maybe_int(rss),
            host,
            token,
        )
    except ValueError:
        return None
    unknown = event.code is None and event.reason is None
    return None if event.word == "end" and unknown else event


def parse_look(text: str) -> Event | State | None:
    """Read what `look` or `end` printed; None where it says nothing that can be understood."""
    event = parse_line(text)
    if event is not None:
        return event if event.word == "end" else None
    return _STATES.get(text.rstrip("\n").split("\t")[0]) if text.endswith("\n") else None


def _maybe_int(text: str) -> int | None:
    return None if text == "-" else int(text)


def _maybe_float(text: str) -> float | None:
    return None if text == "-" else float(text)


def _decimal(seconds: float) -> str:
    """Return seconds as sh and sleep(1) take them: rounded up to hundredths, never 0 of a limit."""
    hundredths = -int(-seconds * 100 // 1)
    return f"{hundredths // 100}.{hundredths % 100:02d}"
