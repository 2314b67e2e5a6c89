"""What a sweep knows about its runs beyond what each holds itself; enough to read one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._model.command import fill
from multirun_core._model.environment import run_environment
from multirun_core._model.policy import Policy
from multirun_core._model.status import TERMINAL
from multirun_core._sweep import results
from multirun_core._sweep.layout import RUNS
from multirun_core.errors import ResultsError, RunnerClosedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from multirun_core._model.run import ExitStatus, Run
    from multirun_core._model.status import RunStatus


class Reader:
    """Keeper of the runs of a sweep that is only read.

    Attributes:
        root: the sweep's directory, absolute.
        cmd: the command with its placeholders.
        runs: all runs, by index.
        counts: how many runs have which status.
        policy: what holds for each attempt.
        detached: whether its runs go on without the process that began them, as was asked for.
    """

    def __init__(
        self, root: Path, cmd: Sequence[str], runs: list[Run], *, allow_pickle: bool
    ) -> None:
        self.root = root
        self.cmd = list(cmd)
        self._is_constant = not any("{" in word for word in self.cmd)
        self.runs = runs
        self.allow_pickle = allow_pickle
        self.policy = Policy()
        self.detached = False
        self._prefix = f"{root}/{RUNS}/"
        for run in runs:
            run.keeper = self
        self.counts: Counter[RunStatus] = Counter(run.status for run in runs)

    def directory(self, run: Run) -> Path:
        """Return the run's directory."""
        return Path(self.directory_text(run))

    def directory_text(self, run: Run) -> str:
        """Return the run's directory as text, which is all that starting it needs."""
        return f"{self._prefix}{run.index:06d}"

    def command(self, run: Run) -> list[str]:
        """Return the run's command, filled in."""
        return list(self.cmd) if self._is_constant else fill(self.cmd, run.params)

    def environment(self, run: Run) -> Mapping[str, str]:
        """Return the variables that tell the program about its run, for the present attempt.

        A run that is still pending may be about to be handed over, for its next attempt.
        """
        index = -1 if run.index is None else run.index
        attempt = run.attempts + (run.status == "pending")
        return run_environment(run.params, self.directory_text(run), index, attempt)

    def result(self, run: Run) -> Any:
        """Load what the run posted: only an attempt whose end is recorded has a result."""
        if run.status not in TERMINAL or run.started is None:
            return None
        if run.result_error is not None:
            raise ResultsError(run.result_error)
        if run.inline_result is not None:
            return results.from_peek(run.inline_result)
        return results.load(self.directory(run), allow_pickle=self.allow_pickle)

    def changed(self, run: Run, previous: RunStatus) -> None:
        """Keep the counts."""
        self.counts[previous] -= 1
        self.counts[run.status] += 1

    async def prepare(self, run: Run) -> None:
        """Refuse: nothing is executed here."""
        raise RunnerClosedError(f"{self.root} was opened for reading; {run!r} cannot be executed")

    async def conclude(self, run: Run) -> None:
        """Refuse: nothing is executed here."""
        raise RunnerClosedError(f"{self.root} was opened for reading; {run!r} cannot be executed")

    def began(self, run: Run) -> None:
        """Refuse: nothing is executed here."""
        raise RunnerClosedError(f"{self.root} was opened for reading; {run!r} cannot be executed")

    async def hold(self, run: Run) -> None:
        """Refuse: nothing is executed here."""
        raise RunnerClosedError(f"{self.root} was opened for reading; {run!r} cannot be executed")

    def amend(self, run: Run, facts: Mapping[str, object]) -> None:
        """Refuse: nothing is executed here."""
        raise RunnerClosedError(f"{self.root} was opened for reading; {run!r} cannot be amended")

    def record(self, run: Run, status: RunStatus, end: ExitStatus) -> asyncio.Future[None]:
        """Refuse: nothing is executed here."""
        raise RunnerClosedError(f"{self.root} was opened for reading; {run!r} cannot end {status}")
