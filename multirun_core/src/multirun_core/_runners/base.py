"""`AbstractRunner`, the three methods that every runner has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multirun_core._model.run import Run
    from multirun_core._model.status import RunStatistics


class AbstractRunner(ABC):
    """Interface of a runner.

    Most authors subclass `TaskRunner` instead, which has these three and asks for one coroutine.
    A runner that implements just these works in `multirun(runner=…)` too.
    """

    @abstractmethod
    def computeStatistics(self) -> RunStatistics:
        """Return how many of the runs that were added have which status."""

    @abstractmethod
    def add(self, cmd: list[str], cwd: Path = Path()) -> Run:
        """Add a run and return at once.

        Args:
            cmd: the program and its arguments; never passed through a shell.
            cwd: the directory to run it in.

        Returns:
            Its handle, "pending". In a running event loop its `task` is assigned, and
            cancelling that ends the run.
        """

    @abstractmethod
    async def gather(self) -> None:
        """Wait for all runs that were added.

        One failing run disturbs no other and raises nothing. Cancelled, it cancels all runs,
        waits until they are cleaned up, and raises `CancelledError`.
        """
