"""Warm Python beside the scripts themselves: who owns the runs, what is refused, what fits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from launcher_tools import HOSTILE, KINDS, living, marker, see, until
from multirun_core._model.run import ExitStatus
from multirun_core._runners import warm_python
from multirun_core._runners.launcher import tree
from multirun_core._runners.launcher.client import Launcher
from multirun_core._runners.warm import Warming, script_at
from multirun_core.errors import BackendError, UsageError
from warm_scripts import HANDLED, HANDLES

from multirun_core import ParallelLocalRunner, multirun

PYTHON = sys.executable


class Bench:
    """A launcher with a warm interpreter, and a directory for each run."""

    def __init__(self, launcher: Launcher, folder: Path, preload: Sequence[str]) -> None:
        self.launcher = launcher
        self.warming = Warming(tuple(preload))
        self.folder = folder
        self.count = 0

    async def run(
        self, *cmd: str, grace: float = 0.3, limit: float | None = None
    ) -> tuple[ExitStatus, str]:
        self.count += 1
        folder = self.folder / f"run {self.count}"
        folder.mkdir(parents=True)
        env = {"MULTIRUN_RUN_DIR": str(folder)}
        place = await self.warming.place(self.launcher, cmd, str(folder), env)
        assert place is not None
        out = folder / "stdout.txt"
        err = folder / "stderr.txt"
        end = await self.launcher.run(
            cmd, folder, env, str(out), str(err), timeout=limit, grace=grace, warm=place
        )
        return end, (out.read_text() if out.exists() else "")

    def interpreters(self) -> list[int]:
        """Return the pids of the warm interpreters; a run is listed under its own command."""
        found = (tree.process(int(line.split()[0])) for line in living("warm_python/begin.py"))
        launcher = self.launcher.identity.pid
        return [one.pid for one in found if one is not None and one.parent == launcher]


@asynccontextmanager
async def warmed(folder: Path, *preload: str) -> AsyncIterator[Bench]:
    launcher = await Launcher.start()
    try:
        yield Bench(launcher, folder, preload or ("os",))
    finally:
        await launcher.close()


def script(folder: Path, text: str, name: str = "script.py") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


# Who owns what.


@pytest.mark.asyncio
async def test_it_is_forked_and_the_launchers_own(tmp_path: Path) -> None:
    text = (
        "import os, sys\n"
        "print('colorsys' in sys.modules, os.getppid(), os.getpgrp() == os.getpid())"
    )
    async with warmed(tmp_path, "colorsys") as bench:
        end, out = await bench.run(PYTHON, script(tmp_path, text))
        assert end.ok
        assert out == f"True {bench.launcher.identity.pid} True\n"


@pytest.mark.asyncio
@pytest.mark.parametrize(("preload", "children"), [("colorsys", False), ("numpy", True)])
async def test_one_fork_a_run_is_enough_unless_extensions_may_handle_forks(
    tmp_path: Path, preload: str, *, children: bool
) -> None:
    async with warmed(tmp_path, preload) as bench:
        text = "import resource as r; print(r.getrlimit(r.RLIMIT_MSGQUEUE)[0])"
        waited: list[str] = []
        for _ in range(3):
            end, mark = await bench.run(PYTHON, script(tmp_path, text))
            assert end.ok
            (interpreter,) = bench.interpreters()
            fields = Path(f"/proc/{interpreter}/stat").read_text().rpartition(")")[2].split()
            waited.append(fields[8])  # page faults of children that it has waited for
            limits = Path(f"/proc/{interpreter}/limits").read_text()
            assert mark.strip() not in limits  # that of a run is on its own processes alone
        assert (waited[0] != waited[2]) is children


TWICE = """
import errno, os, sys, types
sys.path.insert(0, sys.argv[1])
from warm_python import sibling
parent, fork = os.getpid(), os.fork
def limited():
    if os.getpid() != parent:
        raise OSError(errno.EAGAIN, "no more")
    return fork()
os.fork = limited
try:
    sibling.fork()
except OSError as error:
    print(error.errno == errno.EAGAIN, os.getpid() == parent)
"""


def test_a_second_fork_that_fails_is_told_of() -> None:
    folder = str(Path(warm_python.__file__).parent.parent)
    command = [PYTHON, "-c", TWICE, folder]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "True True\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_tree_ends_with_its_run(tmp_path: Path, kind: str) -> None:
    word = marker()
    async with warmed(tmp_path) as bench:
        end, _ = await bench.run(*HOSTILE, word, "exit", kind)
        assert living(word) == []
        assert (end.code, end.message) == (7, None)
        assert (await bench.run(PYTHON, script(tmp_path, "")))[0].ok


@pytest.mark.asyncio
async def test_a_tree_ends_by_the_time_limit(tmp_path: Path) -> None:
    word = marker()
    async with warmed(tmp_path) as bench:
        end, _ = await bench.run(*HOSTILE, word, "stay", *KINDS, limit=0.8)
        assert living(word) == []
        assert (end.reason, end.code) == ("timeout", -15)


@pytest.mark.asyncio
async def test_no_sibling_loses_its_processes(tmp_path: Path) -> None:
    async with warmed(tmp_path) as bench:
        stay = marker()
        kinds = ["daemon", "orphan", "session"]
        staying = asyncio.create_task(bench.run(*HOSTILE, stay, "stay", *kinds))
        await until(lambda: ready(tmp_path / "run 1"))
        await until(lambda: len(living(stay)) == 4)  # whoever leaves has a child that stays
        before = sorted(living(stay))
        for _ in range(3):
            word = marker()
            end, _ = await bench.run(*HOSTILE, word, "exit", *kinds)
            assert (end.code, living(word)) == (7, [])
        assert sorted(living(stay)) == before
        staying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staying
        assert living(stay) == []


DRIVER = """
import asyncio, os, sys, time
sys.path[:] = eval(sys.argv[1])
from pathlib import Path
from launcher_tools import HOSTILE
from test_warm import warmed

async def main():
    async with warmed(Path("runs")) as bench:
        os.write(1, b"%d\\n" % bench.launcher.identity.pid)
        runs = [bench.run(*HOSTILE, os.environ["WORD"], "stay", *sys.argv[2:]) for _ in range(4)]
        await asyncio.gather(*runs)

asyncio.run(main())
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("victim", ["driver", "launcher"])
async def test_somebody_dies(tmp_path: Path, victim: str) -> None:
    """All that was forked, and what it was forked from, ends within 5 seconds."""
    word = marker()
    # A daemon is found by its launcher alone.
    kinds = ["daemon", "deaf"] if victim == "driver" else ["session", "deaf"]
    command = [PYTHON, "-c", DRIVER, repr(sys.path), *kinds]
    env = {**os.environ, "WORD": word}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            assert child.stdout is not None
            launcher = int(child.stdout.readline())
            runs = [tmp_path / "runs" / f"run {number}" for number in range(1, 5)]
            await until(lambda: all(map(ready, runs)), 30)
            everybody = [pid for pid in tree.family([launcher]) if alive(pid) and pid != launcher]
            assert len(everybody) >= 13  # with the warm interpreter
            os.kill(child.pid if victim == "driver" else launcher, signal.SIGKILL)
            await until(lambda: not any(map(alive, everybody)), 5 if victim == "driver" else 15)
        finally:
            child.kill()


def ready(run: Path) -> bool:
    """Whether the hostile program and all of its descendants are in place."""
    out = run / "stdout.txt"
    return out.exists() and out.read_text() == "ready\n"


def alive(pid: int) -> bool:
    seen = tree.process(pid)
    return seen is not None and seen.state != b"Z"


@pytest.mark.asyncio
async def test_the_warm_interpreter_is_killed(tmp_path: Path) -> None:
    """What runs goes on, and the next run is forked from another one."""
    text = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\nprint(1)"
    async with warmed(tmp_path, "colorsys") as bench:
        running = asyncio.create_task(bench.run(PYTHON, script(tmp_path, text)))
        await until(lambda: (tmp_path / "run 1" / "stdout.txt").exists())
        await until(lambda: len(bench.interpreters()) == 1)
        (interpreter,) = bench.interpreters()
        os.kill(interpreter, signal.SIGKILL)
        await until(lambda: bench.launcher.cold)
        look = "import sys; print('colorsys' in sys.modules)"
        end, out = await bench.run(PYTHON, script(tmp_path, look, "other.py"))
        assert (end.code, out) == (0, "True\n")
        (tmp_path / "run 1" / "go").touch()
        end, out = await running
        assert (end.code, out) == (0, "1\n")


@pytest.mark.asyncio
async def test_the_warm_interpreter_does_not_answer(tmp_path: Path) -> None:
    """A run that it may have begun fails, and is begun by nobody else."""
    async with warmed(tmp_path) as bench:
        assert (await bench.run(PYTHON, script(tmp_path, "")))[0].ok
        os.kill(bench.interpreters()[0], signal.SIGSTOP)
        end, out = await bench.run(PYTHON, script(tmp_path, "print(1)"))
        assert (end.code, end.reason, out) == (None, "submit", "")
        assert "did not answer within 10 seconds" in str(end.message)
        end, out = await bench.run(PYTHON, script(tmp_path, "print(1)"))
        assert (end.code, out) == (0, "1\n")


@pytest.mark.asyncio
async def test_its_usage_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text("x = bytearray(64 << 20)\nfor i in range(3000000): pass\n")
    text = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    async with warmed(tmp_path) as bench:
        bench.warming.base_env = dict(os.environ)
        for _ in range(2):
            end, _ = await bench.run(PYTHON, script(tmp_path, text))
            assert end.cpu_seconds is not None
            assert end.max_rss_bytes is not None
            assert 0.2 <= end.cpu_seconds < 0.5
            assert 2 << 20 < end.max_rss_bytes < 64 << 20


@pytest.mark.asyncio
async def test_a_directory_that_is_gone_is_reported_as_ever(tmp_path: Path) -> None:
    async with warmed(tmp_path) as bench:
        assert (await bench.run(PYTHON, script(tmp_path, "")))[0].ok
        cmd, gone = [PYTHON, script(tmp_path, "")], tmp_path / "gone"
        place = await bench.warming.place(bench.launcher, cmd, str(gone), {})
        files = str(tmp_path / "o"), str(tmp_path / "e")
        end = await bench.launcher.run(cmd, gone, {}, *files, timeout=None, grace=1, warm=place)
        assert end.reason == "submit"
        assert "cannot be entered: No such file or directory" in str(end.message)


@pytest.mark.asyncio
async def test_a_run_that_is_lined_up_is_forked_without_the_driver(tmp_path: Path) -> None:
    runner = ParallelLocalRunner(max_parallel=1, preload=["colorsys"])
    text = (
        "import pathlib, sys, time\nprint('colorsys' in sys.modules)\n"
        "while sys.argv[1:] and not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "pathlib.Path('mark').touch()"
    )
    file = script(tmp_path, text)
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        runner.add([PYTHON, file, *["wait"] * (number == 0)], tmp_path / f"{number}")
    await until(lambda: runner.runs[0].status == "running")
    await asyncio.sleep(0.05)  # the others are lined up
    (tmp_path / "0/go").touch()
    see(tmp_path / "2/mark")
    assert [run.status for run in runner.runs] == ["running", "pending", "pending"]
    await runner.gather()
    assert [run.status for run in runner.runs] == ["success"] * 3
    assert {(run.cwd / "stdout.txt").read_text() for run in runner.runs} == {"True\n"}


@pytest.mark.asyncio
async def test_a_script_is_what_its_file_holds_when_the_run_begins(tmp_path: Path) -> None:
    async with warmed(tmp_path) as bench:
        for number in range(3):
            file = script(tmp_path, f"print({number})")
            assert (await bench.run(PYTHON, file))[1] == f"{number}\n"


@pytest.mark.asyncio
async def test_the_same_script_elsewhere_has_a_path_of_its_own(tmp_path: Path) -> None:
    text = "class A:\n    def f(self): return (lambda: 1 / 0)()\nprint(__file__)\nA().f()\n"
    async with warmed(tmp_path) as bench:
        for number in range(3):
            folder = tmp_path / f"folder {number}"
            folder.mkdir()
            file = script(folder, text)
            end, out = await bench.run(PYTHON, file)
            error = (tmp_path / f"run {number + 1}" / "stderr.txt").read_text()
            assert (end.code, out) == (1, f"{file}\n")
            assert error.count(f'File "{file}", line ') == 3


def test_variables_of_all_runs_are_listed_once(tmp_path: Path) -> None:
    text = (
        "import os\nlisted = open('/proc/self/environ', 'rb').read().split(b'\\0')[:-1]\n"
        "print(sorted(listed) == sorted(b'='.join(one) for one in os.environb.items()),"
        " os.environ['SOME'], b'SOME=value' in listed)"
    )
    sweep = multirun(
        runs=[{"n": n} for n in range(2)],
        cmd=[PYTHON, script(tmp_path, text)],
        output_path=tmp_path / "sweep",
        runner=ParallelLocalRunner(warm=True),
        env={"SOME": "value"},
        progress=False,
    )
    outs = [(run.cwd / "stdout.txt").read_text() for run in sweep.runs]
    assert outs == ["True value True\n"] * 2


# What is forked, and what differs in each fork.


@pytest.mark.asyncio
async def test_random_numbers_differ_from_run_to_run(tmp_path: Path) -> None:
    text = (
        "import random, numpy, os, multiprocessing as m\n"
        "print(random.random(), numpy.random.random(), numpy.random.default_rng().random(),"
        " os.urandom(8).hex(), m.current_process().authkey.hex())"
    )
    async with warmed(tmp_path, "random", "numpy.random", "multiprocessing") as bench:
        outs = [(await bench.run(PYTHON, script(tmp_path, text)))[1].split() for _ in range(2)]
    assert len(outs[0]) == 5
    assert not set(outs[0]) & set(outs[1])


def test_a_sweep_with_what_its_script_imports(tmp_path: Path) -> None:
    """Installed modules are imported once, the script's own in each run."""
    body = script(
        tmp_path,
        "import colorsys, helper\nfrom multirun_core import getRunParams, postRunResults\n"
        "import sys, os\npostRunResults({'n': getRunParams()['n'], 'of': helper.__file__,"
        " 'warm': 'warm_python' in str(sys._getframe().f_back)})\n",
    )
    script(tmp_path, "", "helper.py")
    sweep = multirun(
        runs=[{"n": n} for n in range(5)],
        cmd=[PYTHON, body],
        output_path=tmp_path / "sweep",
        runner="local",
        runner_options={"warm": True},
        progress=False,
    )
    assert [run.result for run in sweep.runs] == [
        {"n": n, "of": str(tmp_path / "helper.py"), "warm": True} for n in range(5)
    ]


def test_other_variables_are_other_interpreters(tmp_path: Path) -> None:
    body = script(tmp_path, "import os, sys; print(os.environ['PYTHONHASHSEED'], hash('a'))")
    outs: dict[str, str] = {}
    for seed in ("0", "1"):
        sweep = multirun(
            runs=[{"n": 0}],
            cmd=[PYTHON, body],
            output_path=tmp_path / seed,
            runner=ParallelLocalRunner(warm=True),
            env={"PYTHONHASHSEED": seed},
            progress=False,
        )
        outs[seed] = (sweep.runs[0].cwd / "stdout.txt").read_text()
    for seed, out in outs.items():
        env = {**os.environ, "PYTHONHASHSEED": seed}
        assert out == subprocess.run([PYTHON, body], env=env, capture_output=True, text=True).stdout


def test_cpus_and_memory_are_limited_as_ever(tmp_path: Path) -> None:
    body = script(
        tmp_path,
        "import json, os, resource\nprint(json.dumps([len(os.sched_getaffinity(0)),"
        " resource.getrlimit(resource.RLIMIT_DATA)[0], os.environ['OMP_NUM_THREADS']]))\n",
    )
    runner = ParallelLocalRunner(
        warm=True, pin=True, memory_per_run="64MiB", memory_limit=True, max_parallel=1
    )
    sweep = multirun(
        runs=[{"n": 0}],
        cmd=[PYTHON, body],
        output_path=tmp_path / "s",
        runner=runner,
        progress=False,
    )
    seen = json.loads((sweep.runs[0].cwd / "stdout.txt").read_text())
    assert seen == [1, 64 << 20, "1"]


@pytest.mark.parametrize("options", [{"warm": True}, {"preload": ["handles"]}])
def test_handlers_that_an_import_sets_are_those_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "handles.py").write_text(HANDLES)
    monkeypatch.setenv("PYTHONPATH", str(library))
    probe = "import sys, os\nopen('warm', 'w').write(str(sys._getframe().f_back))"
    seen: dict[bool, list[str]] = {}
    for warm in (True, False):
        sweep = multirun(
            runs=[{"n": n} for n in range(3)],
            cmd=[PYTHON, script(tmp_path, HANDLED + probe)],
            output_path=tmp_path / str(warm),
            runner=ParallelLocalRunner(**options if warm else {}),
            progress=False,
        )
        assert sweep.statistics.success_count == 3
        seen[warm] = [(run.cwd / "stdout.txt").read_text() for run in sweep.runs]
        for run in sweep.runs:
            assert ("warm_python" in (run.cwd / "warm").read_text()) is warm
    assert seen[True] == seen[False]
    assert seen[True][0] == "[]\ntold 15\ntold 1\ntold 10\nended [768]\n"


def test_a_signal_that_an_import_ignores_is_not_ignored_by_a_plain_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "ignores.py").write_text("import signal; signal.signal(1, signal.SIG_IGN)")
    monkeypatch.setenv("PYTHONPATH", str(library))
    (tmp_path / "colorsys.py").touch()  # so that the run is started in the end
    sweep = multirun(
        runs=[{"n": 0}],
        cmd=[PYTHON, script(tmp_path, "import signal; print(int(signal.getsignal(1)))")],
        output_path=tmp_path / "sweep",
        runner=ParallelLocalRunner(preload=["ignores", "colorsys"]),
        progress=False,
    )
    assert (sweep.runs[0].cwd / "stdout.txt").read_text() == "0\n"


# What is refused.

REFUSED = {
    "threads": (
        "import threading as t, time\nt.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "starts a thread",
    ),
    "processes": (
        "import os, time\nif os.fork() == 0:\n    time.sleep(9); os._exit(0)",
        "starts a process",
    ),
    "devices": ("f = open('/dev/full')", "opens /dev/full"),
    "sockets": ("import socket\ns = socket.socket()", "opens socket:"),
    "files": ("f = open(__file__)", "opens "),
    "timers": ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 100)", "sets a timer"),
    "seeds": ("import random\nrandom.seed(1)", "seeds or draws from random"),
    "numpy_seeds": ("import numpy as np\nnp.random.seed(1)", "from numpy.random.mtrand"),
    "generators": ("import random\nrng = random.Random(3)", "(generators.rng)"),
    "numpy_generators": (
        "import numpy as np\nrng = np.random.default_rng()",
        "(numpy_generators.rng)",
    ),
    "seed_sequences": (
        "import numpy as np\nSEQ = np.random.SeedSequence()",
        "(seed_sequences.SEQ)",
    ),
    "bit_generators": ("import numpy as np\nb = np.random.PCG64()", "(bit_generators.b)"),
    "in_classes": ("import random\nclass K:\n    rng = random.Random()", "(in_classes.K)"),
    "in_objects": (
        "import numpy as np\nclass K:\n    def __init__(self): self.rng = np.random.RandomState()\n"
        "k = K()",
        "(in_objects.k)",
    ),
    "in_boxes": (
        "import numpy as np\nBOX = {1: [np.random.default_rng()]}",
        "(in_boxes.BOX)",
    ),
    "out_of_sight": (
        "import numpy as np, sys\nsys.setprofile(lambda *_, r=np.random.SeedSequence(): None)",
        "(SeedSequence)",
    ),
    "fails": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exits": ("raise SystemExit(3)", "cannot be imported"),
    "dies": ("import os\nos._exit(3)", "ended"),
}


@pytest.mark.parametrize(
    ("name", "by_name"),
    # With warm=True, a run meets an import that fails.
    [
        (name, by_name)
        for by_name in (True, False)
        for name in REFUSED
        if by_name or name != "fails"
    ],
)
def test_what_no_fork_keeps_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, by_name: bool
) -> None:
    text, why = REFUSED[name]
    library = tmp_path / "library"
    library.mkdir()
    (library / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(library))
    runner = ParallelLocalRunner(preload=["json", name] if by_name else [], warm=not by_name)
    with pytest.raises(BackendError, match="no warm Python") as caught:
        multirun(
            runs=[{"n": 0}],
            cmd=[PYTHON, script(tmp_path, f"import json\nimport {name}")],
            output_path=tmp_path / "sweep",
            runner=runner,
            progress=False,
        )
    assert why in str(caught.value)
    assert f"'{name}'" in str(caught.value) or name == "dies"
    assert not (tmp_path / "sweep" / "runs" / "000000" / "stdout.txt").exists()


@pytest.mark.parametrize("name", ["threads", "files", "timers", "seeds", "in_boxes"])
def test_what_stays_of_an_import_that_fails_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The module is gone then, what it has imported is not."""
    text, why = REFUSED[name]
    library = tmp_path / "library"
    library.mkdir()
    (library / f"{name}.py").write_text(text)
    (library / "late.py").write_text(f"import os, {name}\nos.environ['MULTIRUN_PARAM_N']\n")
    monkeypatch.setenv("PYTHONPATH", str(library))
    with pytest.raises(BackendError, match="'late'") as caught:
        multirun(
            runs=[{"n": 0}],
            cmd=[PYTHON, script(tmp_path, "import late")],
            output_path=tmp_path / "sweep",
            runner=ParallelLocalRunner(warm=True),
            progress=False,
        )
    assert why in str(caught.value)


def test_an_import_that_fails_is_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "late.py").write_text(
        "import os, random\nfile = open(__file__)\nrng = random.Random()\n"
        "def f(): pass\nn = os.environ['MULTIRUN_PARAM_N']\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(library))
    text = "import late, sys\nprint(late.n, 'warm_python' in str(sys._getframe().f_back))"
    sweep = multirun(
        runs=[{"n": 5}],
        cmd=[PYTHON, script(tmp_path, text)],
        output_path=tmp_path / "sweep",
        runner=ParallelLocalRunner(warm=True),
        progress=False,
    )
    assert (sweep.runs[0].cwd / "stdout.txt").read_text() == "5 True\n"


def test_generators_that_are_safe_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are seeded anew, that of the system, and what is no more.

    Those are, too, that are defaults of arguments, as of scikit-learn; no object of Python's refers
    to what an extension has so.
    """
    library = tmp_path / "library"
    library.mkdir()
    (library / "safe.py").write_text(
        "import random, secrets, tempfile, numpy as np\ntempfile.TemporaryFile().close()\n"
        "r = random.SystemRandom()\ndraw = np.random.random\nstate = np.random.mtrand._rand\n"
        "bits = state._bit_generator\nseeds = bits.seed_seq\n"
        "class Cycle: pass\nc = Cycle(); c.me = c; c.rng = np.random.default_rng(); del c\n"
        "import ctypes\nhidden = np.random.RandomState()\nplace = id(hidden)\n"
        "ctypes.pythonapi.Py_IncRef(ctypes.py_object(hidden))\ndel hidden\n"
        "def drawn(rng=np.random.RandomState(), *, more=np.random.default_rng()):\n"
        "    return rng.random(), more.random()\n"
    )
    text = (
        "import ctypes, safe, sys\nprint('warm_python' in str(sys._getframe().f_back))\n"
        "hidden = ctypes.cast(safe.place, ctypes.py_object).value\n"
        "print(safe.r.random(), safe.draw(), hidden.random(), *safe.drawn())"
    )
    monkeypatch.setenv("PYTHONPATH", str(library))
    sweep = multirun(
        runs=[{"n": n} for n in range(2)],
        cmd=[PYTHON, script(tmp_path, text)],
        output_path=tmp_path / "sweep",
        runner=ParallelLocalRunner(preload=["safe"]),
        progress=False,
    )
    first, second = ((run.cwd / "stdout.txt").read_text().split() for run in sweep.runs)
    assert (len(first), first.pop(0), second.pop(0)) == (6, "True", "True")
    assert not set(first) & set(second)


def test_a_module_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="'no_such_module' cannot be imported"):
        multirun(
            runs=[{"n": 0}],
            cmd=[PYTHON, "script.py"],
            output_path=tmp_path / "sweep",
            runner=ParallelLocalRunner(preload=["no_such_module"]),
            progress=False,
        )


def test_threads_that_end_before_a_fork_are_no_obstacle(tmp_path: Path) -> None:
    """As those of numpy's linear algebra do."""
    body = script(tmp_path, "import numpy as np; print(np.linalg.inv(np.eye(300)).sum())")
    sweep = multirun(
        runs=[{"n": n} for n in range(3)],
        cmd=[PYTHON, body],
        output_path=tmp_path / "s",
        runner=ParallelLocalRunner(preload=["numpy"]),
        progress=False,
    )
    assert [(run.cwd / "stdout.txt").read_text() for run in sweep.runs] == ["300.0\n"] * 3


@pytest.mark.parametrize("preload", ["numpy", ["numpy as np"], [""], ["-x"]])
def test_names_that_are_none(preload: Sequence[str]) -> None:
    with pytest.raises(UsageError, match="preload"):
        ParallelLocalRunner(preload=preload)


@pytest.mark.parametrize(
    ("cmd", "at"),
    [
        (["python", "a.py"], 1),
        (["python3", "-u", "a.py", "-m"], 2),
        (["/usr/bin/python3.11", "-Wd", "-W", "error", "-OB", "-X", "dev", "a.py"], 7),
        (["python", "-m", "a", "b"], 1),
        (["python", "-I", "-c", "pass"], 2),
        (["python"], None),
        (["python", "-"], None),
        (["python", "-m"], None),
        (["python", "-i", "a.py"], None),
        (["python", "-vB", "a.py"], None),
        (["python", "-X", "importtime", "a.py"], None),
        (["python", "-x", "a.py"], None),
        (["python", "--version"], None),
        (["bin/python", "a.py"], None),
        (["sh", "a.py"], None),
        (["./a.py"], None),
        (["pythonw", "a.py"], None),
    ],
)
def test_where_the_script_is(cmd: list[str], at: int | None) -> None:
    assert script_at(cmd) == at


def test_a_relative_path_of_modules_is_for_a_plain_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be another one in each run."""
    monkeypatch.setenv("PYTHONPATH", "lib")
    body = script(tmp_path, "import sys; print('warm_python' in str(sys._getframe().f_back))")
    began = time.monotonic()
    sweep = multirun(
        runs=[{"n": 0}],
        cmd=[PYTHON, body],
        output_path=tmp_path / "s",
        runner=ParallelLocalRunner(warm=True),
        progress=False,
    )
    assert (sweep.runs[0].cwd / "stdout.txt").read_text() == "False\n"
    assert time.monotonic() - began < 60
