"""`Sweep`: a whole sweep to read: its runs, their results, its tables."""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from multirun_core._model.status import RunStatistics
from multirun_core._sweep import segment
from multirun_core._sweep.history import History
from multirun_core._sweep.keeper import Reader
from multirun_core._sweep.layout import JOURNAL, absolute
from multirun_core._sweep.manifest import Manifest
from multirun_core._sweep.results import JSON_NAME, PICKLE_NAME
from multirun_core.errors import RunnerClosedError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from multirun_core._model.run import Run
    from multirun_core._sweep.collect import Collect
    from multirun_core._sweep.live import Completions, Live


_SHOWN = 5
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


class Results(Sequence[Any]):
    """The results of all runs, in order, each loaded when it is asked for.

    An item is None where nothing was posted. Asking for one that cannot be read raises
    `ResultsError`; the others are not concerned.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [run.result for run in self._runs[index]]
        return self._runs[index].result

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Any]:
        return (run.result for run in self._runs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Results, list, tuple)):
            return NotImplemented
        return list(self) == list(cast("Sequence[Any]", other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = [_shown(run) for run in self._runs[:_SHOWN]]
        more = ["…"] if len(self) > _SHOWN else []
        return f"<results of {len(self)} runs: [{', '.join(shown + more)}]>"


def _shown(run: Run) -> str:
    """Return a result in short; one that is large, or may run code, is not loaded for that."""
    if run.inline_result is not None:
        return _short.repr(run.result)
    return "…" if any((run.cwd / name).exists() for name in (JSON_NAME, PICKLE_NAME)) else "None"


class Sweep:
    """A sweep: what was asked, what became of it.

    Attributes:
        path: its directory, absolute.
        runs: all runs, by index.
    """

    def __init__(self, keeper: Reader, live: Live | None = None) -> None:
        """Wrap a keeper's runs; use `multirun` or `Sweep.open` to get a sweep."""
        self._keeper = keeper
        self._live = live
        self.path: Path = keeper.root
        self.runs: Sequence[Run] = keeper.runs

    @property
    def detached(self) -> bool:
        """Whether its call has returned, as was asked for, while its runs go on elsewhere.

        `multirun(…, resume=True)` or `multirun resume` waits for them and collects what they did.
        """
        return self._keeper.detached

    @classmethod
    def open(cls, path: str | os.PathLike[str], allow_pickle: bool = False) -> Sweep:
        """Read a sweep from its directory, whether it has ended or goes on.

        What is read is the state at this moment. A run that was running when its driver died is
        "pending": that is what it will be for the driver that resumes.

        Args:
            path: the sweep's directory.
            allow_pickle: whether results that are pickles may be loaded. A pickle can run any
                code: allow it only for directories that you or people you trust have written.

        Raises:
            SweepNotFoundError: the directory holds no sweep.
            JournalError: its journal is damaged.
        """
        root = absolute(path)
        manifest = Manifest.read(root)
        history = History.read(root)
        sweep = cls(Reader(root, manifest.cmd, history.runs, allow_pickle=allow_pickle))
        if sweep.driver is None or sweep.driver.alive is False:
            for run in history.runs:
                if run.status == "running":
                    run.restore("pending")
                    run.message = "was running when its driver died"
                    sweep._keeper.changed(run, "running")
        return sweep

    def collect(self, rule: Collect) -> None:
        """Take the results of all runs that have succeeded anew from what they wrote.

        They replace what was posted or collected before.

        Args:
            rule: as `collect` of `multirun`.

        Raises:
            UsageError: the rule is none.
            SweepLockedError: a driver works on the sweep.
        """
        from multirun_core._sweep.collect import check_collect
        from multirun_core._sweep.recollect import recollect

        collector = check_collect(rule)
        if collector is not None:
            recollect(self._keeper, collector)

    # A sweep under way: `multirun(…, wait=False)`.

    def add(self, params: Mapping[str, Any]) -> Run:
        """Add a run to a sweep that was begun with `wait=False`; it starts when it can.

        In a sweep that was resumed, a run with equal parameters that is there already is taken;
        one that has succeeded is not executed again.

        Raises:
            ParamError: a parameter cannot be stored, or not be given to the command.
            RunnerClosedError: the sweep takes no further runs.
        """
        if self._live is None:
            raise RunnerClosedError(
                f"{self.path} takes no further runs; begin it with multirun(…, wait=False)"
            )
        return self._live.add(params)

    def as_completed(self) -> Completions:
        """Hand out the runs that were asked for, each when it has ended, by `for` or `async for`.

        It is over when all runs that were asked for so far have ended, those added meanwhile too.
        """
        from multirun_core._sweep.live import Completions

        return Completions(self._live, [run for run in self.runs if run.done])

    def wait(self) -> None:
        """Take no further runs, and wait for the end of a sweep begun with `multirun(wait=False)`.

        Raises:
            RunsFailedError: runs failed, and `check` was asked for.
            MultirunError: the sweep could not go on.
        """
        if self._live is not None:
            self._live.wait()

    async def finished(self) -> None:
        """Take no further runs, and wait for the end of one begun with `multirunAsync(wait=False)`.

        Cancelled, it cancels the sweep, waits for its clean-up and raises `CancelledError`.

        Raises:
            RunsFailedError: runs failed, and `check` was asked for.
            MultirunError: the sweep could not go on.
        """
        if self._live is not None:
            await self._live.finished()

    def cancel(self) -> None:
        """End the runs under way and skip the rest; the sweep can be resumed. Returns at once."""
        if self._live is not None:
            self._live.cancel()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
            return
        self.cancel()
        with contextlib.suppress(Exception):  # the error that brought us here says more
            self.wait()

    async def __aenter__(self) -> Sweep:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.finished()
            return
        self.cancel()
        with contextlib.suppress(Exception):  # likewise
            await self.finished()

    def __repr__(self) -> str:
        counts = self._keeper.counts
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        return f"<Sweep {str(self.path)!r}: {told or 'no runs'}>"

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.runs)

    @property
    def statistics(self) -> RunStatistics:
        """How many runs have which status."""
        return RunStatistics.of(self._keeper.counts)

    @property
    def results(self) -> Sequence[Any]:
        """What the runs posted, in order, loaded one by one when asked for; see `Results`."""
        return Results(self.runs)

    @property
    def failures(self) -> list[Run]:
        """The runs that failed, in order."""
        return [run for run in self.runs if run.status == "failure"]

    @property
    def manifest(self) -> dict[str, Any]:
        """The contents of `multirun.json`: command, inputs, runner, origin."""
        return Manifest.read(self.path).to_json()

    @property
    def driver(self) -> segment.Writer | None:
        """The driver that works on the sweep, or did so last."""
        return segment.last_writer(self.path / JOURNAL)

    # Tables, at any moment: what is not there yet is missing.

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a run: parameters, status, usage, results.

        Columns: index, the parameters, status, reason, host (categories), exit_code, attempts,
        started (time stamps in UTC), duration (time differences), cpu_seconds, max_rss_bytes, the
        results, and result_error, which says why a result could not be read. A dict has a column
        for each of its keys, a dict in it as well: `stats.mean`. Arrays are objects in their cells.

        Raises:
            UsageError: pandas is not installed.
        """
        from multirun_core._sweep.frame import to_dataframe

        return to_dataframe(self.runs)

    def to_xarray(self) -> xr.Dataset:
        """Return the results with the parameters as dimensions.

        Where the runs fill no grid of parameters there is one dimension, `run`. Arrays of equal
        shape add dimensions of their own. Points without a value are NaN, and the variable
        `status` says what became of each run.

        Raises:
            UsageError: xarray is not installed.
        """
        from multirun_core._sweep.cube import to_xarray

        return to_xarray(self.runs)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table as Parquet, whole or not at all; needs no pandas.

        Columns whose values have no type in common are text.

        Raises:
            UsageError: pyarrow is not installed.
        """
        from multirun_core._sweep.parquet import write_parquet

        write_parquet(self.runs, Path(path))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, whole or not at all; needs no pandas. Durations are seconds."""
        from multirun_core._sweep.table import write_csv

        write_csv(self.runs, Path(path))
