"""`Sending`: run directories go to where jobs run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._staging.mirror import Mirror, MirrorError
from multirun_core._staging.mirror_pack import Parcel
from multirun_core._transport.wrapper import ORDER
from multirun_core.errors import BackendError, StagingError

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.link import Link, Login
    from multirun_core._runners.scheduler.submission import Work
    from multirun_core._transport.wrapper import Order

_AT_ONCE = 256  # run directories in one stream


class Sending:
    """Carries directories there, many by each command."""

    def __init__(
        self,
        login: Login,
        mirror: Mirror,
        link: Link,
    ) -> None:
        """Prepare.

        Args:
            login: what it is called, for people.
            mirror: carries them.
            link: is waited for where it breaks.
        """
        self._login = login
        self._mirror = mirror
        self._link = link

    async def send(self, orders: Mapping[Work, Order]) -> Mapping[Work, str]:
        """Carry the directories of runs there, with their orders.

        Returns:
            Why runs cannot be carried out there, where one cannot.

        Raises:
            BackendError: they cannot be put in place there.
        """
        lacking: dict[Work, str] = {}
        live = [work for work in orders if not work.done.done()]
        for first in range(0, len(live), _AT_ONCE):
            some = live[first : first + _AT_ONCE]
            try:
                lacking |= await self._send(some, orders)
            except (StagingError, OSError):
                for work in some:  # which of them is it?
                    try:
                        lacking |= await self._send([work], orders)
                    except (StagingError, OSError) as error:
                        lacking[work] = str(error)
        return lacking

    async def send_directory(self, local: Path, directory: Path) -> None:
        """Carry one directory there, as it is.

        Raises:
            BackendError: it cannot be put in place there.
        """
        await self._carry([Parcel(local, self._relative(directory))])

    async def _send(self, works: Sequence[Work], orders: Mapping[Work, Order]) -> dict[Work, str]:
        parcels = [
            Parcel(
                work.run.cwd,
                self._relative(work.directory),
                {ORDER: orders[work].render()},
            )
            for work in works
        ]
        missing = await self._carry(parcels)
        lacking: dict[Work, str] = {}
        for work, parcel in zip(works, parcels, strict=True):
            if parcel.name in missing:
                told = ", ".join(map(repr, missing[parcel.name]))
                lacking[work] = (
                    f"an input links to {told}, which does not exist on {self._login.name}"
                )
        return lacking

    async def _carry(self, parcels: Sequence[Parcel]) -> Mapping[str, list[str]]:
        try:
            _, missing = await self._link.insist(lambda: self._mirror.send(parcels))
        except MirrorError as error:
            raise BackendError(f"{self._login.name} cannot take the runs: {error}") from error
        return missing

    def _relative(self, directory: Path) -> str:
        """Return a path for the mirror."""
        return str(directory).removeprefix(f"{self._mirror.base}/")
