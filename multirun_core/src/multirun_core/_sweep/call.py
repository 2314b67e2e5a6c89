"""`Call`: the arguments of `multirun`, checked before anything is created."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from multirun_core._model import params
from multirun_core._model.command import check_command, check_filled
from multirun_core._model.policy import Policy
from multirun_core._model.resources import Needs
from multirun_core._model.tables import is_frame, read_table, rows_of
from multirun_core._runners.task import TaskRunner
from multirun_core._staging.inputs import Input, check_inputs
from multirun_core._staging.names import is_own, left_by_us
from multirun_core._staging.rundir import OnRetry
from multirun_core._staging.store import InputRecord, stored_names
from multirun_core._staging.thin import Keep
from multirun_core._sweep.choosing import (
    RunnerChoice,
    check_resources,
    choose_runner,
    merge_policy,
)
from multirun_core._sweep.collect import Collect, Collector, check_collect
from multirun_core._sweep.layout import absolute
from multirun_core._sweep.manifest import Manifest
from multirun_core.errors import SweepNotFoundError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from multirun_core._model.files import FileResource

Runs: TypeAlias = "Iterable[params.ParamMap] | str | os.PathLike[str] | pd.DataFrame"
Rerun: TypeAlias = Literal["failed", "all"] | Iterable[int]


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
        only: indices beyond which none is executed, whatever `rerun` says; None for no such bound.
        max_failures: over this number of failures nothing new starts.
        on_retry: whether what an attempt left is moved away before the next.
        checkpoints: what is left where it is in either case.
        keep: whose directories stay when runs have ended.
        accept_changes: whether a changed command or input is accepted.
        take_over: whether to take the sweep over from a driver that may be alive.
        unnamed: whether `root` was not given, so that another one may be taken in its place.
        ends_only: whether nothing is executed: what an earlier driver left running is ended.
        ends_drivers: whether drivers that were sent and have not begun are ended as well.
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
    only: frozenset[int] | None = None
    max_failures: int | None = None
    on_retry: OnRetry = "restore"
    checkpoints: tuple[str, ...] = ()
    keep: Keep = "all"
    accept_changes: bool = False
    take_over: bool = False
    unnamed: bool = False
    ends_only: bool = False
    ends_drivers: bool = False
    stay_open: bool = False
    collector: Collector | None = None
    collect_rules: list[str] | Literal[True] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether an attempt may go on from what the last one left."""
        return self.on_retry == "keep" or bool(self.checkpoints)

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
        if self.checkpoints:
            record["checkpoints"] = list(self.checkpoints)
        if self.policy.resources is not None:
            record["resources"] = True
        if self.collect_rules is not None:
            record["collect"] = self.collect_rules
        return record


def stays_open(call: Call, *, wait: bool) -> bool:
    """Return whether further runs may come, where the caller does not wait.

    Raises:
        UsageError: the runner is to let go of the sweep, which is then not followed from here.
    """
    if not wait and (call.runner.detaches or call.runner.sends_driver):
        raise UsageError(
            "wait=False follows the sweep from here and takes further runs, which needs a driver "
            "here; the runner is to let go of it (detach=True, or driver='job'). Leave one of them "
            "out"
        )
    return not wait


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
    if isinstance(rows, (Mapping, bytes)) or not isinstance(rows, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(cast("object", rows)).__qualname__
        raise UsageError(
            f"runs is of type {kind}; give a list with the parameters of "
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
    checkpoints: str | Sequence[str] = (),
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
    if max_failures is not None and not (isinstance(max_failures, Integral) and max_failures >= 0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"max_failures is {max_failures!r}; it must be a whole number, from 0")
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
        checkpoints=check_checkpoints(checkpoints),
        keep=keep,
        accept_changes=accept_changes,
        take_over=take_over,
        unnamed=output_path is None,
        collector=check_collect(collect),
        collect_rules=_rules_of(collect),
    )


def check_checkpoints(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of checkpoints.

    Raises:
        UsageError: one is no name, or is one of our own.
    """
    found = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        if not isinstance(name, str) or name in ("", ".", "..") or {"/", "\0"} & set(name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"checkpoints has {name!r}; give the name of a file or directory at the top of the "
                'run directory, such as "checkpoint"'
            )
        if is_own(name) or left_by_us(name):
            raise UsageError(
                f"checkpoints has {name!r}, which every attempt has anew; give another name"
            )
    return found


def _rules_of(collect: Collect | None) -> list[str] | Literal[True] | None:
    if collect is None or isinstance(collect, str):
        return None if collect is None else [collect]
    return True if callable(collect) else list(collect)


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


def _names_stored(root: Path) -> Collection[str]:
    """Return the inputs that a sweep which is resumed holds copies of: they may be gone."""
    try:
        inputs = Manifest.read(root).inputs
    except SweepNotFoundError:
        return ()
    return stored_names(root, map(InputRecord.from_json, inputs))


def _default_root() -> Path:
    return Path(time.strftime("multirun-%Y%m%d-%H%M%S"))
