"""How a check says what was promised and what was seen, and to which runners it applies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from multirun_core._model.run import Run

_Check = TypeVar("_Check", bound=Callable[..., Any])
_REQUIRED = "multirun_required"


class Declares(Protocol):
    """What says of itself to which checks it applies."""

    def why_not(self, capability: str) -> str | None:
        """Return why checks that need a capability do not apply; None where they do."""
        ...


HOSTILE = "a 'b' \"c\" $HOME `id`; {n} #&|<>(*)?[x]~!\\ %s\nnext \u00e9\u4e16\U0001f600 -rf"
"""A name with all that shells, globs, formats and careless parsers fall for."""


def promise(kept: object, promised: str, seen: object = None) -> None:
    """Fail unless a promise is kept, saying what was promised and what was seen.

    Args:
        kept: whether it is.
        promised: what the runner promises, as a sentence.
        seen: what was seen instead.
    """
    __tracebackhide__ = True
    if not kept:
        told = seen if isinstance(seen, str) else repr(seen)
        raise AssertionError(f"promised: {promised}\n     seen: {told}")


def expect(seen: object, wanted: object, promised: str) -> None:
    """Fail unless two values are equal, saying what was promised and what was seen."""
    __tracebackhide__ = True
    promise(seen == wanted, promised, f"{seen!r}\n   wanted: {wanted!r}")


def requires(*capabilities: str) -> Callable[[_Check], _Check]:
    """Mark a check that applies only to runners or schedulers with all these capabilities.

    Args:
        capabilities: names of attributes of `Declared` or `DeclaredScheduler`; "slots_option"
            stands for having one, "shares_files" for runs that see the files of this machine
            while they run.
    """

    def mark(check: _Check) -> _Check:
        @functools.wraps(check)
        def wrapper(self: Declares, *args: Any, **keywords: Any) -> Any:
            __tracebackhide__ = True
            for capability in capabilities:
                reason = self.why_not(capability)
                if reason:
                    pytest.skip(reason)
            return check(self, *args, **keywords)

        vars(wrapper)[_REQUIRED] = capabilities
        return wrapper  # type: ignore[return-value]

    return mark


def required_by(check: Callable[..., Any]) -> tuple[str, ...]:
    """Return the capabilities that a check requires."""
    found: tuple[str, ...] = vars(check).get(_REQUIRED, ())
    return found


def sh(script: str, *words: object) -> list[str]:
    """Return the command that runs a script of the shell with these as `$1`, `$2` and so on."""
    return ["sh", "-c", script, "sh", *(str(word) for word in words)]


def told(runs: Sequence[Run]) -> str:
    """Return what is known of runs, for messages."""
    return "; ".join(
        f"{run.status!r}, exit code {run.exit_code}, reason {run.reason!r}"
        + (f": {run.message}" if run.message else "")
        for run in runs
    )
