"""B12, B13 and B17: the same work on SSH hosts, by us and by others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from suite.beds import HOSTS, lacks_hosts
from suite.measure import Row, Side
from suite.setup import Setup, found, lacks, program

_SLOTS = 4
_TRUE = found("true")
_STAGE = r"""mkdir $(seq -f %06g 0 $(($1 - 1)))
for run in *; do printf '{"i": %s}' "$run" >"$run/params.json"; done"""
_PARALLEL = r"""mkdir "$2" && cd "$2" && %(stage)s
ssh="ssh -F $3 -o ControlMaster=auto -o ControlPath=$4-%%n -o ControlPersist=60"
trap 'for host in %(hosts)s; do $ssh -O exit $host 2>/dev/null; done' EXIT
ls | parallel --will-cite --ssh "$ssh" --sshlogin %(logins)s --transferfile {}/params.json \
    --return {}/stdout.txt --return {}/stderr.txt --cleanup \
    'cd {} && exec %(true)s >stdout.txt 2>stderr.txt'
test $(ls -d */stdout.txt | wc -l) = $1
"""
_CAT = r"""ssh -F "$1" "$3" 'cat >bench-input && rm bench-input' <"$2" """
_SCP = r"""pids=
for host in %(hosts)s; do scp -q -F "$1" "$2" "$host:$3" & pids="$pids $!"; done
for pid in $pids; do wait $pid || exit 1; done"""


def rows(setup: Setup) -> list[Row]:
    """Return B12."""
    count = setup.sizes.far
    what = f"SSH: {count} x true, {len(HOSTS)} hosts, {_SLOTS} slots each / GNU parallel --sshlogin"
    ours, theirs = _sweep(setup, "multirun over SSH", count), _parallel(setup, count)
    return [Row(id="B12", what=what, a=ours, b=theirs, must=0.3, aim=0.15)]


def input_rows(setup: Setup) -> list[Row]:
    """Return B13: an input that all runs share."""
    count, size = setup.sizes.sharing, setup.sizes.shared_bytes
    what = (
        f"SSH: {size / 1e6:g} MB shared by {count} runs on {len(HOSTS)} hosts / scp to each at once"
    )
    ours = _sweep(setup, "multirun over SSH, large input", count, shared=True)
    return [Row(id="B13", what=what, a=ours, b=_scp(setup), must=1.5, aim=1.2)]


def moving_rows(setup: Setup) -> list[Row]:
    """Return B17: nothing but moving a large input to one host."""
    size = setup.sizes.moved_bytes
    return [
        Row(
            id="B17",
            what=f"SSH: moving {size / 1e6:g} MB to a host / ssh HOST 'cat >'",
            a=_move(setup),
            b=_cat(setup),
            must=1 / 0.7,
            aim=1.2,
        )
    ]


def _move(setup: Setup) -> Side:
    def command(_: Path) -> Sequence[str]:
        config, sweep = str(setup.beds.ssh_config()), str(_staged(setup))
        return [setup.python, program("move.py"), config, HOSTS[0], sweep]

    return Side(
        name=setup.named("multirun's staging"), command=command, inside=True, missing=lacks_hosts()
    )


def _cat(setup: Setup) -> Side:
    def command(_: Path) -> Sequence[str]:
        config, file = str(setup.beds.ssh_config()), _staged(setup) / "shared" / "1" / "large"
        return ["sh", "-c", _CAT, "sh", config, str(file), HOSTS[0]]

    return Side(name="ssh cat", command=command, missing=lacks_hosts())


def _sweep(setup: Setup, name: str, count: int, *, shared: bool = False) -> Side:
    hosts = ",".join(f"{host}:{_SLOTS}" for host in HOSTS)
    return Side(
        name=setup.named(name),
        command=lambda folder: [
            setup.python,
            program("ours_hosts.py"),
            str(setup.beds.ssh_config()),
            str(count),
            str(folder),
            hosts,
            str(_input(setup)) if shared else "",
            _TRUE,
        ],
        units=count,
        staged=count,
        missing=lacks_hosts(),
    )


def _parallel(setup: Setup, count: int) -> Side:
    script = _PARALLEL % {
        "stage": _STAGE,
        "hosts": " ".join(HOSTS),
        "logins": ",".join(f"{_SLOTS}/{host}" for host in HOSTS),
        "true": _TRUE,
    }

    def command(folder: Path) -> Sequence[str]:
        config = setup.beds.ssh_config()
        sockets = folder.parent / f"{folder.name}-master"
        return ["sh", "-c", script, "sh", str(count), str(folder), str(config), str(sockets)]

    return Side(
        name="parallel --sshlogin",
        command=command,
        units=count,
        staged=count,
        missing=lacks_hosts() or lacks("parallel", "parallel") or lacks("rsync", "rsync"),
    )


def _scp(setup: Setup) -> Side:
    def command(folder: Path) -> Sequence[str]:
        script = _SCP % {"hosts": " ".join(HOSTS)}
        config, there = str(setup.beds.ssh_config()), "bench-input"
        return ["bash", "-c", script, "bash", config, str(_input(setup)), there]

    return Side(
        name="scp",
        command=command,
        units=setup.sizes.sharing,
        missing=lacks_hosts() or lacks("scp", "openssh-client"),
    )


@cache
def _input(setup: Setup) -> Path:
    return _random(setup.kept / "large input.bin", setup.sizes.shared_bytes)


@cache
def _staged(setup: Setup) -> Path:
    """Return a sweep's directory with one run, staged as core leaves it."""
    sweep = setup.kept / "staged"
    run, shared = sweep / "runs" / "000000", sweep / "shared" / "1"
    for folder in (run, shared):
        folder.mkdir(parents=True)
    _random(shared / "large", setup.sizes.moved_bytes)
    (run / "large").symlink_to("../../shared/1/large")
    return sweep


def _random(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        while size:
            size -= file.write(os.urandom(min(size, 1 << 20)))
    return path
