"""The options of a runner: read from its factory's signature, converted from text, checked.

An option is a keyword argument of the factory. A class whose `__init__` takes `**options` has
those of its base classes besides.
"""

from __future__ import annotations

import collections.abc
import inspect
import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from multirun_core._convert import ConversionError, accepts, from_text, type_text
from multirun_core.errors import RunnerOptionError

if TYPE_CHECKING:
    from multirun_core._runners.spec import RunnerSpec

REQUIRED: Any = inspect.Parameter.empty
# What annotations are made of is often imported for type checkers alone.
_USUAL: dict[str, Any] = {
    **vars(typing),
    **vars(collections.abc),
    "Path": pathlib.Path,
    "PurePath": pathlib.PurePath,
    "typing": typing,
    "pathlib": pathlib,
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a runner.

    Attributes:
        name: its name.
        annotation: its type; `Any` where there is none or it cannot be made out.
        type_text: the type as it was written.
        default: what holds where it is not given; `REQUIRED` where it must be given.
        help: what the docstring says about it.
    """

    name: str
    annotation: Any
    type_text: str
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Options:
    """All options of a factory.

    Attributes:
        known: by name, in the order of the signature.
        open: whether the factory takes any other name too.
    """

    known: Mapping[str, Option]
    open: bool


def options_of(factory: Callable[..., Any]) -> Options:
    """Return the options of a factory."""
    known: dict[str, Option] = {}
    is_open = False
    for function, documented in _layers(factory):
        helps = _documented(*documented)
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # in C, or no signature
            return Options(known, True)
        is_open = False
        for parameter in parameters:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                is_open = True
            elif parameter.name == "self" or parameter.kind in (
                inspect.Parameter.VAR_POSITIONAL,
                inspect.Parameter.POSITIONAL_ONLY,
            ):
                continue
            elif parameter.name not in known:
                known[parameter.name] = _option(function, parameter, helps)
        if not is_open:
            break
    return Options(known, is_open)


def parse_option_text(spec: RunnerSpec, text: str) -> tuple[str, Any]:
    """Convert `key=value` by the type of the runner's option `key`.

    Raises:
        RunnerOptionError: there is no such option, or the value is not of its type.
    """
    name, separator, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not separator or not name:
        raise RunnerOptionError(f"the runner option {text!r} must read NAME=VALUE")
    options = options_of(spec.load())
    option = options.known.get(name)
    if option is None:
        if not options.open:
            raise _unknown(spec.name, name, options)
        return name, from_text(Any, value)
    try:
        return name, from_text(option.annotation, value)
    except ConversionError as problem:
        raise _ill_typed(spec.name, option, repr(value), options, str(problem)) from None


def check_options(name: str, factory: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Check options that are given from Python.

    Raises:
        RunnerOptionError: one is unknown or of another type, or one that must be given is not.
    """
    options = options_of(factory)
    for key, value in given.items():
        option = options.known.get(key)
        if option is None:
            if not options.open:
                raise _unknown(name, key, options)
        elif not accepts(option.annotation, value):
            raise _ill_typed(name, option, f"{value!r} ({type(value).__qualname__})", options)
    missing = [o.name for o in options.known.values() if o.required and o.name not in given]
    if missing:
        raise RunnerOptionError(
            f"runner {name!r} needs the option {missing[0]!r}, which was not given\n"
            + _listing(options)
        )


def _layers(
    factory: Callable[..., Any],
) -> Iterator[tuple[Callable[..., Any], tuple[str | None, ...]]]:
    """Yield the functions whose arguments are options, each with its docstrings."""
    if not inspect.isclass(factory):
        yield factory, (factory.__doc__,)
        return
    for base in factory.__mro__:
        if "__init__" in vars(base) and base is not object:
            init: Callable[..., Any] = vars(base)["__init__"]
            yield init, (init.__doc__, base.__doc__)


def _option(
    function: Callable[..., Any], parameter: inspect.Parameter, helps: Mapping[str, str]
) -> Option:
    written = parameter.annotation
    if written is inspect.Parameter.empty:
        annotation, text = Any, ""
    elif isinstance(written, str):
        annotation, text = _evaluate(function, written), written
    else:
        annotation, text = written, type_text(written)
    return Option(
        parameter.name, annotation, text, parameter.default, helps.get(parameter.name, "")
    )


def _evaluate(function: Callable[..., Any], written: str) -> Any:
    """Return the type that an annotation means; `Any` where it cannot be found out."""

    def holder() -> None: ...

    holder.__annotations__ = {"value": written}
    names = {**_USUAL, **getattr(inspect.unwrap(function), "__globals__", {})}
    try:
        return typing.get_type_hints(holder, globalns=names)["value"]
    except Exception:
        return Any


def _documented(*docstrings: str | None) -> dict[str, str]:
    """Read the `Args:` of docstrings in Google's style."""
    found: dict[str, str] = {}
    for docstring in docstrings:
        lines = iter(inspect.cleandoc(docstring or "").splitlines())
        inside, name = False, ""
        for line in lines:
            indent = len(line) - len(line.lstrip())
            if not indent:
                inside = line.strip() in ("Args:", "Arguments:") or (inside and not line.strip())
                continue
            if not inside:
                continue
            head, separator, rest = line.strip().partition(":")
            if indent <= 4 and separator:
                name = head.partition(" ")[0].lstrip("*")
                found.setdefault(name, rest.strip())
            elif name:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _unknown(runner: str, name: str, options: Options) -> RunnerOptionError:
    close = get_close_matches(name, options.known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return RunnerOptionError(
        f"runner {runner!r} has no option {name!r}.{hint}\n{_listing(options)}"
    )


def _ill_typed(
    runner: str, option: Option, value: str, options: Options, why: str = ""
) -> RunnerOptionError:
    wanted = option.type_text or type_text(option.annotation)
    because = f" ({why})" if why else ""
    return RunnerOptionError(
        f"option {option.name!r} of runner {runner!r}: {value} is not of the type "
        f"{wanted}{because}\n{_listing(options)}"
    )


def _listing(options: Options) -> str:
    texts = [
        f"{option.name}: {option.type_text or 'any'}"
        + ("" if option.required else f" = {option.default!r}")
        for option in options.known.values()
    ]
    return "  its options: " + (", ".join(texts) or "none")
