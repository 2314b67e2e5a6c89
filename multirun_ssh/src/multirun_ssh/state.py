"""What holds for all hosts of a runner, and how each of them is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multirun_core._runners.warmth import Warmth


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for all hosts of a runner.

    Attributes:
        place: where the sweep's directory lies; see `Mirror`.
        name: the name of the sweep's directory there.
        shared: whether runs are carried out in the run directories themselves.
        fetch: patterns of files that come back; None for all that is new.
        keep: whether run directories stay on the hosts.
        host_timeout: seconds after which the runs of a host that cannot be reached are lost.
        setup: shell text that precedes each command.
        stop: whether runs end themselves where no driver is left.
        grace: seconds between TERM and KILL then.
        warmth: what runs are forked from; None for starting each anew.
    """

    place: str = ""
    name: str = "bare"
    shared: bool = False
    fetch: Sequence[str] | None = None
    keep: bool = False
    host_timeout: float = 300.0
    setup: Sequence[str] = ()
    stop: bool = False
    grace: float = 5.0
    warmth: Warmth | None = None


@dataclass(slots=True)
class Health:
    """Whether a host can be used.

    Attributes:
        up: whether it is connected and prepared.
        known: whether it has been before.
        asks: whether it waits for a person to log in.
        why: the last thing that was wrong.
        since: when it could not be used any more; None while it can.
        paused: until when nothing is started there, by the loop's clock.
        refusals: how often in a row it could not take runs.
        permanent: whether trying again is of no use.
    """

    up: bool = False
    known: bool = False
    asks: bool = False
    why: str = ""
    since: float | None = field(default_factory=time.monotonic)
    paused: float = 0.0
    refusals: int = 0
    permanent: bool = False

    @property
    def usable(self) -> bool:
        """Whether runs can be started there now."""
        return self.up and time.monotonic() >= self.paused

    def out_for(self) -> float:
        """Return for how many seconds it could not be used."""
        return 0.0 if self.since is None else time.monotonic() - self.since
