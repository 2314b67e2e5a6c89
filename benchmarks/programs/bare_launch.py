"""The least that Python can do for the same work: one thread, Popen, a pidfd in epoll.

Arguments: [--facts] COUNT SLOTS FOLDER PROGRAM …. Each run has a new directory with params.json and
files for its output, and with --facts also the variables that tell it which run it is.
"""
# ruff: noqa: PTH102 - as fast as it can be is the purpose

import json
import os
import select
import subprocess
import sys

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def start(index: int, directory: str, cmd: list[str], null: int) -> subprocess.Popen[bytes]:
    """Make a run's directory and start its program."""
    os.mkdir(directory)
    params = os.open(f"{directory}/params.json", _NEW, 0o666)
    os.write(params, json.dumps({"i": index, "x": index * 0.5, "name": f"run {index}"}).encode())
    os.close(params)
    out = os.open(f"{directory}/stdout.txt", _NEW, 0o666)
    errors = os.open(f"{directory}/stderr.txt", _NEW, 0o666)
    process = subprocess.Popen(
        cmd,
        cwd=directory,
        env=facts(index, directory) if with_facts else None,
        stdin=null,
        stdout=out,
        stderr=errors,
    )
    os.close(out)
    os.close(errors)
    return process


def facts(index: int, directory: str) -> dict[str, str]:
    """Return the environment that a run of a sweep would have."""
    return {
        **os.environ,
        "MULTIRUN_RUN_DIR": directory,
        "MULTIRUN_INDEX": str(index),
        "MULTIRUN_ATTEMPT": "1",
    }


def reap_some() -> None:
    """Wait until at least one run has ended."""
    for descriptor, _ in ready.poll():
        process = live.pop(descriptor)
        # A child between vfork and exec may hold the descriptor, so closing it does not do.
        ready.unregister(descriptor)
        os.close(descriptor)
        if process.wait() != 0:
            raise SystemExit(f"exit status {process.returncode}")


with_facts = sys.argv[1] == "--facts"
count, slots, folder, *cmd = sys.argv[1 + with_facts :]
null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
ready = select.epoll()
live: dict[int, subprocess.Popen[bytes]] = {}
os.mkdir(folder)
for index in range(int(count)):
    if len(live) == int(slots):
        reap_some()
    process = start(index, f"{folder}/{index:06d}", cmd, null)
    descriptor = os.pidfd_open(process.pid)
    live[descriptor] = process
    ready.register(descriptor, select.EPOLLIN)
while live:
    reap_some()
