"""`multirun.json`: what a sweep was asked to do, and where it came from."""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from multirun_core._sweep.layout import FORMAT, MANIFEST, write_whole
from multirun_core._version import VERSION
from multirun_core.errors import SweepError, SweepNotFoundError

_GIT_SECONDS = 5.0
# Commit and changes in one call; the format is in git-status(1), "Porcelain Format Version 2".
_GIT = [
    "git",
    "--no-optional-locks",
    "status",
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "--untracked-files=no",
]
_COMMIT = "# branch.oid "


@dataclass(slots=True, kw_only=True)
class Manifest:
    """The contents of `multirun.json`.

    Attributes:
        cmd: the command, with its placeholders.
        inputs: what is recorded of each input.
        runner: {"name": …, "options": {…}}, or {"class": …} for an instance of one's own.
        limits: time limit, retries and the like that the sweep itself was given.
        env_names: names of the variables given by `env`; their values are not stored.
        origin: versions, host, user, working directory, git commit, time.
        format: version of the layout of the sweep's directory.
    """

    cmd: list[str]
    inputs: list[dict[str, Any]]
    runner: dict[str, Any]
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    env_names: list[str] = field(default_factory=list[str])
    origin: dict[str, Any] = field(default_factory=dict[str, Any])
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, the format first."""
        fields = asdict(self)
        return {"format": fields.pop("format"), **fields}

    def write(self, root: Path) -> None:
        """Write it whole or not at all."""
        write_whole(root / MANIFEST, json.dumps(self.to_json(), indent=1).encode() + b"\n")

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """Read the one of the sweep at `root`.

        Raises:
            SweepNotFoundError: there is none.
            SweepError: it cannot be read, or a newer version wrote it.
        """
        path = root / MANIFEST
        try:
            fields = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise SweepNotFoundError(
                f"{root} holds no sweep: there is no {MANIFEST} in it; "
                "give the output directory of a sweep"
            ) from None
        except (OSError, ValueError) as error:
            raise SweepError(f"cannot read {path}: {error}") from error
        try:
            if fields["format"] > FORMAT:
                raise SweepError(
                    f"{path} has format {fields['format']}; this version reads up to {FORMAT}. "
                    "Upgrade multirun-core"
                )
            return cls(**fields)._checked()
        except (LookupError, TypeError, ValueError) as error:
            raise SweepError(
                f"{path} is damaged ({type(error).__name__}: {error}); if it was edited by hand, "
                "put back what it said"
            ) from error

    def _checked(self) -> Manifest:
        for name in ("cmd", "inputs", "env_names"):
            if not isinstance(getattr(self, name), list):
                raise TypeError(f"{name} must be a list")
        for name in ("runner", "limits", "origin"):
            if not isinstance(getattr(self, name), dict):
                raise TypeError(f"{name} must be an object")
        if "name" in self.runner and not isinstance(self.runner.get("options"), dict):
            raise TypeError("options of the runner must be an object")
        for record in self.inputs:
            if missing := {"name", "linkage", "path", "kind", "size"} - dict(record).keys():
                raise TypeError(f"an input lacks {min(missing)}")
        if missing := {"timeout", "retries", "max_failures", "on_retry"} - self.limits.keys():
            raise TypeError(f"limits lacks {min(missing)}")
        return self


def origin() -> dict[str, Any]:
    """Return where a sweep comes from: versions, host, user, git commit, time."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it has been removed
        here = None
    return {
        "time": time.time(),
        "host": socket.gethostname(),
        "user": user,
        "directory": None if here is None else str(here),
        "versions": {
            "multirun-core": VERSION,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
        },
        "git": None if here is None else _git(here),
    }


def _git(here: Path) -> dict[str, Any] | None:
    """Return commit and dirtiness of the working directory; None outside a checkout."""
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return None
    try:
        done = subprocess.run(
            _GIT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith(_COMMIT)), "(initial)")
    if commit == "(initial)":
        return None
    return {"commit": commit, "dirty": not all(line.startswith("# ") for line in lines)}
