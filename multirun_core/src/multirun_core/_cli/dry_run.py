"""What `multirun run --dry-run` shows."""

from __future__ import annotations

import json
import shlex
from typing import Any

from multirun_core._cli.common import one_line
from multirun_core._cli.summary import short_path

_RUNS_SHOWN = 3


def show(arguments: dict[str, Any], count: int) -> str:
    """Return what would run where; everything is checked, nothing is created.

    Raises:
        MultirunError: as the sweep itself would before it creates anything.
    """
    from multirun_core._model.command import fill
    from multirun_core._sweep.call import check_call
    from multirun_core._sweep.layout import RUNS

    call = check_call(**arguments)
    where = short_path(call.root)
    record = call.runner_record
    options = ", ".join(f"{name}={value!r}" for name, value in record["options"].items())
    limits = {name: value for name, value in call.limits_record.items() if value}
    lines = [
        f"runs:      {count}",
        f"directory: {where}{_state(call)}",
        f"runner:    {record['name']}" + (f" ({options})" if options else ""),
        "limits:    "
        + ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in limits.items()
        ),
    ]
    if call.policy.env:
        lines.append("variables: " + ", ".join(sorted(call.policy.env)))
    lines += [f"input:     {one.name}  ({one.linkage}: {one.source})" for one in call.inputs or []]
    for index, text in enumerate((call.runs or [])[:_RUNS_SHOWN]):
        params = json.loads(text)
        given = ", ".join(f"{name}={json.dumps(value)}" for name, value in params.items())
        lines += ["", f"run {index}:  {given}"]
        if not call.resume:
            lines.append(f"  in:   {where}/{RUNS}/{index:06d}")
        lines.append(f"  does: {shlex.join(fill(call.cmd or [], params))}")
    if count > _RUNS_SHOWN:
        lines += ["", f"… and {count - _RUNS_SHOWN} more"]
    lines += ["", "Nothing was created or started."]
    return "\n".join(one_line(line) for line in lines)


def _state(call: Any) -> str:
    from multirun_core._sweep import segment
    from multirun_core._sweep.layout import JOURNAL, is_own
    from multirun_core.errors import SweepExistsError

    if not call.root.exists():
        return " (new)"
    begun = bool(segment.numbers(call.root / JOURNAL))
    if begun and call.resume:
        return " (resumed: what succeeded there is not run again, unless rerun)"
    foreign = not call.root.is_dir() or any(not is_own(path.name) for path in call.root.iterdir())
    if begun or foreign:
        raise SweepExistsError(
            f"{call.root} is there and not empty; choose another directory, or carry on with the "
            "sweep in it by --resume"
        )
    return " (empty)"
