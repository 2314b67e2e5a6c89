"""What `multirun run --dry-run` shows."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from multirun_core._cli.common import one_line
from multirun_core._cli.summary import short_path

if TYPE_CHECKING:
    from multirun_core._sweep.call import Call
    from multirun_core._sweep.opening import Opened

_RUNS_SHOWN = 3
_RANGES_SHOWN = 20


def show(arguments: dict[str, Any], count: int) -> str:
    """Return what would run where; everything is checked, nothing is created.

    Raises:
        MultirunError: as the sweep itself would before it creates anything.
    """
    from multirun_core._model.command import fill
    from multirun_core._sweep.call import check_call
    from multirun_core._sweep.layout import RUNS
    from multirun_core._sweep.opening import preview

    call = check_call(**arguments)
    where = short_path(call.root)
    opened = preview(call)
    record = call.runner_record
    options = ", ".join(f"{name}={value!r}" for name, value in record["options"].items())
    limits = {name: value for name, value in call.limits_record.items() if value}
    lines = [
        f"runs:      {count}",
        f"directory: {where}{_state(call, opened)}",
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
    todo: list[tuple[int | None, int, str]]
    if opened is None:
        todo = [(index, 1, text) for index, text in enumerate(call.runs or [])]
    else:
        todo = [(run.index, run.attempts + 1, run.params_json) for run in opened.todo]
        lines += [f"note:      {note}" for note in opened.notes]
        lines += _executed(opened)
    for index, attempt, text in todo[:_RUNS_SHOWN]:
        params = json.loads(text)
        given = ", ".join(f"{name}={json.dumps(value)}" for name, value in params.items())
        again = f" (attempt {attempt})" if attempt > 1 else ""
        lines += ["", f"run {index}{again}:  {given}"]
        lines.append(f"  in:   {where}/{RUNS}/{index or 0:06d}")
        lines.append(f"  does: {shlex.join(fill(call.cmd or [], params))}")
    if len(todo) > _RUNS_SHOWN:
        lines += ["", f"… and {len(todo) - _RUNS_SHOWN} more"]
    lines += ["", "Nothing was created or started."]
    return "\n".join(one_line(line) for line in lines)


def _state(call: Call, opened: Opened | None) -> str:
    from multirun_core._sweep import segment
    from multirun_core._sweep.layout import JOURNAL

    if opened is None:
        return " (empty)" if call.root.exists() else " (new)"
    writer = segment.last_writer(call.root / JOURNAL)
    if writer is not None and writer.alive is not False and not call.take_over:
        return f" (resumed, once {writer.process}, which works on it, has ended)"
    return " (resumed)"


def _executed(opened: Opened) -> list[str]:
    """Say which runs of a sweep that is resumed would be executed, and which not."""
    from multirun_core._sweep.selection import range_texts

    total = len(opened.history.runs)
    again = len(opened.again)
    new = len({run.index for run in opened.todo} & {run.index for run in opened.new})
    told = [f"{new} new"] if new else []
    told += [f"{again} that had succeeded"] if again else []
    tail = f" ({', '.join(told)})" if told else ""
    lines = [f"executes:  {len(opened.todo)} of the sweep's {total} runs{tail}"]
    if opened.todo:
        ranges = range_texts(opened.todo)
        more = ",…" if len(ranges) > _RANGES_SHOWN else ""
        lines.append(f"           {','.join(ranges[:_RANGES_SHOWN])}{more}")
    if opened.excluded:
        lines.append(f"skips:     {len(opened.excluded)} that have not ended and are not chosen")
    return lines
