"""What a run needs of a machine: CPUs, memory, GPUs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from multirun_core.errors import ParamError, UsageError

_SIZE = re.compile(
    r"\s*(\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})\s*(?:([kmgtpe])(ib?|b)?|b)?\s*",
    re.IGNORECASE | re.ASCII,
)
_POWERS = "kmgtpe"
# No address space is larger, so that a slip of the keyboard is not taken for a size.
_MOST_BYTES = 1 << 63

# What libraries read when they make their threads. R, numpy, PyTorch and others use one of these.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "JULIA_NUM_THREADS",
    "GOMAXPROCS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one run needs; None where it says nothing about that.

    Attributes:
        cpus: how many CPUs.
        memory_bytes: how much memory, in bytes.
        gpus: how many devices.
    """

    cpus: int | None = None
    memory_bytes: int | None = None
    gpus: int | None = None

    def over(self, default: Resources) -> Resources:
        """Return these, completed from others."""
        return Resources(
            cpus=default.cpus if self.cpus is None else self.cpus,
            memory_bytes=default.memory_bytes if self.memory_bytes is None else self.memory_bytes,
            gpus=default.gpus if self.gpus is None else self.gpus,
        )


Needs: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From a run's parameters to what it needs: `{"cpus": 2, "memory": "4GiB", "gpus": 1}`."""


def to_resources(given: Mapping[str, Any]) -> Resources:
    """Return what a mapping asks for.

    Args:
        given: any of `cpus`, `memory` (bytes, or text as `parse_size` takes it) and `gpus`.

    Raises:
        UsageError: it is no mapping, or one of its items makes no sense.
    """
    if not isinstance(cast("object", given), Mapping):
        raise UsageError(
            'it must be a mapping such as {"cpus": 2, "memory": "4GiB", "gpus": 1}, '
            f"not {given!r}"
        )
    unknown = [key for key in given if key not in ("cpus", "memory", "gpus")]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no resource; write cpus, memory or gpus")
    cpus, memory, gpus = given.get("cpus"), given.get("memory"), given.get("gpus")
    return Resources(
        cpus=None if cpus is None else check_count("cpus", cpus, least=1),
        memory_bytes=None if memory is None else parse_size(memory),
        gpus=None if gpus is None else check_count("gpus", gpus, least=0),
    )


def needs_of(needs: Needs, index: int | None, params: dict[str, Any]) -> Resources:
    """Return what a run needs.

    Raises:
        ParamError: the callable failed or returned something else; names the run.
    """
    try:
        return to_resources(needs(params))
    except Exception as error:
        why = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        number = "" if index is None else f" {index}"
        raise ParamError(f"run{number}: resources({params!r}): {why}") from error


def check_count(name: str, value: Any, *, least: int) -> int:
    """Return a whole number.

    Raises:
        UsageError: it is none, or too small.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise UsageError(f"{name} is {value!r}; it must be a whole number, {least} or more")
    return number


def parse_size(size: int | str) -> int:
    """Return a size in bytes.

    Args:
        size: bytes, or text: a number and a unit. `KiB`, `MiB`, `GiB`, `TiB` and, as batch
            systems have it, `K`, `M`, `G`, `T` are powers of 1024; `kB`, `MB`, `GB`, `TB` are
            powers of 1000. Capitals do not matter, and neither does a space.

    Raises:
        UsageError: it is no size over 0.
    """
    number: int | None = None
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is not None:
            digits, letter, rest = match[1], match[2] or "", (match[3] or "").lower()
            base = 1000 if rest == "b" else 1024
            factor = base ** (_POWERS.index(letter.lower()) + 1) if letter else 1
            number = int(digits) * factor if digits.isdecimal() else int(float(digits) * factor)
    elif not isinstance(cast("object", size), bool) and hasattr(size, "__index__"):
        number = operator.index(size)
    if number is None or not 0 < number < _MOST_BYTES:
        raise UsageError(
            f"{size!r} is no size of memory; write bytes, or such as '500MB' or '4GiB'"
        )
    return number


def size_text(size: int) -> str:
    """Return a size for people: `1.5 GiB`."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"


def thread_variables(cpus: int) -> dict[str, str]:
    """Return the variables that make libraries and runtimes use so many threads."""
    return dict.fromkeys(_THREADS, str(cpus))


def gpu_variables(devices: Sequence[str]) -> dict[str, str]:
    """Return the variables that let a program see some devices alone.

    Numbers go to NVIDIA's, AMD's and Intel's runtimes (`CUDA_VISIBLE_DEVICES`,
    `HIP_VISIBLE_DEVICES`, `ZE_AFFINITY_MASK`), in the order of `nvidia-smi`. Names such as UUIDs go
    to NVIDIA's and, as `ROCR_VISIBLE_DEVICES`, to AMD's; what HIP then counts is only what that
    leaves, so that the two variables of AMD's must never both hold the same numbers.
    """
    if not devices:
        return {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1"}
    names = ",".join(devices)
    if all(device.isdecimal() for device in devices):
        return {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": names,
            "HIP_VISIBLE_DEVICES": names,
            "ZE_AFFINITY_MASK": names,
        }
    return {
        "CUDA_VISIBLE_DEVICES": names,
        "ROCR_VISIBLE_DEVICES": names,
        "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(devices)))),
    }
