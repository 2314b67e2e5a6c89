"""What this machine has for runs, and who has how much of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from multirun_core._model.resources import Resources, size_text
from multirun_core._runners.cpus import cpu_numbers, usable_cpus
from multirun_core._runners.memory import available_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is for runs.

    Attributes:
        cpus: the numbers of the CPUs.
        memory_bytes: the memory; None where that cannot be told, so that nothing is kept track of.
        gpus: the names of the devices.
    """

    cpus: tuple[int, ...]
    memory_bytes: int | None
    gpus: tuple[str, ...]

    @classmethod
    def here(cls, gpus: Sequence[str]) -> Machine:
        """Return what this process may use now: of its CPUs, and of the memory that is free."""
        return cls(
            cpus=tuple(cpu_numbers()[: usable_cpus()]),
            memory_bytes=available_memory(),
            gpus=tuple(gpus),
        )

    def lacks(self, needs: Resources) -> str | None:
        """Return why a run can never have what it needs, with numbers; None where it can."""
        if (needs.cpus or 0) > len(self.cpus):
            wanted = _counted(needs.cpus or 0, "CPU")
            return f"it needs {wanted}, but this process may use {len(self.cpus)}"
        if (needs.gpus or 0) > len(self.gpus):
            named = "" if self.gpus else "; name them by the runner's option gpus"
            wanted = _counted(needs.gpus or 0, "GPU")
            return f"it needs {wanted}, but this runner has {len(self.gpus)}{named}"
        if self.memory_bytes is not None and (needs.memory_bytes or 0) > self.memory_bytes:
            return (
                f"it needs {size_text(needs.memory_bytes or 0)} of memory, but only "
                f"{size_text(self.memory_bytes)} are free for runs"
            )
        return None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@dataclass(frozen=True, slots=True)
class Share:
    """What one run has got.

    Attributes:
        cpus: the numbers of its CPUs; empty where it asked for none.
        memory_bytes: memory that is promised to it.
        gpus: its devices.
    """

    cpus: tuple[int, ...]
    memory_bytes: int
    gpus: tuple[str, ...]


class Pool:
    """Shares a machine out to runs, in the order in which they ask: none overtakes another.

    It belongs to one event loop.

    Attributes:
        machine: all there is.
        loop: the event loop.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.loop = asyncio.get_running_loop()
        self._cpus = list(machine.cpus)
        self._gpus = list(machine.gpus)
        self._memory = machine.memory_bytes
        self._shares = 0
        self._waiting: deque[tuple[Resources, asyncio.Future[Share]]] = deque()

    @property
    def idle(self) -> bool:
        """Whether nobody has or awaits anything."""
        return not self._shares and not self._waiting

    @asynccontextmanager
    async def share(self, needs: Resources) -> AsyncGenerator[Share]:
        """Wait until there is what a run needs, and keep it for the run.

        The caller has asked `machine.lacks` before: what can never be had is waited for.
        """
        future: asyncio.Future[Share] = self.loop.create_future()
        self._waiting.append((needs, future))
        self._serve()
        try:
            yield await future
        finally:
            if future.done() and not future.cancelled():
                self._give_back(future.result())
            self._serve()

    def _serve(self) -> None:
        while self._waiting:
            needs, future = self._waiting[0]
            if not future.cancelled():
                if not self._fits(needs):
                    return
                future.set_result(self._take(needs))
            self._waiting.popleft()

    def _fits(self, needs: Resources) -> bool:
        return (
            (needs.cpus or 0) <= len(self._cpus)
            and (needs.gpus or 0) <= len(self._gpus)
            and (self._memory is None or (needs.memory_bytes or 0) <= self._memory)
        )

    def _take(self, needs: Resources) -> Share:
        cpus, gpus, memory = needs.cpus or 0, needs.gpus or 0, needs.memory_bytes or 0
        share = Share(tuple(self._cpus[:cpus]), memory, tuple(self._gpus[:gpus]))
        del self._cpus[:cpus], self._gpus[:gpus]
        if self._memory is not None:
            self._memory -= memory
        self._shares += 1
        return share

    def _give_back(self, share: Share) -> None:
        # The lowest first, so that a run's CPUs lie next to each other as far as possible.
        self._cpus = sorted([*self._cpus, *share.cpus])
        self._gpus += share.gpus
        if self._memory is not None:
            self._memory += share.memory_bytes
        self._shares -= 1
