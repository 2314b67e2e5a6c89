"""Which runner a call means, and what holds for each attempt of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from multirun_core._model.policy import Policy, parse_time_limit
from multirun_core._model.resources import Needs, needs_of
from multirun_core._runners.base import AbstractRunner
from multirun_core._runners.task import TaskRunner
from multirun_core._sweep.manifest import Manifest
from multirun_core.errors import SweepError, UsageError

RunnerChoice: TypeAlias = AbstractRunner | str


def choose_runner(
    runner: RunnerChoice | None, options: Mapping[str, Any] | None
) -> tuple[TaskRunner, dict[str, Any]]:
    """Return the runner, and how `multirun.json` names it.

    Raises:
        UsageError: options are given to an instance, or `runner` is neither name nor instance.
        RunnerLookupError: there is no such runner.
        RunnerOptionError: it has no such option.
    """
    if isinstance(runner, AbstractRunner):
        if options:
            raise UsageError(
                "runner_options are given, but runner is an instance; give them to its class"
            )
        return _as_task_runner(runner), _record_of(runner)
    if runner is not None and not isinstance(runner, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"runner is {runner!r}; it must be the name of a runner or an instance of one"
        )
    from multirun_core._registry import Registry

    name, chosen = runner or "local", dict(options or {})
    made = Registry().create(name, chosen)
    kept = {key: value for key, value in chosen.items() if key != "env"}
    try:
        record = {"name": name, "options": json.loads(json.dumps(kept, default=os.fspath))}
    except (TypeError, ValueError):  # a function, such as of the parameters: the script has it
        record = _record_of(made)
    return _as_task_runner(made), record


def runner_of(root: Path, manifest: Manifest) -> tuple[TaskRunner, dict[str, Any]]:
    """Make the runner of a sweep anew, and return how `multirun.json` names it.

    Raises:
        SweepError: it is an instance that only the script can make.
        RunnerLookupError: it is not installed here.
    """
    if "name" not in manifest.runner:
        raise SweepError(
            f"{root} was run by an instance of {manifest.runner.get('class')}, which only the "
            "script can make; call that script again with resume=True"
        )
    return choose_runner(manifest.runner["name"], manifest.runner["options"])


def _as_task_runner(runner: AbstractRunner) -> TaskRunner:
    if isinstance(runner, TaskRunner):
        return runner
    from multirun_core._runners.foreign import ForeignRunner

    return ForeignRunner(runner)


def _record_of(runner: AbstractRunner) -> dict[str, Any]:
    from multirun_core._runners.local import ParallelLocalRunner

    if type(runner) is ParallelLocalRunner:
        policy = runner.policy
        options = {
            "max_parallel": runner.max_parallel,
            "retry_delay": policy.retry_delay,
            "grace": policy.grace,
            **{name: value for name, value in runner.resource_options.items() if value},
        }
        return {"name": "local", "options": options}
    return {"class": f"{type(runner).__module__}.{type(runner).__qualname__}"}


def merge_policy(
    own: Policy,
    *,
    timeout: float | str | None,
    retries: int | None,
    env: Mapping[str, str] | None,
    resources: Needs | None = None,
) -> Policy:
    """Return a runner's own policy with what the sweep is given besides.

    Raises:
        UsageError: something is given to both, or makes no sense.
    """
    given: dict[str, Any] = {"timeout": timeout, "retries": retries, "env": env}
    given = {name: value for name, value in given.items() if value is not None}
    already = {"timeout": own.time_limit, "retries": own.retries, "env": own.env}
    for name in given:
        if already[name]:
            raise UsageError(
                f"{name} is given to multirun and to the runner too; give it to one of them"
            )
    if timeout is not None:
        given.update(parse_time_limit(timeout))
    return replace(own, **given, resources=resources)


def check_resources(
    runner: TaskRunner, record: Mapping[str, Any], policy: Policy, runs: Sequence[str]
) -> None:
    """Check what can be known beforehand of what runs need.

    Raises:
        UsageError: the runner does not know resources, or has not what every run needs.
        ParamError: `resources` fails for the first run.
    """
    if policy.resources is None:
        runner.check_needs(runner.default_needs)
        return
    if not runner.knows_resources:
        name = record.get("name") or record.get("class")
        raise UsageError(
            f"resources is given, but the runner {name!r} does not know resources; leave it away, "
            "or choose a runner that does, such as 'local'"
        )
    if not callable(policy.resources):
        raise UsageError(
            f"resources is {policy.resources!r}; it must be a function that takes the parameters "
            'of a run and returns such as {"cpus": 2, "memory": "4GiB", "gpus": 1}'
        )
    if runs:
        needs_of(policy.resources, 0, json.loads(runs[0]))
