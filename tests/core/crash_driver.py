"""A driver that kills itself: `crash_driver.py ROOT MARKS RUNS WHERE [HOW]`.

WHERE "count" prints how many moments there are and kills nobody. A number kills this process, by
SIGKILL, at that moment. HOW "calls" counts what changes the disk or speaks to the launcher, before
and after each; "lines" counts lines of our own code, in all threads.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any

from sweeps import PROGRAM

from multirun_core import ParallelLocalRunner, multirun

_CALLS = (
    "write", "fsync", "fdatasync", "ftruncate", "mkdir", "makedirs", "rename", "replace", "link",
    "symlink", "unlink", "remove", "open", "utime", "rmdir",
)  # fmt: skip
_counter = itertools.count(1)
_last = 0
_fatal: int | None = None
_me = os.getpid()


def moment(*_: object) -> None:
    global _last
    _last = next(_counter)
    if _last == _fatal and os.getpid() == _me:
        os.kill(_me, signal.SIGKILL)


def watch_calls() -> None:
    def wrap(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            moment()
            try:
                return original(*args, **kwargs)
            finally:
                moment()

        setattr(owner, name, wrapped)

    for name in _CALLS:
        wrap(os, name)

    class Socket(socket.socket):
        def send(self, *args: Any) -> int:
            moment()
            sent = super().send(*args)
            moment()
            return sent

        def recv(self, *args: Any) -> bytes:
            data = super().recv(*args)
            moment()
            return data

    socket.socket = Socket  # type: ignore[misc]
    # What pathlib and open() do by other ways is seen by the interpreter's own hook.
    sys.addaudithook(
        lambda event, args: (
            moment()
            if event
            in ("os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "subprocess.Popen")
            or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wxa+"))
            else None
        )
    )


def watch_lines() -> None:
    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if "multirun_core" not in frame.f_code.co_filename:
            return None
        if event == "line":
            moment()
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


def main() -> None:
    global _fatal
    root, marks, runs, where, how = (*sys.argv[1:], "calls")[:5]
    os.environ["MARKS"] = marks
    _fatal = None if where == "count" else int(where)
    (watch_lines if how == "lines" else watch_calls)()
    multirun(
        runs=[{"n": n} for n in range(int(runs))],
        cmd=PROGRAM,
        output_path=root,
        input_files=[__file__],
        runner=ParallelLocalRunner(max_parallel=2),
        resume=True,
        progress=False,
    )
    print(_last)


if __name__ == "__main__":
    main()
