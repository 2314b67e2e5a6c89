"""The launcher's process as the driver starts it, and kills it when it is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from multirun_core._runners.launcher import tree

if TYPE_CHECKING:
    from multirun_core._transport.process import ProcessId

# The launcher imports its modules as a package of its own, so as not to import all of this one.
_ROUNDS = 20
_CODE = "import sys; sys.path.append(sys.argv[1]); from launcher import server; server.main()"


def spawn(connection: int, errors: int) -> subprocess.Popen[bytes]:
    """Start the launcher's process.

    Args:
        connection: number of the socket that it inherits.
        errors: descriptor that becomes its standard error.

    Raises:
        OSError: it could not be started.
    """
    if not sys.executable:
        raise FileNotFoundError("sys.executable is not set: this Python cannot start itself")
    options = ["-S", "-I", "-X", "utf8", *(["-B"] if sys.dont_write_bytecode else [])]
    folder = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, *options, "-c", _CODE, folder, str(connection), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=(connection,),
        start_new_session=True,
        cwd="/",
    )


def kill_session(process: subprocess.Popen[bytes], identity: ProcessId) -> None:
    """Kill the launcher and all that is found of its session, with descendants."""
    if process.returncode is not None:
        return  # reaped: its pid, which was the session's number, may be another's
    leader = tree.process(process.pid)
    if leader is None or (leader.state != b"Z" and str(leader.start) != identity.start):
        return
    for _ in range(_ROUNDS):
        # While the launcher lives, the orphans are its children; later, only their sessions tell.
        everybody = tree.processes().values()
        members = {one.pid for one in everybody if one.session == process.pid}
        family = tree.family({process.pid} | members)
        alive = [one for one in family.values() if one.state != b"Z"]
        for one in alive:
            tree.signal_one(one, signal.SIGKILL)
        if not alive:
            break
