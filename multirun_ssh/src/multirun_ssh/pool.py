"""`Pool`: the hosts of a runner, and which of them a run goes to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from multirun_core.errors import BackendError

if TYPE_CHECKING:
    from multirun_ssh.job import Job
    from multirun_ssh.station import Station

_LOOK_SECONDS = 0.5


class Pool:
    """Hands out the slots of hosts, in the order in which runs ask.

    A run goes to the host with the largest part of its slots free, one that has its inputs before
    one that still waits for them. So hosts that are faster get more runs, and all are kept busy to
    the end. And when no more runs are to be had, those come back that a host has waited for inputs
    with while another has carried out others.

    Attributes:
        returning: the jobs whose runs are about to ask again.
    """

    def __init__(self, host_timeout: float) -> None:
        """Make an empty one.

        Args:
            host_timeout: seconds after which a host that cannot be used loses its runs.
        """
        self.stations: list[Station] = []
        self.failed: BackendError | None = None
        self.returning: set[Job] = set()
        self._timeout = host_timeout
        self._waiting: dict[asyncio.Future[Station], Collection[Station]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @property
    def hosts(self) -> list[Station]:
        """The hosts that runs may go to; not those that only hold runs of an earlier driver."""
        return [station for station in self.stations if station.slots != 0]

    def station(self, name: str) -> Station | None:
        """Return a host by its name."""
        return next((station for station in self.stations if station.name == name), None)

    async def open(self) -> None:
        """Connect to all hosts; return when the first can be used.

        A host where a person has to log in is waited for.

        Raises:
            BackendError: none can be.
        """
        self._watching = asyncio.create_task(self._watch(), name="hosts")
        self._watching.add_done_callback(self._unwatched)
        for station in self.stations:
            station.open()
        asked: set[Station] = set()
        while not any(one.health.up for one in self.hosts):
            asked |= {one for one in self.hosts if one.health.asks}
            trying = [one for one in self.hosts if not one.tried.is_set()]
            if self.failed is not None:
                raise self.failed
            if not trying and not any(one.may_come() for one in asked):
                raise BackendError(self._none("can be used"))
            self._news.clear()
            await self._news.wait()

    async def take(self, without: Collection[Station] = ()) -> Station:
        """Wait for a slot and take it.

        Args:
            without: hosts that are not wanted.

        Raises:
            BackendError: no host could be used for too long.
        """
        if self.failed is not None:
            raise self.failed
        future: asyncio.Future[Station] = asyncio.get_running_loop().create_future()
        self._waiting[future] = without
        self.serve()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.give_back(future.result())
            raise
        finally:
            self._waiting.pop(future, None)

    def give_back(self, station: Station) -> None:
        """Give a slot back that no job has taken."""
        station.busy -= 1
        self.serve()

    def serve(self) -> None:
        """Give free slots to those that wait; called whenever a host has become another."""
        self._news.set()
        free = {station: station.free for station in self.stations if station.free}
        for future, without in list(self._waiting.items()):
            if not free:
                return
            if future.done():
                continue
            fitting = [station for station in free if station not in without]
            if not fitting:
                continue
            station = max(
                fitting,
                key=lambda one: (one.starting.lacking is None, free[one] / (one.slots or 1)),
            )
            station.busy += 1
            free[station] -= 1
            if not free[station]:
                del free[station]
            del self._waiting[future]
            future.set_result(station)
        if free:
            self._call_back()

    def _call_back(self) -> None:
        """Have runs come back whose inputs are on their way to a host, for others that are free.

        To hosts that have ended a run meanwhile: where that takes longer, all do better to have
        their part.
        """
        since = {
            station: station.starting.lacking
            for station in self.stations
            if station.starting.lacking is not None
        }
        ready = [station for station in self.stations if station not in since]
        for station, begun in sorted(since.items(), key=lambda one: -one[1]):
            free = sum(one.free for one in ready if one.ended_at > begun) - len(self.returning)
            jobs = [job for job in station.spare() if job not in self.returning][: max(0, free)]
            self.returning.update(jobs)
            for job in jobs:
                station.pass_on(job)

    async def close(self, *, leave: bool) -> None:
        """Let go of all hosts; bounded.

        Args:
            leave: whether to remove what is left there.
        """
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        # Hosts may share a directory, so that the last one finds nothing left.
        await asyncio.gather(*(station.close(leave=leave) for station in self.stations))

    async def _watch(self) -> None:
        """Take runs from hosts that are away for too long; stop all where every host is."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.serve()  # to hosts whose pause is over
            out = [one for one in self.stations if one.health.out_for() > self._timeout]
            if any(one.health.up and one not in out for one in self.hosts):
                for station in out:
                    if not station.health.up and station.jobs:
                        station.give_up(station.health.out_for())
            elif any(one not in out for one in self.hosts):
                continue  # runs are not taken from one host while no other can have them
            elif self.failed is None:
                self._fail(BackendError(self._none(f"could be used for {self._timeout:g} s")))

    def _unwatched(self, watching: asyncio.Task[None]) -> None:
        """Stop all where nobody would notice any more that hosts are away."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            failed = BackendError(f"hosts are watched no more: {type(error).__name__}: {error}")
            failed.__cause__ = error
            self._fail(failed)

    def _fail(self, error: BackendError) -> None:
        self.failed = error
        self._news.set()
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
        for station in self.stations:
            for job in list(station.jobs.values()):
                if job.state != "settling":
                    job.refuse(error)

    def _none(self, can: str) -> str:
        told = [f"{one.name}: {one.health.why or 'it has not answered'}" for one in self.hosts]
        return f"none of the hosts {can}. " + "; ".join(told)
