"""A program with descendants that are hard to end: `launcher_hostile.py MARKER AFTER KIND…`.

Every process of it has MARKER among its arguments. Once all descendants have done their tricks, the
main process writes "ready" to its output; it exits with status 7 if AFTER is "exit", and sleeps if
it is "stay".
"""

import os
import resource
import signal
import sys
import time


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def leave() -> None:
    """Get a session and, by a second fork, a parent that is not the program."""
    os.setsid()
    if os.fork():
        os._exit(0)


def become(ready: int, tricks: str) -> None:
    """Go on as a new program with nothing of the old one's environment, directory and files."""
    os.chdir("/")
    os.set_inheritable(ready, True)
    os.closerange(0, ready)
    words = [sys.executable, "-S", "-I", sys.argv[0], sys.argv[1], "be", str(ready), tricks]
    os.execve(sys.executable, words, {})  # noqa: S606 - without a shell is what is meant


def fork_on() -> None:
    """Be a new process every few milliseconds."""
    while True:
        if os.fork():
            os._exit(0)
        time.sleep(0.003)


def be(ready: int, kind: str) -> None:
    new = sys.argv[2] == "be"  # what `become` has started
    if kind == "deaf":
        deaf()
    elif kind == "session":
        os.setsid()
        deaf()
    elif kind == "orphan":
        leave()
        deaf()
    elif kind == "daemon":
        if not new:
            leave()
            deaf()
            become(ready, kind)
    elif kind == "unmarked":
        if not new:
            leave()
            deaf()
            resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
            become(ready, kind)
    elif kind == "stopped":
        os.write(ready, b"x")
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "deep":
        for _ in range(5):
            if os.fork():
                time.sleep(1000)
        leave()
        deaf()
    if kind != "stopped":
        os.write(ready, b"x")
    os.close(ready)
    if kind == "forker":
        leave()
        fork_on()
    while True:
        time.sleep(1000)


def main() -> None:
    if sys.argv[2] == "be":
        be(int(sys.argv[3]), sys.argv[4])
    after, kinds = sys.argv[2], sys.argv[3:]
    waits, ready = os.pipe()
    for kind in kinds:
        if os.fork() == 0:
            be(ready, kind)
    got = 0
    while got < len(kinds):
        got += len(os.read(waits, 100))
    os.write(1, b"ready\n")
    if after == "stay":
        time.sleep(1000)
    os._exit(7)


main()
