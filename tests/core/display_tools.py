"""What the tests of the display share: statistics that grow, and a terminal to look at."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

from multirun_core._model.status import RunStatistics

# Watches COUNT runs of which one ends every SECONDS, and prints a line in between.
WATCHING = """
import asyncio, sys, time
from multirun_core._display.reporter import Reporter
from multirun_core._model.status import RunStatistics

count, seconds, progress = int(sys.argv[1]), float(sys.argv[2]), eval(sys.argv[3])
begun = time.monotonic()

def statistics():
    done = min(count, int((time.monotonic() - begun) / seconds))
    return RunStatistics.of({"success": done // 2, "failure": done - done // 2,
                             "pending": count - done})

async def main():
    reporter = Reporter(progress)
    asyncio.get_running_loop().call_later(0.8 * seconds * count, reporter.say, "said\\x1b[2J\\nso")
    asyncio.get_running_loop().call_later(0.8 * seconds * count, print, "printed")
    await reporter.watch(statistics, "study")

asyncio.run(main())
print("rich" in sys.modules)
"""


def done(success: int, total: int, failure: int = 0) -> RunStatistics:
    return RunStatistics.of(
        {"success": success, "failure": failure, "pending": total - success - failure}
    )


def in_terminal(
    arguments: list[str], *, columns: int = 100, env: dict[str, str] | None = None,
    stdout: int | None = None,
) -> str:  # fmt: skip
    """Run a program in a terminal of its own; return all that was written to it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", **(env or {})}
    child = subprocess.Popen(
        arguments, stdin=slave, stdout=slave if stdout is None else stdout, stderr=slave,
        env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other side has been closed
            break
        if not data:
            break
        seen += data
    assert child.wait(30) == 0, seen
    os.close(master)
    return seen.decode()


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


def frames(seen: str) -> list[str]:
    """Return what stood in the terminal's lines, one after another, without colours."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    return [line for line in re.split(r"[\r\n]+", plain) if line]
