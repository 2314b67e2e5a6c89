"""How hard a run is tried: time limit, retries, and the variables it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from multirun_core.errors import UsageError

MAX_RETRY_DELAY = 60.0

# A run that ended for one of these reasons would end the same way again, or was meant to end.
_FINAL_REASONS = frozenset({"cancelled", "staging", "submit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for each attempt of a run.

    Attributes:
        timeout: running time of one attempt in seconds; None for no limit. Queueing does not count.
        retries: how many further attempts a failed run gets.
        retry_delay: seconds before the second attempt; doubled for each further one, up to 60.
        env: variables that each run gets, on top of the driver's.
        grace: seconds between TERM and KILL when a run is ended.
    """

    timeout: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    grace: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: a negative number, or a variable that no environment can hold.
        """
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"timeout is {self.timeout!r}; it must be a number of seconds over 0")
        for name in ("retries", "retry_delay", "grace"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it cannot be below 0")
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name + value:
                raise UsageError(f"env holds {name!r}={value!r}, which no environment can carry")

    def delay(self, attempt: int, reason: str | None) -> float | None:
        """Return the seconds to wait before another attempt; None where there is to be none.

        Args:
            attempt: how many attempts this driver has made of the run.
            reason: why the last one ended.
        """
        if attempt > self.retries or reason in _FINAL_REASONS:
            return None
        return min(MAX_RETRY_DELAY, self.retry_delay * 2.0 ** min(attempt - 1, 16))
