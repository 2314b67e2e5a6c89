"""Commands as text for a POSIX shell over there; the one place where it is made."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def shell_line(
    argv: Sequence[str], cwd: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Return a command as one text for sh, which is replaced by it.

    Args:
        argv: the program and its arguments.
        cwd: where to run it; None for where the shell is.
        env: further variables; names that are no identifiers are passed by env(1).
    """
    words = [*(f"{name}={value}" for name, value in (env or {}).items()), *argv]
    line = "exec " + shlex.join(["env", *words] if env else words)
    return line if cwd is None else f"cd {shlex.quote(_path(cwd))} && {line}"


def exports(env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return shell text that exports variables, and as words for env(1) those that sh cannot."""
    lines: list[str] = []
    words: list[str] = []
    for name, value in env.items():
        if _IDENTIFIER.match(name):
            lines.append(f"export {name}={shlex.quote(value)}\n")
        else:
            words.append(f"{name}={value}")
    return "".join(lines), words


def _path(path: str) -> str:
    """Return a path that cd(1) takes for nothing else: not for an option, and not for `-`."""
    return path if path.startswith("/") else f"./{path}"
