"""`displayStatus`: watch a runner or a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from multirun_core._model.status import RunStatistics
    from multirun_core._runners.base import AbstractRunner


class HasStatistics(Protocol):
    """Anything with a `statistics` attribute, a sweep above all."""

    @property
    def statistics(self) -> RunStatistics:
        """How many runs have which status."""
        ...


async def displayStatus(runner: AbstractRunner | HasStatistics) -> None:
    """Show how far the runs are, until all those known are complete.

    On a terminal or in a notebook this is a live bar with counts by status, rate and time left;
    otherwise a plain line now and then. All of it goes to standard error. Without any run it ends
    at once. Cancelling it leaves the last state on the screen and touches no run.

    Args:
        runner: a runner, or a sweep.

    Raises:
        UsageError: it is neither.
    """
    from multirun_core._display.reporter import Reporter

    await Reporter().watch(_counter(runner), "multirun", delay=0.0)


def _counter(source: AbstractRunner | HasStatistics) -> Callable[[], RunStatistics]:
    compute: Callable[[], RunStatistics] | None = getattr(source, "computeStatistics", None)
    if compute is not None:
        return compute
    if not hasattr(source, "statistics"):
        raise UsageError(
            f"displayStatus takes a runner or a sweep, not {type(source).__qualname__}; "
            "pass the runner that the runs were added to"
        )
    return lambda: source.statistics  # pyright: ignore
