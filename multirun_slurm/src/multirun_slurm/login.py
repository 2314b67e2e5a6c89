"""The way to a cluster that `sbatch` on this machine does not reach: a login node, over SSH."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from multirun_core.backends import Login
from multirun_core.errors import UsageError

if TYPE_CHECKING:
    from multirun_slurm.options import SlurmOptions

_CONNECTING = ("transport", "ssh_config", "known_hosts", "connect_timeout", "silence_timeout")
_THERE = ("remote_path", "fetch", "keep_remote", "python")


def login_of(options: SlurmOptions) -> Login | None:
    """Return the login that options name; None where the cluster is reached from here.

    Raises:
        UsageError: multirun-ssh is not installed, or something makes no sense.
    """
    if options.login is None:
        defaults = {field.name: field.default for field in fields(options)}
        for name in (*_CONNECTING, *_THERE):
            if getattr(options, name) != defaults[name]:
                raise UsageError(f"{name} is given, but no login; it says how a login is used")
        return None
    if options.driver == "job":
        raise UsageError(
            "driver='job' and login are both given; with login the sweep's directory is here, "
            "where no job can drive it"
        )
    try:
        transports: Any = importlib.import_module("multirun_ssh.transports")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("multirun_ssh", "asyncssh"):
            raise
        raise UsageError(
            f"login={options.login!r} goes over SSH, for which multirun-ssh is needed; "
            'install it: pip install "multirun-core[ssh]"'
        ) from None
    how = {name: getattr(options, name) for name in _CONNECTING}
    fetch = options.fetch
    return Login(
        name=options.login,
        connect=transports.way_to(options.login, **how),
        program="sbatch",
        place=options.remote_path or "",
        fetch=[fetch] if isinstance(fetch, str) else fetch,
        keep=options.keep_remote,
        python=options.python,
    )
