"""How hard a run is tried: time limit, retries, and the variables it gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, TypedDict

from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from multirun_core._model.resources import Needs

MAX_RETRY_DELAY = 60.0

# A run that ended for one of these reasons would end the same way again, or was meant to end.
_FINAL_REASONS = frozenset({"cancelled", "staging", "submit"})
# These are no fault of the run.
_INFRASTRUCTURE_REASONS = frozenset({"lost", "node_fail", "preempted", "launch"})
_RELATIVE = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?)\s*x\s*median\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for each attempt of a run.

    Attributes:
        timeout: running time of one attempt in seconds; None for no limit. Queueing does not count.
        retries: how many further attempts a failed run gets.
        retry_delay: seconds before the second attempt; doubled for each further one, up to 60.
        env: variables that each run gets, on top of the driver's.
        grace: seconds between TERM and KILL when a run is ended.
        infrastructure_retries: how many further attempts a run gets where what carried it was
            lost: its host, its node, its place in the queue. They do not count as `retries`.
        timeout_factor: the time limit as a multiple of the median running time of the runs that
            succeeded; what follows for a run is in the `timeout` of `TaskRunner.limits`.
        resources: returns what a run needs; None where it is the same for all.
    """

    timeout: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    grace: float = 5.0
    infrastructure_retries: int = 0
    timeout_factor: float | None = None
    resources: Needs | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: a negative number, or a variable that no environment can hold.
        """
        for name in ("timeout", "retries", "retry_delay", "grace", "infrastructure_retries"):
            if not isinstance(getattr(self, name), (Real, type(None))):
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be a number")
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"timeout is {self.timeout!r}; it must be a number of seconds over 0")
        for name in ("retries", "retry_delay", "grace", "infrastructure_retries"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it cannot be below 0")
        for name, value in dict(self.env).items():
            if not isinstance(name, str) or not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(
                    f"env: {name!r} has a value of type {type(value).__name__}; "
                    "name and value must be text"
                )
            if not name or "=" in name or "\0" in name + value:
                raise UsageError(
                    f"env: no environment can carry {name!r}: a name is not empty and holds no "
                    "'=', and neither it nor its value holds a NUL"
                )

    @property
    def time_limit(self) -> float | str | None:
        """The time limit as it was given: seconds, or such as "5x median"."""
        factor = self.timeout_factor
        return self.timeout if factor is None else f"{factor:g}x median"

    def excuses(self, reason: str | None) -> bool:
        """Whether an attempt that ended for a reason counts as lost by what carried it."""
        return self.infrastructure_retries > 0 and reason in _INFRASTRUCTURE_REASONS

    def delay(self, attempt: int, reason: str | None) -> float | None:
        """Return the seconds to wait before another attempt; None where there is to be none.

        Args:
            attempt: how many attempts this driver has made of the run, of those that are excused
                or of the others, as this one is.
            reason: why the last one ended.
        """
        retries = self.infrastructure_retries if self.excuses(reason) else self.retries
        if attempt > retries or reason in _FINAL_REASONS:
            return None
        return min(MAX_RETRY_DELAY, self.retry_delay * 2.0 ** min(attempt - 1, 16))


class TimeLimit(TypedDict):
    """The fields of a `Policy` that a time limit makes."""

    timeout: float | None
    timeout_factor: float | None


def parse_time_limit(given: float | str | None) -> TimeLimit:
    """Return what a time limit means.

    Args:
        given: seconds, a text such as "5x median", or None.

    Raises:
        UsageError: it is a text that means nothing, or a multiple that is not over 1.
    """
    if not isinstance(given, str):
        return {"timeout": given, "timeout_factor": None}
    match = _RELATIVE.fullmatch(given)
    if match is None or not float(match[1]) > 1:
        raise UsageError(
            f"timeout is {given!r}; it must be a number of seconds, or a multiple over 1 of the "
            "median running time, such as '5x median'"
        )
    return {"timeout": None, "timeout_factor": float(match[1])}
