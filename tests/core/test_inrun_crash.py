from __future__ import annotations

import array
import errno
import json
import pickle
import random
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from multirun_core._staging.names import RESULTS
from multirun_core._sweep.results import load

from .inrun_programs import environment, run, run_directory, start

# What is posted in three ways, with a number in each item: "j" for JSON, "a" for JSON with an array
# beside it, "p" for a pickle. All are large enough to take more than one write.
KINDS = """
import array, sys, numpy, multirun_core as m
def value(kind, numbers, count):
    if kind == "j":
        return list(numbers) * count
    if kind == "p":
        return array.array("q", list(numbers) * count)
    return {"who": numbers[0], "array": numpy.array(list(numbers) * count)}
"""

# Posts 0, 1, 2, … and says what has been posted.
POST_FOR_EVER = (
    KINDS
    + """
number = 0
while True:
    m.postRunResults(value("japjaa"[number % 6], [number], 30_000))
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
    number += 1
"""
)


def numbers_of(found: Any) -> list[int]:
    """Return the numbers in what was posted, after a look at whether it is of one post."""
    if isinstance(found, dict):
        assert found["who"] == found["array"][0]
        return list(found["array"].tolist())
    return list(found)


def test_a_killed_process_leaves_a_whole_post_and_the_last_one(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    moments = random.Random(1)
    seen: set[int] = set()
    for posts in range(12):
        for old in directory.glob("results*"):
            old.unlink()
        with start(POST_FOR_EVER, cwd=directory, env=environment(directory)) as process:
            assert process.stdout is not None
            said = -1
            while said < posts:
                said = int(process.stdout.readline())
            # A random moment within the next posts: this is a moment to hit, not a wait for luck.
            select.select([], [], [], moments.uniform(0, 0.01))
            process.kill()
            for line in process.stdout:
                if line.endswith("\n"):
                    said = int(line)
        found = load(directory, allow_pickle=True)
        numbers = numbers_of(found)
        assert len(numbers) == 30_000
        assert len(set(numbers)) == 1
        assert numbers[0] in (said, said + 1)
        kind = {"j": list, "a": dict, "p": array.array}["japjaa"[numbers[0] % 6]]
        assert type(found) is kind
        assert {path.name for path in directory.glob("results*")} <= set(RESULTS)
        seen.add(numbers[0])
    assert len(seen) > 6


POST_MANY = (
    KINDS
    + """
who, kinds = int(sys.argv[1]), sys.argv[2]
for number in range(250):
    m.postRunResults(value(kinds[number % len(kinds)], [who, number], 500))
"""
)


@pytest.mark.parametrize("kinds", ["j", "p", "a", "jpp", "jja", "jaap"])
def test_a_thousand_posts_by_four_processes(tmp_path: Path, kinds: str) -> None:
    directory = run_directory(tmp_path)
    env = environment(directory)
    processes = [start(POST_MANY, str(who), kinds, cwd=directory, env=env) for who in range(4)]
    looks = 0
    try:
        while any(process.poll() is None for process in processes):
            found = load(directory, allow_pickle=True)
            # Once there is a result there always is one, and a whole one.
            assert found is not None or looks == 0
            if found is not None:
                looks += 1
                numbers = numbers_of(found)
                assert len(numbers) == 1000
                assert numbers == numbers[:2] * 500
            time.sleep(0.001)  # to leave the processors to those who post
    finally:
        for process in processes:
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
    assert looks > 1
    assert numbers_of(load(directory, allow_pickle=True))[1] == 249  # somebody's last
    assert {path.name for path in directory.glob("results*")} <= set(RESULTS)
    assert not list(directory.glob(".results*"))


# For each kind of an earlier post and of a new one: what is found when the process dies before the
# first system call of the second post that changes the directory, before the second one, and so on.
DIE_AT_EACH_STEP = """
import itertools, json, os, pathlib, signal, sys, numpy, multirun_core as m
from multirun_core._sweep.results import load
here = pathlib.Path()
def hooked(real):
    def call(*args, **kwargs):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
kinds = (lambda n: [n], lambda n: {n}, lambda n: numpy.array([n] * 9),
         lambda n: (n, numpy.array([n])))
m.postRunResults(numpy.array([0]))  # whatever that imports is imported now
for first, second in itertools.product(kinds, kinds):
    outcomes = []
    for step in itertools.count(1):
        for old in here.glob("results*"):
            old.unlink()
        m.postRunResults(first(1))
        child = os.fork()
        if not child:
            for name in ("open", "fdopen", "replace", "unlink"):
                setattr(os, name, hooked(getattr(os, name)))
            m.postRunResults(second(2))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        found = load(here, allow_pickle=True)
        if type(found) is tuple:
            assert found[0] == found[1][0], found
        outcomes.append(int(next(iter(found))))
        if status == 0:
            break
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    print(json.dumps(outcomes))
"""


def test_every_step_of_a_post_is_one_at_which_it_may_die(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    out, err = run(DIE_AT_EACH_STEP, cwd=directory, env=environment(directory))
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 16
    for line in lines:
        outcomes = json.loads(line)
        assert outcomes == sorted(outcomes)  # the earlier one up to some step, then the new one
        assert set(outcomes) == {1, 2}


FULL = """
import resource, sys, multirun_core as m
values = {"json": ["x" * 1000] * 1000, "pickle": b"x" * 1_000_000, "small": "small"}
if sys.argv[1] == "array":
    import numpy
    values["array"] = numpy.zeros(100_000)
m.postRunResults("earlier")
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    m.postRunResults(values[sys.argv[1]])
except OSError as error:
    print(error.errno)
else:
    print(0)
"""


@pytest.mark.parametrize("kind", ["json", "pickle", "array"])
def test_no_room_raises_and_leaves_the_earlier_post(tmp_path: Path, kind: str) -> None:
    directory = run_directory(tmp_path)
    out, _ = run(FULL, kind, cwd=directory, env=environment(directory))
    assert int(out) == errno.EFBIG
    assert sorted(path.name for path in directory.iterdir()) == ["params.json", "results.json"]
    assert load(directory, allow_pickle=False) == "earlier"


def test_a_small_post_still_fits(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    assert int(run(FULL, "small", cwd=directory, env=environment(directory))[0]) == 0
    assert load(directory, allow_pickle=False) == "small"


@pytest.mark.parametrize(
    ("dump", "name"), [(json.dumps, "results.json"), (pickle.dumps, "results.pkl")]
)
def test_half_a_file_is_said(dump: Callable[[Any], Any], name: str, tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    data = dump(["text"] * 1000)
    raw = data.encode() if isinstance(data, str) else data
    (directory / name).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=name):
        load(directory, allow_pickle=True)
