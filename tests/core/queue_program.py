"""A small queue system for tests, which can be told to fail: `python queue_program.py HOME VERB …`.

Its jobs are real processes that outlive who submitted them. Faults are files in HOME: `fail-VERB`
holds how many calls of it fail from now on; `slow-VERB` how many seconds each takes, and how many
calls if not all do; `forget` makes the status command know nothing; `lie` holds what it says of
each job instead: a word, how often it was started anew, and why it waits. With `hold` jobs that
come now do not start unless the verb `start` says so; `lie-JOB` and `hold-JOB` are about one job
alone. `limit` holds how many tasks may be there; with `slow-answer` and `no-answer` a job is
accepted, and that is said late, or never.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WAITING, GONE = "0", "-1"  # in place of a process


def fault(home: Path, name: str) -> float:
    try:
        return float((home / name).read_text() or 0)
    except (OSError, ValueError):
        return 0.0


def slowness(home: Path, verb: str) -> float:
    path = home / f"slow-{verb}"
    words = path.read_text().split() if path.exists() else []
    if len(words) == 2:
        left = int(words[1]) - 1
        path.write_text(f"{words[0]} {left}" if left else "0")
    return float(words[0]) if words else 0.0


def obey_faults(home: Path, verb: str, words: list[str]) -> None:
    with (home / "calls").open("a") as file:
        file.write(json.dumps([time.monotonic(), verb, *words]) + "\n")
    time.sleep(slowness(home, verb))
    failing = fault(home, f"fail-{verb}")
    if failing:
        (home / f"fail-{verb}").write_text(str(failing - 1))
        sys.exit(f"queue: {verb} does not work at the moment")


def submit(home: Path, name: str, tasks: str, script: str) -> None:
    limit = fault(home, "limit")
    if limit and alive_tasks(home) + int(tasks) > limit:
        sys.exit("queue: too many jobs")
    number = 1 + max((int(path.name) for path in (home / "jobs").iterdir()), default=0)
    while True:  # two may be submitted at the same moment
        job = home / "jobs" / str(number)
        with contextlib.suppress(FileExistsError):
            job.mkdir()
            break
        number += 1
    (job / "name").write_text(name)
    (job / "script").write_text(script)
    for task in range(int(tasks)):
        if (home / "hold").exists() or (home / f"hold-{number}").exists():
            (job / f"task-{task}").write_text(WAITING)
        else:
            launch(job, task)
    time.sleep(slowness(home, "answer"))
    if not fault(home, "no-answer"):
        sys.stdout.write(f"job {number}\n")


def launch(job: Path, task: int) -> None:
    with (job / "out").open("ab") as out:
        process = subprocess.Popen(
            ["sh", (job / "script").read_text(), str(task), "0"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )
    (job / f"task-{task}").write_text(str(process.pid))


def start(home: Path, number: str) -> None:
    job = home / "jobs" / number
    for task in range(len(list(job.glob("task-*")))):
        launch(job, task)


def is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def alive_tasks(home: Path) -> int:
    return sum(is_alive(int(path.read_text())) for path in home.glob("jobs/*/task-*"))


def tell(job: Path, lie: str | None = None) -> None:
    name = (job / "name").read_text()
    for task in sorted(job.glob("task-*")):
        process = task.read_text()
        state = "RUNNING" if is_alive(int(process)) else "ENDED"
        state = {WAITING: "WAITING", GONE: "CANCELLED"}.get(process, state)
        word, restarts, why = (*(lie or state).split(" ", 2), "", "")[:3]
        number = task.name.partition("-")[2]
        sys.stdout.write(f"{job.name} {number} {word} {restarts or 0} {name} {why}\n")


def status(home: Path, *ids: str) -> None:
    if (home / "forget").exists():
        return
    for job in ids:
        if not (home / "jobs" / job).exists():
            continue  # of others it says nothing
        lie = None
        for path in (home / "lie", home / f"lie-{job}"):
            with contextlib.suppress(OSError):
                lie = path.read_text().strip()
        tell(home / "jobs" / job, lie)


def find(home: Path, name: str) -> None:
    for path in home.glob("jobs/*/name"):
        if path.read_text() == name:
            tell(path.parent)


def tasks(home: Path, keys: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for key in keys:
        job, _, task = key.partition("_")
        found += (home / "jobs" / job).glob(f"task-{task or '*'}")
    return found


def processes(home: Path, keys: tuple[str, ...]) -> list[int]:
    pids = (int(path.read_text()) for path in tasks(home, keys))
    return [pid for pid in pids if pid > 0]


def cancel(home: Path, *keys: str) -> None:
    for task in tasks(home, keys):
        if task.read_text() == WAITING:
            task.write_text(GONE)
    for pid in processes(home, keys):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            time.sleep(0.2)


def send(home: Path, number: str, *keys: str) -> None:
    for pid in processes(home, keys):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[f"SIG{number}"])


if __name__ == "__main__":
    verbs = {
        "submit": submit,
        "status": status,
        "find": find,
        "cancel": cancel,
        "signal": send,
        "start": start,
    }
    place, verb, *words = sys.argv[1:]
    obey_faults(Path(place), verb, words)
    verbs[verb](Path(place), *words)
