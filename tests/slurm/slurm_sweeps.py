"""What the tests of sweeps on a cluster share: calls, drivers that are killed, looking at disk."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core import Sweep, multirun

if TYPE_CHECKING:
    from slurm_cluster import SlurmCluster

PATIENCE = 120.0
QUICK = {"poll_interval": 0.5, "file_grace": 3.0, "retry_delay": 0.05}
BEGIN = 'echo "$MULTIRUN_ATTEMPT" >> began; '
POST = "printf '%s' \"$MULTIRUN_ATTEMPT\" > part && mv part results.json; "

# Stands before the real sbatch on the PATH, and kills the driver the first time it is called.
POINTS = {
    "before it is called": "kill -9 $driver; exit 1",
    "before it is called, and it is slow": 'kill -9 $driver; sleep 4; exec $real "$@"',
    "after it was accepted": '$real "$@" > "$0.said"; kill -9 $driver; exit 1',
    "after it was accepted, before it is printed": (
        '$real "$@" > "$0.said"; kill -9 $driver; sleep 3; cat "$0.said"'
    ),
    "when it is printed": '$real "$@"; kill -9 $driver; sleep 1',
}

_LATE = 'kill -9 $driver; until test -e "$0.go"; do sleep 0.1; done'

# Stands before the shell that becomes sbatch, and kills the driver when it has written down what it
# submits, before that shell has said who it is.
EARLY = {
    "never": "kill -9 $driver; exit 1",
    "before the next driver": _LATE,
    "after the next driver": _LATE,
}

# Stands before the real sbatch, and is by far slower than the next driver has patience.
SLOW = {
    "before it begins": 'touch "$0.slow"; "$pause" 300; exec $real "$@"',
    "before it says the id": '$real "$@" > "$0.said"; touch "$0.slow"; "$pause" 300; cat "$0.said"',
    "after it has said the id": '$real "$@"; touch "$0.slow"; "$pause" 300',
}

_DRIVER = """
import json, sys
from slurm_sweeps import call
call(**json.loads(sys.stdin.read()))
"""


def call(root: str | Path, script: str, count: int = 1, **more: Any) -> Sweep:
    """Carry out, or on with, a sweep on the cluster that the environment names."""
    options = QUICK | more.pop("options", {})
    if "runner" not in more:
        more |= {"runner": "slurm", "runner_options": options}
    return multirun(
        runs=[{"n": n} for n in range(count)],
        cmd=["sh", "-c", script],
        output_path=root,
        progress=False,
        resume=True,
        **more,
    )


class InThread:
    """A sweep that goes on while the test breaks something."""

    def __init__(self, root: Path, script: str, count: int = 1, **more: Any) -> None:
        self._sweeps: list[Sweep] = []
        self._errors: list[BaseException] = []

        def work() -> None:
            try:
                self._sweeps.append(call(root, script, count, **more))
            except BaseException as error:
                self._errors.append(error)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def result(self, within: float = 180.0) -> Sweep:
        self._thread.join(within)
        assert not self._thread.is_alive(), "the sweep does not come to its end"
        if self._errors:
            raise self._errors[0]
        return self._sweeps[0]


def start_driver(root: Path, script: str, count: int = 1, **more: Any) -> subprocess.Popen[bytes]:
    """Start a process that does `call`, to be killed."""
    order = {"root": str(root), "script": script, "count": count, **more}
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parent,
        start_new_session=True,
    )
    assert driver.stdin is not None
    driver.stdin.write(json.dumps(order).encode())
    driver.stdin.close()
    return driver


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], within: float = PATIENCE
) -> Any:
    """Return what `condition` does once it is true; fail after some time."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        text = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline, f"waited {within:g} s in vain for {text}"
        time.sleep(0.05)
    return value


def executions(root: Path) -> Counter[int]:
    """Return how often each run was executed, by the lines that `BEGIN` has left."""
    counts: Counter[int] = Counter()
    for mark in (root / "runs").glob("**/began"):
        index = int(mark.relative_to(root / "runs").parts[0])
        counts[index] += len(mark.read_text().splitlines())
    return counts


def began(root: Path, count: int = 1) -> Callable[[], bool]:
    """Return what tells whether so many runs have begun."""
    return lambda: len(executions(root)) >= count


def told(sweep: Sweep) -> list[tuple[Any, ...]]:
    """Return what is to be seen of runs, for messages."""
    return [(run.index, run.status, run.reason, run.message, run.attempts) for run in sweep.runs]


def job_ids(root: Path) -> list[str]:
    """Return the ids of the jobs that were submitted for a sweep."""
    answers = [path.read_text().strip() for path in (root / "jobs").glob("*/answer")]
    return [answer.partition(";")[0] for answer in answers if answer]


def arrays(cluster: SlurmCluster, root: Path) -> list[str]:
    """Return the arrays, or plain jobs, of a sweep that a cluster has ever accepted.

    By the names that all of its submissions may have had; it forgets none within MinJobAge.
    """
    told = cluster.run("squeue", "--noheader", "--states=all", "-o", "%F %j").stdout
    names = {f"multirun-{path.name}" for path in (root / "jobs").iterdir()}
    jobs = dict(line.split(maxsplit=1) for line in told.splitlines())
    return sorted(job for job, name in jobs.items() if name.strip() in names)


def clients(folder: Path) -> list[str]:
    """Return the processes that submit a sweep in a folder, or stand in its `bin` for that."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            ours = Path(argv[0]).name == "sbatch" and any(str(folder) in word for word in argv)
            if ours or any(word.startswith(f"{folder}/bin/") for word in argv):
                found.append(" ".join(argv))
    return found


def put_sbatch(folder: Path, script: str) -> Path:
    """Return a folder for the PATH whose sbatch does this the first time, then the real $real.

    Beside it is $pause, a sleep that is told from others.
    """
    place = folder / "bin"
    place.mkdir()
    (place / "pause").symlink_to(str(shutil.which("sleep")))
    fake, once = place / "sbatch", shlex.quote(f"{folder}/once")
    fake.write_text(
        f"#!/bin/sh\nreal={real_sbatch()} pause={shlex.quote(f'{place}/pause')}\n"
        f'mkdir {once} 2>/dev/null || exec $real "$@"\n{script}\n'
    )
    fake.chmod(0o755)
    return place


def put_shell(folder: Path, script: str) -> Path:
    """Return a folder for the PATH whose sh does this the first time that it is to submit."""
    place = folder / "bin"
    place.mkdir()
    fake = place / "sh"
    fake.write_text(
        '#!/bin/sh\ncase "$1" in */submit.sh)\n'
        f"if mkdir {shlex.quote(f'{folder}/once')} 2>/dev/null; then\n{script}\nfi;;\n"
        'esac\nexec /bin/sh "$@"\n'
    )
    fake.chmod(0o755)
    return place


def real_sbatch() -> str:
    """Return the path of the real sbatch."""
    for folder in os.environ["PATH"].split(os.pathsep):
        path = Path(folder) / "sbatch"
        if path.exists() and path.stat().st_size > 4096:
            return str(path)
    raise AssertionError("there is no sbatch on the PATH")
