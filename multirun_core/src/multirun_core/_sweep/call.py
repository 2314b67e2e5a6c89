"""`Call`: the arguments of `multirun`, checked before anything is created."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from multirun_core._model import params
from multirun_core._model.command import check_command, check_filled
from multirun_core._model.policy import Policy, parse_time_limit
from multirun_core._model.resources import Needs, needs_of
from multirun_core._model.tables import is_frame, read_table, rows_of
from multirun_core._runners.base import AbstractRunner
from multirun_core._runners.task import TaskRunner
from multirun_core._staging.inputs import Input, check_inputs
from multirun_core._staging.store import InputRecord, stored_names
from multirun_core._staging.thin import Keep
from multirun_core._sweep.collect import Collect, Collector, check_collect
from multirun_core._sweep.layout import absolute
from multirun_core._sweep.manifest import Manifest
from multirun_core.errors import SweepNotFoundError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from multirun_core._model.files import FileResource

Runs: TypeAlias = "Iterable[params.ParamMap] | str | os.PathLike[str] | pd.DataFrame"
Rerun: TypeAlias = Literal["failed", "all"] | Iterable[int]
OnRetry: TypeAlias = Literal["restore", "keep"]
RunnerChoice: TypeAlias = AbstractRunner | str


@dataclass(slots=True, kw_only=True)
class Call:
    """What a sweep is to do.

    Attributes:
        root: the sweep's directory, absolute.
        cmd: the command; None to take that of the sweep that is resumed.
        runs: the parameters of each run as JSON; None for all runs of the sweep that is resumed.
        inputs: the input files; None likewise.
        runner: carries the runs out.
        runner_record: how `multirun.json` names the runner.
        policy: what holds for each attempt.
        resume: whether a sweep in `root` is to be carried on.
        rerun: which of its runs to execute; None for all that have not succeeded.
        max_failures: over this number of failures nothing new starts.
        on_retry: whether what an attempt left is moved away before the next.
        keep: whose directories stay when runs have ended.
        accept_changes: whether a changed command or input is accepted.
        take_over: whether to take the sweep over from a driver that may be alive.
        unnamed: whether `root` was not given, so that another one may be taken in its place.
        stay_open: whether further runs may come until the sweep is closed.
        collector: takes the results of programs that do not post them.
        collect_rules: what makes the collector, for `multirun.json`; True for a function.
    """

    root: Path
    cmd: list[str] | None
    runs: list[str] | None
    inputs: list[Input] | None
    runner: TaskRunner
    runner_record: dict[str, Any]
    policy: Policy
    resume: bool = False
    rerun: Literal["failed", "all"] | frozenset[int] | None = None
    max_failures: int | None = None
    on_retry: OnRetry = "restore"
    keep: Keep = "all"
    accept_changes: bool = False
    take_over: bool = False
    unnamed: bool = False
    stay_open: bool = False
    collector: Collector | None = None
    collect_rules: list[str] | Literal[True] | None = None

    @property
    def limits_record(self) -> dict[str, Any]:
        """What `multirun.json` keeps of the policy and of what else a resume must know."""
        record: dict[str, Any] = {
            "timeout": self.policy.time_limit,
            "retries": self.policy.retries,
            "max_failures": self.max_failures,
            "on_retry": self.on_retry,
            "keep": self.keep,
        }
        if self.policy.resources is not None:
            record["resources"] = True
        if self.collect_rules is not None:
            record["collect"] = self.collect_rules
        return record


def check_runs(runs: Runs, cmd: Sequence[str]) -> list[str]:
    """Return each run's parameters as JSON text.

    Raises:
        ParamError: a value cannot be stored, or not be given to the command.
        UsageError: `runs` is no iterable of mappings and no table, or one that cannot be read.
    """
    rows: Iterable[Mapping[str, Any]]
    if is_frame(runs):
        rows = rows_of(runs)
    elif isinstance(runs, (str, os.PathLike)):
        rows = read_table(runs)
    else:
        rows = cast("Iterable[Mapping[str, Any]]", runs)
    if isinstance(rows, (Mapping, bytes)):
        kind = type(cast("object", rows)).__qualname__
        raise UsageError(
            f"runs is one single {kind}; give a list with the parameters of "
            'each run, such as [{"mass": 1}, {"mass": 2}]'
        )
    placeholders = any("{" in word for word in cmd)
    texts: list[str] = []
    for index, one in enumerate(rows):
        texts.append(params.to_json(index, one))
        if placeholders:
            check_filled(index, cmd, one)
    return texts


def check_call(
    *,
    runs: Runs,
    cmd: Sequence[str | os.PathLike[str]],
    output_path: str | os.PathLike[str] | None = None,
    input_files: Iterable[FileResource | Path | str] | None = None,
    runner: RunnerChoice | None = None,
    runner_options: Mapping[str, Any] | None = None,
    resume: bool = False,
    rerun: Rerun | None = None,
    max_failures: int | None = None,
    timeout: float | str | None = None,
    retries: int | None = None,
    env: Mapping[str, str] | None = None,
    accept_changes: bool = False,
    take_over: bool = False,
    on_retry: OnRetry = "restore",
    keep: Keep = "all",
    resources: Needs | None = None,
    collect: Collect | None = None,
) -> Call:
    """Check the arguments of `multirun`; creates nothing.

    Raises:
        UsageError: an argument makes no sense.
        StagingError: an input is missing or its name is refused.
        RunnerLookupError: there is no such runner.
    """
    words = check_command(cmd)
    if max_failures is not None and max_failures < 0:
        raise UsageError(f"max_failures is {max_failures}; it cannot be below 0")
    if on_retry not in get_args(OnRetry):
        raise UsageError(f"on_retry is {on_retry!r}; it must be 'restore' or 'keep'")
    if keep not in get_args(Keep):
        raise UsageError(f"keep is {keep!r}; it must be 'all', 'failed' or 'results'")
    chosen, record = choose_runner(runner, runner_options)
    root = absolute(output_path if output_path is not None else _default_root())
    resume = resume or rerun is not None
    texts = check_runs(runs, words)
    policy = merge_policy(
        chosen.policy, timeout=timeout, retries=retries, env=env, resources=resources
    )
    check_resources(chosen, record, policy, texts)
    return Call(
        root=root,
        cmd=words,
        runs=texts,
        inputs=check_inputs(
            input_files, root=root, stored=_names_stored(root) if resume else frozenset()
        ),
        runner=chosen,
        runner_record=record,
        policy=policy,
        resume=resume,
        rerun=check_rerun(rerun),
        max_failures=max_failures,
        on_retry=on_retry,
        keep=keep,
        accept_changes=accept_changes,
        take_over=take_over,
        unnamed=output_path is None,
        collector=check_collect(collect),
        collect_rules=_rules_of(collect),
    )


def _rules_of(collect: Collect | None) -> list[str] | Literal[True] | None:
    if collect is None or isinstance(collect, str):
        return None if collect is None else [collect]
    return True if callable(collect) else list(collect)


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


def check_rerun(rerun: Rerun | None) -> Literal["failed", "all"] | frozenset[int] | None:
    """Return the choice of runs to execute again.

    Raises:
        UsageError: it is none.
    """
    if rerun is None:
        return None
    if isinstance(rerun, str):
        if rerun in ("failed", "all"):
            return rerun
        raise UsageError(f"rerun is {rerun!r}; it must be 'failed', 'all' or a list of indices")
    indices = frozenset(rerun) if isinstance(rerun, Iterable) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if indices is None or not all(isinstance(index, Integral) for index in indices):
        raise UsageError(f"rerun is {rerun!r}; it must be 'failed', 'all' or a list of indices")
    return indices


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
    record = {
        "name": name,
        "options": {key: value for key, value in chosen.items() if key != "env"},
    }
    return _as_task_runner(made), record


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


def _names_stored(root: Path) -> Collection[str]:
    """Return the inputs that a sweep which is resumed holds copies of: they may be gone."""
    try:
        inputs = Manifest.read(root).inputs
    except SweepNotFoundError:
        return ()
    return stored_names(root, map(InputRecord.from_json, inputs))


def _default_root() -> Path:
    return Path(time.strftime("multirun-%Y%m%d-%H%M%S"))
