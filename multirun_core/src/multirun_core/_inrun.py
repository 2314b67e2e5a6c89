"""`getRunParams` and `postRunResults`: what a program calls inside its run.

This runs in the user's job, thousands of times and on Python 3.8 and newer, so it imports `os` at
the start and all else when it is needed.

**Which results count.** A run's results are `results.json` where that exists, else `results.pkl`.
Where `results.json` refers to arrays, which are in `results.npz`, the copy of the JSON that is in
`results.npz` too counts instead: arrays and what belongs to them are in one file. All are written
aside and renamed, `results.npz` before `results.json`, so none is ever half there, and what counts
comes from one post. Renaming is what makes a post count, but for a post of a pickle, which counts
once `results.json`, if there was one, has been removed. So a process that is killed at any moment
leaves either the earlier post or the new one, whole, and two processes that post at once leave one
of the two. A `results.pkl` or `results.npz` that nothing refers to is a post that does not count:
it stays, since removing it could take away what another process posts at the same moment. The
killed process's `.results-*.tmp` may stay behind too. Nothing is flushed to the disk (fsync(2)): a
power cut may cost what was posted shortly before.

**Orphans.** A process of an earlier attempt may outlive it, on a host that was given up for lost.
`MULTIRUN_ATTEMPT` says whose a process is, `.multirun/attempt` which attempt the directory is at
(none: the first). What an orphan posts goes to `.multirun/attempts/<its own>/`. It is written in
the run directory before that is looked at: where the next attempt begins in between, it moves the
unfinished file away with all others, the rename fails, and everything is looked at again.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from multirun_core.errors import NotInRunError


def _current() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


# A script may change its directory before it asks for its parameters.
_STARTED_IN = _current()

# The same as in `_model.typed`, which most runs need not import.
_MARK = "$multirun"
_MAX_INT_BITS = 4096  # Python refuses to read integers of more than 4300 digits by default
_MAX_DEPTH = 100  # a reader's stack is finite as well

_BY_HAND = (
    "multirun sets it for the programs it starts. To try a program by hand, start it in a run "
    "directory (cd STUDY/runs/000000), or name one (MULTIRUN_RUN_DIR=STUDY/runs/000000), or give "
    "the parameters themselves (MULTIRUN_PARAMS='{\"mass\": 1}', or a params.json in the current "
    "directory)"
)


def getRunParams() -> dict[str, Any]:
    """Return the parameters of the run that this process is part of.

    It works in the program of a run and in every child of it, whatever their current directory.
    To try a program by hand, do one of these:

    - start it in a run directory, or in any directory where you have put a `params.json`;
    - set `MULTIRUN_RUN_DIR` to a run directory;
    - set `MULTIRUN_PARAMS` to the parameters as JSON, such as `{"mass": 1}`; it counts where
      `MULTIRUN_RUN_DIR` is not set.

    Returns:
        The parameters by name, as JSON carries them; a new dict at each call.

    Raises:
        NotInRunError: this process is part of no run; the message says what was looked for.
        ParamError: the parameters are no JSON object, or torn.
    """
    directory = _run_directory()
    if directory is None:
        where: str = "MULTIRUN_PARAMS"
        text: str | bytes = os.environ[where]
    else:
        where = os.path.join(directory, "params.json")
        try:
            with open(where, "rb") as file:
                text = file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise _no_run_in(directory) from None

    import json

    try:
        params = json.loads(text)
    except ValueError as error:
        problem = str(error)
    else:
        if type(params) is dict:
            return params  # pyright: ignore[reportUnknownVariableType]
        problem = f"it is {type(params).__name__}, not an object of names and values"
    from multirun_core.errors import ParamError

    raise ParamError(
        f"{where} does not hold the parameters of a run as JSON: {problem}; "
        "if the program changes that file, let it write to another"
    )


def postRunResults(results: object) -> None:
    """Hand over the results of the run that this process is part of.

    They go to `results.json` in the run directory, which anybody can read: dicts, lists, text,
    numbers, booleans, None, and also what JSON has not: tuples, NaN and infinities, complex
    numbers, dates and times, scalars and arrays of numpy, arrays in `results.npz` beside it. All
    of these come back equal and with their types, wherever they stand in dicts and lists.
    Dataclasses come back as dicts. Anything else among them makes all of it a pickle
    (protocol 5), `results.pkl`. The sweep's table has a column for each key of a dict.

    Posting again replaces what was posted before. A process that dies while posting leaves the
    earlier results in place. Programs in other languages write `results.json` themselves, best
    under another name and renamed. With parameters from `MULTIRUN_PARAMS` and no run directory
    the file goes to the current directory.

    Args:
        results: any object that can be pickled. To be read back, its classes must be importable
            where the sweep is; those of the script itself (`__main__`) are not.

    Raises:
        NotInRunError: this process is part of no run; the message says what was looked for.
        ResultsError: the object cannot be pickled; what was posted before stays.
        OSError: the file cannot be written, on a full disk say; what was posted before stays.
    """
    directory = _run_directory()
    if directory is None:
        directory = os.getcwd()
        _say(f"no run directory: posting results in {directory}")
    store_results(directory, results)


def store_results(directory: str, results: object) -> None:
    """Write results into a run directory, as `postRunResults` does for its own run."""
    text, arrays = _exact_json(results), None
    if text is None:
        text, arrays = _typed_json(results)
    for _ in range(2):
        try:
            return _post(directory, text, arrays, results)
        except FileNotFoundError:  # the next attempt began just now: see above
            continue
    return _post(directory, text, arrays, results)


def _run_directory() -> str | None:
    """Return the run's directory; None where `MULTIRUN_PARAMS` stands in for one."""
    given = os.environ.get("MULTIRUN_RUN_DIR")
    if given:
        return os.path.join(_STARTED_IN, given)
    if os.environ.get("MULTIRUN_PARAMS"):
        return None
    if os.path.exists("params.json"):
        return os.getcwd()
    if os.path.exists(os.path.join(_STARTED_IN, "params.json")):
        return _STARTED_IN
    from multirun_core.errors import NotInRunError

    looked = _current() or "the current directory, which has been removed"
    raise NotInRunError(
        "this process is part of no run: MULTIRUN_RUN_DIR is not set, and there is no params.json "
        f"in {looked}; {_BY_HAND}"
    )


def _no_run_in(directory: str) -> NotInRunError:
    from multirun_core.errors import NotInRunError

    exists = os.path.isdir(directory)
    lack = "holds no params.json" if exists else "is not a directory that this process can see"
    return NotInRunError(
        f"MULTIRUN_RUN_DIR names {directory!r}, which {lack}; {_BY_HAND}"
        if os.environ.get("MULTIRUN_RUN_DIR")
        else f"{directory!r}, where this process was started, {lack}; {_BY_HAND}"
    )


def _post(
    directory: str, text: bytes | None, arrays: dict[str, Any] | None, results: object
) -> None:
    asides: list[str] = []
    try:
        if text is None:
            kind = "pkl"
            asides.append(_write(directory, lambda file: _pickle(results, file)))
        else:
            kind, content = "json", text
            asides.append(_write(directory, lambda file: file.write(content)))
            if arrays:
                from multirun_core._model.typed import save

                asides.append(_write(directory, lambda file: save(content, arrays, file)))
        home = _home(directory)
        if arrays:
            os.replace(asides[1], os.path.join(home, "results.npz"))
        os.replace(asides[0], os.path.join(home, "results." + kind))
        if text is None:
            _remove(os.path.join(home, "results.json"))
    except BaseException:
        for aside in asides:
            _remove(aside)
        raise


def _write(directory: str, write: Callable[[BinaryIO], object]) -> str:
    """Write a file of its own in the run directory and return its path."""
    aside = os.path.join(directory, f".results-{os.getpid()}-{os.urandom(6).hex()}.tmp")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run_in(directory) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
    except BaseException:
        _remove(aside)
        raise
    return aside


def _home(directory: str) -> str:
    """Return where the results of this process belong: the run directory, unless it is an orphan.

    A process without `MULTIRUN_ATTEMPT`, started by hand or with an emptied environment, counts
    as part of the present attempt.
    """
    try:
        own = int(os.environ["MULTIRUN_ATTEMPT"])
        with open(os.path.join(directory, ".multirun", "attempt"), "rb") as file:
            present = int(file.read())
    except (KeyError, ValueError, FileNotFoundError, NotADirectoryError):
        return directory
    if present <= own:
        return directory
    home = os.path.join(directory, ".multirun", "attempts", str(own))
    os.makedirs(home, exist_ok=True)
    _say(
        f"this process is left over from attempt {own} of a run that is at attempt {present}; "
        f"its results do not count and go to {home}"
    )
    return home


def _pickle(results: object, file: BinaryIO) -> None:
    import pickle

    try:
        pickle.dump(results, file, protocol=5)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        from multirun_core.errors import ResultsError

        raise ResultsError(
            f"results of type {_type_name(results)} can be stored neither as JSON nor as a pickle "
            f"({type(error).__name__}: {error}); post plain values, such as a dict of numbers"
        ) from error


def _typed_json(results: object) -> tuple[bytes | None, dict[str, Any] | None]:
    """Return the results as JSON with typed values, and the arrays it refers to; or None."""
    from multirun_core._model.typed import encode

    try:
        return encode(results)
    except Exception:  # also of values that misbehave when they are looked at
        return None, None


def _exact_json(results: object) -> bytes | None:
    """Return the results as JSON; None where they would not come back as they are."""
    import json

    try:
        # First of all: it ends for cyclic values, which the check below would not.
        text = json.dumps(results, allow_nan=False)
    except Exception:
        return None
    return text.encode("ascii") + b"\n" if _is_exact(results, 0) else None


def _is_exact(value: Any, depth: int) -> bool:
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        return value.isascii() or _is_unicode(value)
    if kind is int:
        return bool(value.bit_length() <= _MAX_INT_BITS)
    if kind is list:
        return depth < _MAX_DEPTH and all(_is_exact(item, depth + 1) for item in value)
    if kind is dict:
        if len(value) == 1 and _MARK in value:
            return False  # it would be read as a typed value
        return depth < _MAX_DEPTH and all(
            type(name) is str and _is_exact(name, depth) and _is_exact(item, depth + 1)
            for name, item in value.items()
        )
    return kind is float or kind is bool or value is None


def _is_unicode(text: str) -> bool:
    """Whether there are no lone surrogates: JSON would join two of them to one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _type_name(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
    return module + kind.__qualname__


def _remove(path: str) -> None:
    try:  # noqa: SIM105 - contextlib would have to be imported
        os.unlink(path)
    except FileNotFoundError:
        pass


def _say(text: str) -> None:
    import sys

    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr.write(f"multirun: {text}\n")
