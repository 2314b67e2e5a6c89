"""A constructor that takes what a dataclass of options takes, for all who look at it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

P = ParamSpec("P")


def options_from(
    source: Callable[P, Any],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Give an `__init__(self, **options)` the signature and the help of a class of options.

    Core, `help()` and type checkers then see each option with its type, default and help.

    Args:
        source: the dataclass.
    """

    def decorate(init: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        made: Any = vars(source)["__init__"]

        # `wraps` leads to the signature, and to the module in which its annotations mean something.
        @functools.wraps(made)
        def __init__(self: Any, *args: P.args, **options: P.kwargs) -> None:  # noqa: N807 - it is one
            init(self, *args, **options)

        __init__.__doc__ = f"{inspect.getdoc(init) or ''}\n\nArgs:\n{_arguments(source)}"
        return cast("Callable[Concatenate[Any, P], None]", __init__)

    return decorate


def _arguments(source: Any) -> str:
    """Return the "Args:" of a class and of those that it extends, the oldest first."""
    classes: list[type] = list(reversed(source.__mro__))
    texts = [inspect.cleandoc(one.__doc__ or "") for one in classes]
    return "\n".join(text.partition("\nArgs:\n")[2] for text in texts if "\nArgs:\n" in text)
