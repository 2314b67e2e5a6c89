"""B9, B10 and B16: what is done with sweeps that are on disk already."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from suite.measure import Row, Sample, Side, run_to_end
from suite.setup import Setup, program


def table(setup: Setup) -> Side:
    """Return the collection of a sweep's results in a DataFrame."""
    study = _made(setup, "table", setup.sizes.results)
    return Side(
        name=setup.named("to_dataframe"),
        command=lambda _: [setup.python, program("ours_frame.py"), str(study())],
        inside=True,
        missing=_lacks_pandas(setup.python),
    )


def status(setup: Setup) -> Side:
    """Return `multirun status` of a large sweep."""
    study = _made(setup, "status", setup.sizes.known)
    return Side(
        name=setup.named("multirun status"),
        command=lambda _: [setup.python, "-m", "multirun_core", "status", str(study())],
    )


def table_rows(setup: Setup) -> list[Row]:
    """Return B9."""
    ours = table(setup)
    study, pickles = _made(setup, "table", setup.sizes.results), setup.kept / "pickles"

    def command(_: Path) -> Sequence[str]:
        if not pickles.exists():
            run_to_end([setup.python, program("make_pickles.py"), str(study()), str(pickles)])
        return [setup.python, program("plain_frame.py"), str(pickles)]

    plain = Side(name="pickle.load", command=command, inside=True, missing=ours.missing)
    what = f"{setup.sizes.results} results to a DataFrame / pickle.load, the same DataFrame"
    return [Row(id="B9", what=what, a=ours, b=plain, must=1.0, aim=0.6, same="rows")]


def status_rows(setup: Setup) -> list[Row]:
    """Return B10."""
    study = _made(setup, "status", setup.sizes.known)
    decoding = Side(
        name="json.loads",
        command=lambda _: [setup.python, program("plain_decode.py"), str(study())],
    )
    what = f"multirun status of {setup.sizes.known} runs / json.loads of the journal's lines"
    return [Row(id="B10", what=what, a=status(setup), b=decoding, must=2.0, aim=1.3)]


def resume_rows(setup: Setup) -> list[Row]:
    """Return B16: a resumed sweep of which all is done already."""
    count = setup.sizes.resumed

    @cache
    def study() -> Path:
        folder = setup.kept / "resumed"
        run_to_end([setup.python, program("ours_resume.py"), str(count), str(folder)])
        return folder

    ours = Side(
        name="resume",
        command=lambda _: [setup.python, program("ours_resume.py"), str(count), str(study())],
    )
    reading = Side(
        name="reading the journal",
        command=lambda _: [setup.python, program("plain_read.py"), str(study())],
    )

    def seconds(ours: Sample, _: Sample) -> float:
        return ours.seconds

    what = f"{count} runs resumed, all done"
    return [
        Row(id="B16", what=f"{what} / reading the journal's bytes", a=ours, b=reading),
        Row(id="B16s", what=what, a=ours, b=reading, aim=1.0, figure=seconds, unit="s"),
    ]


@cache
def _made(setup: Setup, name: str, count: int) -> _Study:
    return _Study(setup, name, count)


class _Study:
    """A sweep that is made, with each run's end and results, when it is first needed."""

    def __init__(self, setup: Setup, name: str, count: int) -> None:
        self._python = setup.python
        self._count = count
        self._folder = setup.kept / name

    def __call__(self) -> Path:
        if not self._folder.exists():
            run_to_end(
                [self._python, program("make_sweep.py"), str(self._count), str(self._folder)]
            )
        return self._folder


@cache
def _lacks_pandas(python: str) -> str | None:
    done = subprocess.run([python, "-c", "import pandas"], check=False, capture_output=True)
    return None if done.returncode == 0 else f"pandas (pip install pandas, for {python})"
