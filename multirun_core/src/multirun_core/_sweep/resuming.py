"""Carrying on with a sweep by its directory alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multirun_core._display.reporter import Reporter
from multirun_core._sweep.call import Call, Rerun, check_rerun
from multirun_core._sweep.choosing import check_resources, merge_policy, runner_of
from multirun_core._sweep.collect import check_collect
from multirun_core._sweep.conduct import Conductor
from multirun_core._sweep.facade import run_blocking
from multirun_core._sweep.layout import absolute
from multirun_core._sweep.manifest import Manifest
from multirun_core.errors import SweepError

if TYPE_CHECKING:
    from multirun_core._model.policy import Policy
    from multirun_core._runners.task import TaskRunner
    from multirun_core._sweep.sweep import Sweep


def call_of(
    root: Path, manifest: Manifest, runner: TaskRunner, record: dict[str, Any], policy: Policy
) -> Call:
    """Return the call that carries on with a sweep as its `multirun.json` says."""
    limits = manifest.limits
    return Call(
        root=root,
        cmd=None,
        runs=None,
        inputs=None,
        runner=runner,
        runner_record=record,
        policy=policy,
        resume=True,
        max_failures=limits["max_failures"],
        on_retry=limits["on_retry"],
        checkpoints=tuple(limits.get("checkpoints", ())),
        keep=limits.get("keep", "all"),
    )


def resume(
    path: str | os.PathLike[str],
    *,
    rerun: Rerun | None = None,
    only: frozenset[int] | None = None,
    progress: bool | None = None,
    accept_changes: bool = False,
    take_over: bool = False,
    env: Mapping[str, str] | None = None,
) -> Sweep:
    """Carry on with the sweep in a directory, as its `multirun.json` says.

    Args:
        path: the sweep's directory.
        rerun: which runs to execute; by default all that have not succeeded.
        only: indices beyond which none is executed.
        progress: see `multirun`.
        accept_changes: carry on although an input has changed.
        take_over: carry on although another driver may be alive.
        env: values of the variables that the sweep was given; by default those of the same names
            in the environment, since the sweep stores names only.

    Raises:
        SweepError: there is no sweep, its runner is an instance of one's own, what its runs need
            or how results are collected is said by a function, or a variable that it was given is
            not to be had.
        Interrupted: a signal has ended it.
    """
    root = absolute(path)
    manifest = Manifest.read(root)
    runner, record = runner_of(root, manifest)
    limits = manifest.limits
    rules = limits.get("collect")
    for told, what in (
        (limits.get("resources"), "was told by a function what its runs need"),
        (rules is True, "has its results collected by a function"),
    ):
        if told:
            raise SweepError(
                f"{root} {what}, which only the script has; call that script again with resume=True"
            )
    given = dict(env or {})
    missing = [n for n in manifest.env_names if n not in given and n not in os.environ]
    if missing:
        raise SweepError(
            f"{root} was given variables whose values are stored nowhere: {', '.join(missing)}. "
            "Set them in the environment and try again"
        )
    values = {name: os.environ[name] for name in manifest.env_names if name not in given} | given
    own = {"timeout": runner.policy.time_limit, "retries": runner.policy.retries}
    inherited = {name: limits[name] for name in own if not own[name]}
    policy = merge_policy(
        runner.policy,
        timeout=inherited.get("timeout"),
        retries=inherited.get("retries"),
        env=values or None,
    )
    check_resources(runner, record, policy, ())
    call = replace(
        call_of(root, manifest, runner, record, policy),
        rerun=check_rerun(rerun),
        only=only,
        collector=check_collect(rules),
        collect_rules=rules,
        accept_changes=accept_changes,
        take_over=take_over,
    )
    reporter = Reporter(progress)
    return run_blocking(Conductor(call, reporter), reporter)
