"""What a queue system's accounts say of jobs that have left the queue: reasons, never verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from multirun_core.errors import TransportError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.client import Client
    from multirun_core._runners.scheduler.command import CommandScheduler, JobState


async def accounts(
    scheduler: CommandScheduler, client: Client, keys: Sequence[str]
) -> Mapping[str, JobState]:
    """Return how jobs or tasks ended that are in no queue any more, as far as that is told."""
    argv = scheduler.account(keys) if keys else None
    if argv is None:
        return {}
    with suppress(TransportError, ValueError):
        done = await client.call("account", argv)
        if done.code == 0:
            told = scheduler.accounted(done.stdout.decode(errors="replace"))
            return {key: state for key, state in told.items() if state.phase == "ended"}
    return {}
