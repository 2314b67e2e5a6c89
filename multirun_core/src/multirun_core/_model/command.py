"""The command of a sweep: `{name}` is replaced by a run's parameter.

`{name}` is replaced where `name` is a parameter of the run; `{{name}}` then stands for the text
`{name}`. Every other brace stays as it is. Text is put in as it is, any other value as JSON. The
command is a list and never passes through a shell, so no value needs quoting.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from multirun_core._model.params import ParamValue, to_text
from multirun_core.errors import ParamError, UsageError


def check_command(cmd: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the command as a list of text.

    Raises:
        UsageError: it is empty, one single string, or holds something that is not text.
    """
    if isinstance(cmd, (str, bytes)):
        raise UsageError(
            f"cmd must be a list of a program and its arguments, not the text {cmd!r}; "
            'write cmd=["python", "simulate.py"], or cmd=["sh", "-c", "…"] for a shell line'
        )
    if not isinstance(cmd, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"cmd must be a list of a program and its arguments, not {cmd!r} of type "
            f"{type(cmd).__qualname__}"
        )
    words: list[str] = []
    for position, word in enumerate(cmd):
        if not isinstance(word, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"cmd[{position}] is {word!r} of type {type(word).__qualname__}; it must be text"
            )
        words.append(os.fsdecode(word))
        if not _can_be_given(words[-1]):
            raise UsageError(
                f"cmd[{position}], {words[-1]!r}, holds a NUL or a character that no command line "
                "can carry"
            )
    if not words or not words[0]:
        raise UsageError('cmd is empty; give a program and its arguments, as in cmd=["true"]')
    return words


def fill(cmd: Sequence[str], params: Mapping[str, ParamValue]) -> list[str]:
    """Return `cmd` with `{name}` replaced by the parameters."""
    if not params or not any("{" in word for word in cmd):
        return list(cmd)
    pattern = _pattern(tuple(params))

    def replace(match: re.Match[str]) -> str:
        escaped, name = match.group("escaped", "name")
        return "{" + escaped + "}" if escaped is not None else to_text(params[name])

    return [pattern.sub(replace, word) if "{" in word else word for word in cmd]


def check_filled(index: int, cmd: Sequence[str], params: Mapping[str, ParamValue]) -> None:
    """Raise `ParamError` where a filled-in command could not be given to a program."""
    if all(map(_can_be_given, fill(cmd, params))):
        return
    names = [
        name
        for name, value in params.items()
        if not _can_be_given(to_text(value)) and any("{" + name + "}" in word for word in cmd)
    ]
    raise ParamError(
        f"run {index}, parameter {names[0]!r}: its text holds a NUL or a character that no "
        "command line can carry; let the program read it from params.json instead"
    )


def _can_be_given(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(r"\{\{(?P<escaped>" + either + r")\}\}|\{(?P<name>" + either + r")\}")
