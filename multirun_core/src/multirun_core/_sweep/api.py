"""`multirun` and `multirunAsync`, and what the command line uses of them."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from multirun_core._display.reporter import Reporter
from multirun_core._staging.rundir import OnRetry
from multirun_core._staging.thin import Keep
from multirun_core._sweep.call import (
    Rerun,
    Runs,
    check_call,
    stays_open,
)
from multirun_core._sweep.choosing import RunnerChoice
from multirun_core._sweep.conduct import Conductor
from multirun_core._sweep.facade import (
    Interrupted,
    run_blocking,
    start_live,
    start_live_async,
)

if TYPE_CHECKING:
    from multirun_core._model.files import FileResource
    from multirun_core._model.resources import Needs
    from multirun_core._sweep.collect import Collect
    from multirun_core._sweep.sweep import Sweep


def multirun(
    *,
    runs: Runs,
    cmd: Sequence[str],
    output_path: Path | str | None = None,
    input_files: Sequence[FileResource | Path | str] | None = None,
    runner: RunnerChoice | None = None,
    runner_options: Mapping[str, Any] | None = None,
    resume: bool = False,
    rerun: Rerun | None = None,
    check: bool = False,
    max_failures: int | None = None,
    timeout: float | str | None = None,
    retries: int | None = None,
    env: Mapping[str, str] | None = None,
    progress: bool | None = None,
    accept_changes: bool = False,
    take_over: bool = False,
    on_retry: OnRetry = "restore",
    checkpoints: str | Sequence[str] = (),
    keep: Keep = "all",
    observers: Iterable[object] = (),
    wait: bool = True,
    resources: Needs | None = None,
    collect: Collect | None = None,
) -> Sweep:
    """Run a command with varying parameters in distinct directories, and wait for the end.

    Works from a script, inside a running event loop (which it blocks) and in a notebook. Ctrl-C,
    SIGTERM and SIGHUP end it in good order: what runs is ended, the rest is skipped, and the
    sweep can be resumed; a second one ends it at once.

    Args:
        runs: the parameters of each run: any iterable of mappings to JSON values, a pandas
            DataFrame, or the path of a .csv, .json or .jsonl file.
        cmd: the command and its arguments. `{name}` is replaced by the parameter of that name,
            `{{name}}` by the text `{name}`; every other brace stays. No shell is involved.
        output_path: a new directory for the sweep; by default a time-stamped one in the current
            directory.
        input_files: files and directories that each run gets. A path alone is taken as a
            `FileResource` with default attributes.
        runner: the name of a runner or an instance of one; by default `ParallelLocalRunner()`.
        runner_options: options for a runner that is given by name.
        resume: carry on with the sweep in `output_path`: what succeeded stays, the rest is
            executed. Where nothing was begun yet, begin.
        rerun: execute again: "failed" (only runs that failed), "all" (also what succeeded), or
            the indices of runs. Implies `resume`.
        check: raise `RunsFailedError` at the end if runs failed.
        max_failures: over this number of failures nothing new starts; the rest is skipped.
        timeout: running time of one attempt, in seconds; queueing does not count. "5x median"
            is so many times the median of the runs that succeeded, fixed when a run starts; no
            limit before there are 5 of them, and none under a second.
        retries: how many further attempts a failed run gets.
        env: variables that each run gets. Their values are stored nowhere.
        progress: None for a bar on a terminal or in a notebook and a line now and then
            otherwise; True for a bar anyway; False for nothing.
        accept_changes: resume although the command or an input has changed.
        take_over: resume although another driver holds the sweep and may be alive.
        on_retry: before a further attempt, "restore" the run directory to what was staged, or
            "keep" what the last attempt left there besides its results.
        checkpoints: names of files or directories at the top of the run directory that a further
            attempt finds as the last one left them, even where all else is restored.
        keep: "all" run directories, those of "failed" runs, or only "results": the directory of
            a finished run is dropped once its result is safe, or thinned to what the journal
            cannot hold; of a failed run, what it printed stays.
        observers: objects with hooks that are told of the sweep, see `multirun_core.plugins`,
            besides those that are installed.
        wait: False to return at once, while the sweep goes on in a thread: `sweep.as_completed()`
            hands out runs as they end, `sweep.add(params)` adds some, and `with sweep:` or
            `sweep.wait()` waits for the end; otherwise the interpreter's exit does. Signals are
            left to the caller.
        resources: for what depends on the parameters: a function that takes those of a run and
            returns any of `{"cpus": 2, "memory": "4GiB", "gpus": 1}`. It is called for each
            attempt of a run; where it fails, so does that run.
        collect: how results are taken from what a program that cannot post them wrote: a
            function of the run directory, or rules: "out.json", "table.csv", "re:energy =
            (?P<energy>.*)" for standard output, "log.txt:re:…" for a file. Where that fails, the
            run has succeeded all the same, without a result.

    Returns:
        The sweep. Runs that failed are rows in it, not exceptions.

    Raises:
        UsageError: an argument makes no sense; `ParamError` for a parameter.
        StagingError: an input is missing or its name is refused.
        RunnerLookupError: there is no such runner.
        SweepError: the directory is in use, holds something else, or cannot be written.
        RunsFailedError: with `check`, if runs failed.
        KeyboardInterrupt: after Ctrl-C, when all is cleaned up.
    """
    try:
        return start(
            runs=runs,
            cmd=cmd,
            output_path=output_path,
            input_files=input_files,
            runner=runner,
            runner_options=runner_options,
            resume=resume,
            rerun=rerun,
            check=check,
            max_failures=max_failures,
            timeout=timeout,
            retries=retries,
            env=env,
            progress=progress,
            accept_changes=accept_changes,
            take_over=take_over,
            on_retry=on_retry,
            checkpoints=checkpoints,
            keep=keep,
            observers=observers,
            wait=wait,
            resources=resources,
            collect=collect,
        )
    except Interrupted as interrupted:
        _pass_on(interrupted.signum)


async def multirunAsync(
    *,
    runs: Runs,
    cmd: Sequence[str],
    output_path: Path | str | None = None,
    input_files: Sequence[FileResource | Path | str] | None = None,
    runner: RunnerChoice | None = None,
    runner_options: Mapping[str, Any] | None = None,
    resume: bool = False,
    rerun: Rerun | None = None,
    check: bool = False,
    max_failures: int | None = None,
    timeout: float | str | None = None,  # noqa: ASYNC109 - of each run, not of this call
    retries: int | None = None,
    env: Mapping[str, str] | None = None,
    progress: bool | None = None,
    accept_changes: bool = False,
    take_over: bool = False,
    on_retry: OnRetry = "restore",
    checkpoints: str | Sequence[str] = (),
    keep: Keep = "all",
    observers: Iterable[object] = (),
    wait: bool = True,
    resources: Needs | None = None,
    collect: Collect | None = None,
) -> Sweep:
    """Run a command with varying parameters in distinct directories.

    The same as `multirun` for callers that have an event loop. It installs no signal handlers.
    Cancelled, it ends what runs, skips the rest, writes that down and raises `CancelledError`.

    Args:
        runs: see `multirun`, also for all else.
        cmd: the command and its arguments.
        output_path: a new directory for the sweep.
        input_files: files and directories that each run gets.
        runner: the name of a runner or an instance of one.
        runner_options: options for a runner that is given by name.
        resume: carry on with the sweep in `output_path`.
        rerun: execute runs again.
        check: raise `RunsFailedError` at the end if runs failed.
        max_failures: over this number of failures nothing new starts.
        timeout: running time of one attempt, in seconds, or such as "5x median".
        retries: how many further attempts a failed run gets.
        env: variables that each run gets.
        progress: how progress is shown.
        accept_changes: resume although the command or an input has changed.
        take_over: resume although another driver may be alive.
        on_retry: "restore" the run directory before a further attempt, or "keep" it.
        checkpoints: names in the run directory that a further attempt finds as they were left.
        keep: which directories of finished runs stay: "all", "failed", or only "results".
        observers: objects with hooks that are told of the sweep.
        wait: False to return at once; `async with sweep:` or `await sweep.finished()` waits.
        resources: what a run needs, by its parameters.
        collect: how results are taken from what the program wrote.

    Returns:
        The sweep.

    Raises:
        MultirunError: as `multirun`.
    """
    call = check_call(
        runs=runs,
        cmd=cmd,
        output_path=output_path,
        input_files=input_files,
        runner=runner,
        runner_options=runner_options,
        resume=resume,
        rerun=rerun,
        max_failures=max_failures,
        timeout=timeout,
        retries=retries,
        env=env,
        accept_changes=accept_changes,
        take_over=take_over,
        on_retry=on_retry,
        checkpoints=checkpoints,
        keep=keep,
        resources=resources,
        collect=collect,
    )
    call.stay_open = stays_open(call, wait=wait)
    conductor = Conductor(call, Reporter(progress), check=check, observers=observers)
    return await (conductor.conduct() if wait else start_live_async(conductor))


def start(
    *,
    check: bool = False,
    progress: bool | None = None,
    observers: Iterable[object] = (),
    wait: bool = True,
    **arguments: Any,
) -> Sweep:
    """Do what `multirun` does, but raise `Interrupted` after a signal."""
    call = check_call(**arguments)
    call.stay_open = stays_open(call, wait=wait)
    reporter = Reporter(progress)
    conductor = Conductor(call, reporter, check=check, observers=observers)
    return run_blocking(conductor, reporter) if wait else start_live(conductor)


def _pass_on(signum: int) -> NoReturn:
    """Do, after the clean-up, what the signal would have done without us."""
    if signum != signal.SIGINT:
        signal.raise_signal(signum)
        raise SystemExit(128 + signum)
    raise KeyboardInterrupt
