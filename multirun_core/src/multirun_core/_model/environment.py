"""The environment variables by which a program of any language learns about its run.

`MULTIRUN_RUN_DIR`, `MULTIRUN_INDEX` and `MULTIRUN_ATTEMPT` are always there. Each parameter whose
name is an identifier (ASCII letters, digits, `_`) is there as `MULTIRUN_PARAM_` and its name in
capitals: text as it is, other values as JSON. Left out, and listed as a JSON array in
`MULTIRUN_PARAMS_OMITTED`, are names that are no identifiers, names that differ in capitals alone,
names and values over 32 KiB, values that an environment cannot carry (a NUL, a lone surrogate),
and what comes after the first 512 KiB. The list itself is `["*"]` where it would be over 32 KiB.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from multirun_core._model.params import ParamValue, to_text

RUN_VARIABLES = ("MULTIRUN_RUN_DIR", "MULTIRUN_INDEX", "MULTIRUN_ATTEMPT", "MULTIRUN_PARAM")
"""How the names of all variables that belong to one run begin."""

MAX_VALUE_BYTES = 32 * 1024
# execve(2) refuses arguments and environment over a quarter of the stack limit, 2 MiB as a rule;
# a run with very many parameters must still start.
MAX_TOTAL_BYTES = 512 * 1024
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def run_environment(
    params: Mapping[str, ParamValue], directory: str, index: int, attempt: int
) -> dict[str, str]:
    """Return the variables of one attempt of a run."""
    env = {
        "MULTIRUN_RUN_DIR": directory,
        "MULTIRUN_INDEX": str(index),
        "MULTIRUN_ATTEMPT": str(attempt),
    }
    omitted: list[str] = []
    room = MAX_TOTAL_BYTES
    variables = _variables(tuple(params))
    for (name, value), variable in zip(params.items(), variables, strict=True):
        text = to_text(value)
        size = _size(text)
        # The kernel adds a byte after each, and a pointer of eight.
        cost = len(variable) + size + 10
        fits = max(size, len(name)) <= MAX_VALUE_BYTES and cost <= room
        if fits and variable:
            env[variable] = text
            room -= cost
        else:
            omitted.append(name)
    if omitted:
        listed = json.dumps(omitted)
        env["MULTIRUN_PARAMS_OMITTED"] = listed if len(listed) <= MAX_VALUE_BYTES else '["*"]'
    return env


@lru_cache(maxsize=64)
def _variables(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the variable of each parameter; "" where its name makes none."""
    capitals = Counter(name.upper() for name in names if _IDENTIFIER.match(name))
    return tuple(
        f"MULTIRUN_PARAM_{name.upper()}"
        if capitals[name.upper()] == 1 and _IDENTIFIER.match(name)
        else ""
        for name in names
    )


def _size(text: str) -> int:
    """Return the length in bytes; more than any limit where an environment cannot carry it."""
    if text.isascii():
        return sys.maxsize if "\0" in text else len(text)
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return sys.maxsize
    return sys.maxsize if b"\0" in encoded else len(encoded)
