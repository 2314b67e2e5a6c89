"""B7 and B8: what a run in Python pays for us, and what importing us costs."""

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


def _starts(setup: Setup, name: str, *arguments: str) -> Side:
    return Side(
        name=name,
        command=lambda _: [setup.python, *arguments],
        times=setup.sizes.starts,
    )
