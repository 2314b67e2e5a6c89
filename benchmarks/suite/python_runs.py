"""B7, B8 and B11: what a run in Python pays for us and for Python, and what importing us costs."""

from __future__ import annotations

from suite.measure import Row, Side
from suite.setup import Setup, program

_SLOTS = 2


def body(setup: Setup) -> Side:
    """Return the Python program that takes its parameters and posts its results by us."""
    return _bodies(setup, setup.named("getRunParams, postRunResults"), "ours_body.py")


def importing(setup: Setup) -> Side:
    """Return an interpreter that imports the package."""
    return _starts(setup, setup.named("import multirun_core"), "-c", "import multirun_core")


def rows(setup: Setup) -> list[Row]:
    """Return B7."""
    plain = _bodies(setup, "plain json, pickle", "plain_body.py")
    what = f"{setup.sizes.bodies} Python runs: getRunParams, postRunResults / json, pickle"
    return [Row(id="B7", what=what, a=body(setup), b=plain, must=1.1, aim=1.05)]


def warm_rows(setup: Setup) -> list[Row]:
    """Return B11."""
    rows: list[Row] = []
    for letter, script, of in (
        ("", "plain_body.py", "json, pickle"),
        ("n", "numpy_body.py", "numpy"),
    ):
        rows.append(
            Row(
                id="B11" + letter,
                what=f"{setup.sizes.short} short Python runs with {of}: warm / started anew",
                a=_sweep(setup, f"warm, {of}", script, "--warm"),
                b=_sweep(setup, f"started anew, {of}", script),
                must=None if letter else 0.2,
                aim=None if letter else 0.1,
            )
        )
    return rows


def start_rows(setup: Setup) -> list[Row]:
    """Return B8."""
    nothing = _starts(setup, "python -c pass", "-c", "pass")
    version = _starts(setup, setup.named("multirun --version"), "-m", "multirun_core", "--version")
    return [
        Row(
            id="B8",
            what="import multirun_core / python -c pass",
            a=importing(setup),
            b=nothing,
            must=1.5,
            aim=1.2,
        ),
        Row(id="B8v", what="multirun --version / python -c pass", a=version, b=nothing),
    ]


def _bodies(setup: Setup, name: str, script: str) -> Side:
    """Return a side that starts the same Python program again and again, by the bare loop."""
    count = setup.sizes.bodies
    return Side(
        name=name,
        command=lambda folder: [
            setup.python,
            program("bare_launch.py"),
            "--facts",
            str(count),
            str(_SLOTS),
            str(folder),
            setup.python,
            program(script),
        ],
        units=count,
        staged=count,
    )


def _sweep(setup: Setup, name: str, script: str, *options: str) -> Side:
    """Return a sweep of runs of the same Python program."""
    count = setup.sizes.short
    return Side(
        name=setup.named(name),
        command=lambda folder: [
            setup.python,
            program("ours_launch.py"),
            *options,
            str(count),
            str(_SLOTS),
            str(folder),
            setup.python,
            program(script),
        ],
        units=count,
        staged=count,
    )


def _starts(setup: Setup, name: str, *arguments: str) -> Side:
    return Side(
        name=name,
        command=lambda _: [setup.python, *arguments],
        times=setup.sizes.starts,
    )
