from __future__ import annotations

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
from multirun_core._sweep.results import load

from .inrun_programs import environment, run, run_directory, start

# Posts 0, 1, 2, … and says what has been posted. Each post is either a tuple, for a pickle, or a
# list, for JSON, large enough to take more than one write.
POST_FOR_EVER = """
import sys, multirun_core as m
number = 0
while True:
    kind = tuple if number % 3 else list
    m.postRunResults(kind([number] * 30_000))
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
    number += 1
"""


def test_a_killed_process_leaves_a_whole_post_and_the_last_one(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    moments = random.Random(1)
    seen: set[int] = set()
    for _ in range(25):
        for old in directory.glob("results*"):
            old.unlink()
        with start(POST_FOR_EVER, cwd=directory, env=environment(directory)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            # A random moment within the next posts: this is a moment to hit, not a wait for luck.
            select.select([], [], [], moments.uniform(0, 0.02))
            process.kill()
            said = 0
            for line in process.stdout:
                if line.endswith("\n"):
                    said = int(line)
        found = load(directory, allow_pickle=True)
        assert len(found) == 30_000
        assert len(set(found)) == 1
        assert found[0] in (said, said + 1)
        assert type(found) is (tuple if found[0] % 3 else list)
        seen.add(found[0])
    assert len(seen) > 1


POST_MANY = """
import sys, multirun_core as m
who, kinds = int(sys.argv[1]), sys.argv[2]
for number in range(250):
    value = [who, number] * 500
    m.postRunResults(tuple(value) if kinds[number % len(kinds)] == "p" else value)
"""


@pytest.mark.parametrize("kinds", ["j", "p", "jpp", "jjp"])
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
                assert len(found) == 1000
                assert list(found) == list(found[:2]) * 500
            time.sleep(0.001)  # to leave the processors to those who post
    finally:
        for process in processes:
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
    assert looks > 1
    assert load(directory, allow_pickle=True)[1] == 249  # somebody's last
    assert not list(directory.glob(".results*"))


def test_every_step_of_a_post_is_one_at_which_it_may_die(tmp_path: Path) -> None:
    """Kill at each system call that changes the directory, going from every kind to every kind."""
    program = """
import os, signal, sys, multirun_core as m
first, second = map(eval, sys.argv[1:3])
step = int(sys.argv[3])
m.postRunResults(first)
def hooked(real):
    def call(*args, **kwargs):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
for name in ("open", "fdopen", "replace", "unlink"):
    setattr(os, name, hooked(getattr(os, name)))
m.postRunResults(second)
print("survived")
"""
    directory = run_directory(tmp_path)
    for first, second in (("[1]", "[2]"), ("[1]", "(2,)"), ("(1,)", "[2]"), ("(1,)", "(2,)")):
        outcomes = []
        for step in range(1, 9):
            for old in directory.glob("results*"):
                old.unlink()
            with start(
                program, first, second, str(step), cwd=directory, env=environment(directory)
            ) as process:
                out, err = process.communicate(timeout=30)
            assert err == ""
            outcomes.append(load(directory, allow_pickle=True)[0])
            if "survived" in out:
                break
        assert "survived" in out
        assert outcomes == sorted(outcomes)  # the earlier one up to some step, then the new one
        assert set(outcomes) == {1, 2}


FULL = """
import resource, sys, multirun_core as m
values = {"json": ["x" * 1000] * 1000, "pickle": (b"x" * 1_000_000,), "small": "small"}
m.postRunResults("earlier")
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    m.postRunResults(values[sys.argv[1]])
except OSError as error:
    print(error.errno)
else:
    print(0)
"""


@pytest.mark.parametrize("kind", ["json", "pickle"])
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
