"""What an author declares of a `CommandScheduler`, and which checks apply to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from multirun_core.testing.waiting import Waits

if TYPE_CHECKING:
    from multirun_core._runners.scheduler.command import CommandScheduler, Phase


class DeclaredScheduler(Waits):
    """What an author declares of a scheduler.

    Only `make_scheduler` must be written. Texts are what the queue system's own commands have
    printed, as they were, to the last newline.

    Attributes:
        time_scale: how much more patience than for processes of this machine a check needs.
        printed_by_submit: texts of the submit command, each with the id that is in it, or None.
        printed_by_status: texts of the status command, each with what it says of jobs, by id. It
            may say more than is told here.
        printed_by_find: texts of the find command, each with the ids it tells for some names.
        printed_by_account: texts of the account command, likewise as for `printed_by_status`.
        refused: options with values that `make_scheduler` refuses, each with a `UsageError`.
        can_submit: whether jobs can be submitted here, three at once, and see the files of this
            machine.
        unknown_id: an id that no job has.
    """

    printed_by_submit: ClassVar[Mapping[str, str | None]] = {}
    printed_by_status: ClassVar[Mapping[str, Mapping[str, Phase]]] = {}
    printed_by_find: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]] = {}
    printed_by_account: ClassVar[Mapping[str, Mapping[str, Phase]]] = {}
    refused: ClassVar[Mapping[str, Sequence[Any]]] = {}
    can_submit: ClassVar[bool] = True
    unknown_id: ClassVar[str] = "9999999"

    def make_scheduler(self, **options: Any) -> CommandScheduler:
        """Return a new scheduler; the one method that an author writes.

        Options come only with the checks of `refused`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make_scheduler(self)")

    def why_not(self, capability: str) -> str | None:
        """Return why checks that need a capability do not apply; None where they do."""
        if capability == "arrays":
            return None if self.make_scheduler().array_limit > 1 else "it has no arrays"
        if capability == "nudge":
            told = self.make_scheduler().nudge([self.unknown_id], "TERM")
            return None if told is not None else "it cannot send signals to scripts alone"
        value = getattr(self, capability)
        return None if value else f"{type(self).__name__} declares {capability} = {value!r}"
