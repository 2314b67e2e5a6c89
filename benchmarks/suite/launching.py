"""B1 to B6: the same short runs, started by us and by others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suite.measure import Row, Sample, Side, run_to_end
from suite.setup import Setup, found, lacks, lacks_module, program

_SLOTS = 2
_TRUE = found("true")
_PARAMS = r"""printf '{"i": %s}' "$1" >params.json"""
_JOB = f'mkdir "$0/$1" && cd "$0/$1" && {_PARAMS} && exec {_TRUE} >stdout.txt 2>stderr.txt'
_PARALLEL_JOB = (
    r"""cd "$folder/{}" && printf '{"i": %s}' {} >params.json && exec """ + _TRUE
)  # --results has made the folder, and files for the output in it


def ours(setup: Setup) -> Side:
    """Return the sweep of short runs."""
    count = setup.sizes.runs
    return Side(
        name=setup.named("multirun"),
        command=lambda folder: [
            setup.python,
            program("ours_launch.py"),
            *_amount(count, folder),
            _TRUE,
        ],
        units=count,
        staged=count,
    )


def rows(setup: Setup) -> list[Row]:
    """Return B1 to B5, which share our side."""
    a = ours(setup)
    what = f"{setup.sizes.runs} x true, {_SLOTS} slots /"
    return [
        Row(id="B1", what=f"{what} bare Popen + pidfd", a=a, b=_bare(setup), must=1.5, aim=1.2),
        Row(id="B2", what=f"{what} xargs -P", a=a, b=_xargs(setup), must=0.6, aim=0.45),
        Row(id="B3", what=f"{what} joblib + subprocess", a=a, b=_joblib(setup), must=0.8, aim=0.6),
        Row(id="B4", what=f"{what} GNU parallel", a=a, b=_parallel(setup), must=0.3, aim=0.22),
        Row(id="B5", what=f"{what} C vfork", a=a, b=_vfork(setup)),
    ]


def scale_rows(setup: Setup) -> list[Row]:
    """Return B6: what a run costs in a large sweep and in a small one."""
    few, many = setup.sizes.few, setup.sizes.many
    small, large = _sized(setup, few), _sized(setup, many)

    def growth(large: Sample, small: Sample) -> float:
        grown: int = large.told["peak_bytes"] - small.told["peak_bytes"]
        return grown / (many - few) / 1024

    what = f"{many} runs / {few} runs"
    return [
        Row(id="B6", what=f"time per run, {what}", a=large, b=small, must=1.15, aim=1.05),
        Row(
            id="B6m",
            what=f"memory of the driver per run, {what}",
            a=large,
            b=small,
            must=2.0,
            aim=1.0,
            figure=growth,
            unit="KiB",
        ),
    ]


def _amount(count: int, folder: Path) -> list[str]:
    return [str(count), str(_SLOTS), str(folder)]


def _sized(setup: Setup, count: int) -> Side:
    return Side(
        name=setup.named(f"multirun, {count} runs"),
        command=lambda folder: [
            setup.python,
            program("ours_scale.py"),
            *_amount(count, folder),
            _TRUE,
        ],
        units=count,
        inside=True,
        staged=count,
    )


def _peer(setup: Setup, name: str, missing: str | None, *command: str) -> Side:
    """Return a side whose arguments are a number of runs, of slots, a folder and a program."""
    count = setup.sizes.runs
    return Side(
        name=name,
        command=lambda folder: [*command, *_amount(count, folder), _TRUE],
        units=count,
        staged=count,
        missing=missing,
    )


def _bare(setup: Setup) -> Side:
    return _peer(setup, "bare loop", None, setup.python, program("bare_launch.py"))


def _joblib(setup: Setup) -> Side:
    return _peer(
        setup,
        "joblib",
        lacks_module(setup.peers, "joblib"),
        str(setup.peers),
        program("joblib_launch.py"),
    )


def _xargs(setup: Setup) -> Side:
    script = f'mkdir "$3" && seq 0 $(($1 - 1)) | xargs -P $2 -n 1 sh -c \'{_quoted(_JOB)}\' "$3"'
    return _peer(setup, "xargs", lacks("xargs", "findutils"), "sh", "-c", script, "sh")


def _parallel(setup: Setup) -> Side:
    script = (
        "folder=$3; export folder; seq 0 $(($1 - 1)) | parallel --will-cite -j $2 "
        f'--results "$3/{{}}/" --joblog "$3/joblog" \'{_quoted(_PARALLEL_JOB)}\' >/dev/null'
    )
    script = 'mkdir "$3" && ' + script
    return _peer(setup, "parallel", lacks("parallel", "parallel"), "sh", "-c", script, "sh")


def _vfork(setup: Setup) -> Side:
    compiled = setup.kept / "vfork_launch"

    def command(folder: Path) -> Sequence[str]:
        if not compiled.exists():
            run_to_end(["cc", "-O2", "-o", str(compiled), program("vfork_launch.c")])
        return [str(compiled), *_amount(setup.sizes.runs, folder), _TRUE]

    count = setup.sizes.runs
    return Side(
        name="C vfork",
        command=command,
        units=count,
        staged=count,
        missing=lacks("cc", "gcc libc6-dev"),
    )


def _quoted(script: str) -> str:
    return script.replace("'", "'\\''")
