"""Every exception that multirun raises, in one tree.

Catch `MultirunError` to catch all of them. A run that fails is a row of the table, not an
exception; `multirun(check=True)` asks for `RunsFailedError`.

This module is also imported by `getRunParams` inside the user's job, on Python 3.8 and newer:
it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from multirun_core._model.run import Run


class MultirunError(Exception):
    """Root of all errors of this project."""


class UsageError(MultirunError, ValueError):
    """Raised when a call's arguments do not make sense, before anything is created."""


class ParamError(UsageError):
    """Raised when a parameter cannot be stored as JSON; names run, parameter and type."""


class StagingError(MultirunError):
    """Raised when an input is missing, its name is refused, or it cannot be put in place."""


class ResultsError(MultirunError, ValueError):
    """Raised when results cannot be stored, or a results file cannot be read."""


class NotInRunError(MultirunError, RuntimeError):
    """Raised by `getRunParams` and `postRunResults` outside a run; says what was looked for."""


class SweepError(MultirunError):
    """Root of errors about a sweep's directory as a whole."""


class SweepExistsError(SweepError):
    """Raised when the output path exists and is not empty, and `resume` was not asked for."""


class SweepNotFoundError(SweepError):
    """Raised when a directory holds no sweep."""


class SweepLockedError(SweepError):
    """Raised when another driver that may be alive holds the sweep; names its host and pid."""


class SweepChangedError(SweepError):
    """Raised on resume when the command or an input differs, unless the change is accepted."""


class SweepSupersededError(SweepError):
    """Raised in a driver that finds that another one has taken its sweep over."""


class JournalError(SweepError):
    """Raised when the journal cannot be written or read; nothing unwritten has been reported."""


class RunnerError(MultirunError):
    """Root of errors of a runner that are no fault of one single run."""


class SubmitError(RunnerError):
    """Raised by a runner that could not hand a run over to its backend.

    Attributes:
        transient: True where trying again may help.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class BackendError(RunnerError):
    """Raised when a backend is gone for good and the runner cannot go on."""


class TransportError(RunnerError):
    """Raised when a machine cannot be reached, or was lost before a command there had ended.

    Attributes:
        permanent: whether trying again is of no use.
    """

    permanent: bool = False


class TransportTimeoutError(TransportError):
    """Raised when a command on a machine took longer than it may."""


class RunnerClosedError(RunnerError, RuntimeError):
    """Raised by `add` on a runner that cannot take runs: closed, or in use by another sweep."""


class RunnerOptionError(RunnerError, ValueError):
    """Raised for a runner option that is unknown or of the wrong type; lists those there are."""


class RunnerLookupError(RunnerError, LookupError):
    """Root of errors about finding a runner by its name."""


class RunnerNotFoundError(RunnerLookupError):
    """Raised when no installed distribution provides a runner of this name."""


class RunnerConflictError(RunnerLookupError):
    """Raised when two distributions provide a runner of this name."""


class RunnerUnavailableError(RunnerLookupError):
    """Raised when the distribution that provides a runner cannot be imported."""


class RunsFailedError(MultirunError):
    """Raised by `check=True` after the sweep's end; names all failures.

    Attributes:
        failures: the failed runs, in order.
    """

    def __init__(self, message: str, failures: Sequence[Run] = ()) -> None:
        super().__init__(message)
        self.failures = list(failures)


class InvalidTransitionError(MultirunError, RuntimeError):
    """Raised when a run's status is set to one that cannot follow: a bug in a runner."""
